import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from pixloop.aws.rehearsal.cloud import Cloud

pytestmark = pytest.mark.integration
Wait = Callable[[Callable[[], Any], str], Any]


def runtime() -> Any:
    return boto3.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))


def ask(body: bytes, endpoint: str = "colours") -> dict[str, Any]:
    answer = runtime().invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType="application/x-image"
    )
    return {**json.load(answer["Body"]), "variant": answer["InvokedProductionVariant"]}


def status(cloud: Cloud, endpoint: str = "colours") -> str:
    described = cloud.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    return str(described["EndpointStatus"])


@pytest.fixture
def serving(cloud: Cloud, model: Callable[..., str], wait: Wait) -> Cloud:
    cloud.client("sagemaker").create_endpoint(
        EndpointName="colours", EndpointConfigName=model("one")
    )
    wait(lambda: status(cloud) == "InService", "the endpoint")
    return cloud


def test_an_endpoint_is_in_service_when_its_server_answers(
    cloud: Cloud, model: Callable[..., str], wait: Wait, red: bytes
) -> None:
    cloud.client("sagemaker").create_endpoint(
        EndpointName="colours", EndpointConfigName=model("one")
    )
    assert status(cloud) == "Creating"
    with pytest.raises(ClientError, match="not found") as refused:
        ask(red)
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    wait(lambda: status(cloud) == "InService", "the endpoint")
    answer = ask(red)
    assert (answer["model"], answer["variant"]) == ("one", "all")
    assert answer["predictions"][0]["label"] == "red"


def test_what_the_model_refuses_is_a_model_error_with_its_answer(serving: Cloud) -> None:
    with pytest.raises(ClientError) as refused:
        ask(b"no picture")
    answer = refused.value.response
    assert (answer["Error"]["Code"], answer["OriginalStatusCode"]) == ("ModelError", 422)
    assert "cannot be read" in json.loads(answer["OriginalMessage"])["detail"]


def test_faults_can_be_ordered_and_end(serving: Cloud, red: bytes) -> None:
    serving.front.fail_next("ThrottlingException", 1)
    with pytest.raises(ClientError, match="Rate exceeded"):
        ask(red)
    serving.front.fail_next("ServiceUnavailable", 5)
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        ask(red)
    serving.front.heal()
    assert ask(red)["predictions"]


def test_an_update_swaps_the_servers_and_stops_the_old_one(
    serving: Cloud, model: Callable[..., str], wait: Wait, red: bytes
) -> None:
    old = serving.endpoints.variant("colours")
    assert old is not None
    serving.client("sagemaker").update_endpoint(
        EndpointName="colours", EndpointConfigName=model("two")
    )
    assert ask(red)["model"] == "one"
    wait(lambda: status(serving) == "InService", "the update")
    assert ask(red)["model"] == "two"
    wait(lambda: not old.server.alive, "the old server's end")


@pytest.mark.parametrize(
    ("key", "reason"), [("nothing.tar.gz", "Could not find model data"), ("bad", "unpacked")]
)
def test_an_update_that_does_not_start_leaves_the_old_server(
    serving: Cloud,
    bucket: str,
    model: Callable[..., str],
    wait: Wait,
    red: bytes,
    key: str,
    reason: str,
) -> None:
    serving.client("s3").put_object(Bucket=bucket, Key="bad", Body=b"no archive")
    sagemaker = serving.client("sagemaker")
    sagemaker.update_endpoint(EndpointName="colours", EndpointConfigName=model("two", key))
    wait(lambda: status(serving) == "InService", "the way back")
    described = sagemaker.describe_endpoint(EndpointName="colours")
    assert described["EndpointConfigName"] == "one"
    assert reason in described["FailureReason"]
    assert ask(red)["model"] == "one"


def test_an_alarm_rolls_an_update_back(
    serving: Cloud, model: Callable[..., str], wait: Wait, red: bytes
) -> None:
    cloudwatch = serving.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="pixloop",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    serving.client("sagemaker").update_endpoint(
        EndpointName="colours",
        EndpointConfigName=model("two"),
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
        },
    )
    wait(lambda: status(serving) == "InService", "the way back")
    assert ask(red)["model"] == "one"


def test_an_endpoint_that_never_started_has_failed(
    cloud: Cloud, model: Callable[..., str], wait: Wait
) -> None:
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_endpoint(
        EndpointName="colours", EndpointConfigName=model("one", "nothing.tar.gz")
    )
    wait(lambda: status(cloud) == "Failed", "the failure")
    described = sagemaker.describe_endpoint(EndpointName="colours")
    assert "Could not find model data" in described["FailureReason"]


def test_the_model_of_a_package_is_found(
    cloud: Cloud, bucket: str, model: Callable[..., str], wait: Wait, red: bytes
) -> None:
    sagemaker = cloud.client("sagemaker")
    model("unused")  # puts the archive in its place
    sagemaker.create_model_package_group(ModelPackageGroupName="colours")
    container = {"Image": "pixloop", "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
    package = sagemaker.create_model_package(
        ModelPackageGroupName="colours",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["image/png"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    sagemaker.create_model(
        ModelName="packaged",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/any",
        PrimaryContainer={
            "ModelPackageName": package,
            "Environment": {"PIXLOOP_MODEL_NAME": "colours:1"},
        },
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="packaged",
        ProductionVariants=[
            {
                "VariantName": "all",
                "ModelName": "packaged",
                "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
            }
        ],
    )
    sagemaker.create_endpoint(EndpointName="colours", EndpointConfigName="packaged")
    wait(lambda: status(cloud) == "InService", "the endpoint")
    assert ask(red)["model"] == "colours:1"


def test_a_deleted_endpoint_is_gone_with_its_server(serving: Cloud, red: bytes) -> None:
    variant = serving.endpoints.variant("colours")
    assert variant is not None
    serving.client("sagemaker").delete_endpoint(EndpointName="colours")
    assert not variant.server.alive
    with pytest.raises(ClientError, match="not found"):
        ask(red)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        status(serving)
