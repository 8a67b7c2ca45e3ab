"""Every request that a deployment makes, held against botocore's shapes."""

from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import boto3
import pytest
from botocore.stub import Stubber
from botocore.validate import ParamValidator
from tests.aws.deployment.conftest import IMAGE, TARGET

from pixloop.aws.deployment.endpoint_requests import (
    config_request,
    model_request,
    restore_request,
    update_request,
)
from pixloop.aws.deployment.function import publish
from pixloop.aws.deployment.scaling import scale
from pixloop.aws.deployment.target import ModelSource, Target
from pixloop.aws.deployment.transform import transform_request
from pixloop.errors import AwsError

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SOURCE = ModelSource("colours:3", IMAGE, "s3://bucket/3/model.tar.gz", "arn:package/3")
FULL = replace(
    TARGET,
    name="pixloop-" + "c" * 42,
    key_arn=KEY,
    instances=(2, 4),
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    alarms=("errors", "latency"),
)
KINDS = ("endpoint", "serverless", "async")


def client(service: str) -> Any:
    return boto3.client(
        service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def check(operation: str, request: dict[str, Any]) -> None:
    """As boto3 does before it sends, and the length of names, which it leaves to the service."""
    shape = client("sagemaker").meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    for key, value in request.items():
        limits = shape.members[key].metadata
        if isinstance(value, str) and "max" in limits:
            assert len(value) <= limits["max"], key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [TARGET, FULL], ids=["plain", "full"])
def test_requests_are_of_the_right_shape(kind: Any, target: Target) -> None:
    target = replace(target, to=kind)
    model = model_request(target, SOURCE)
    check("CreateModel", model)
    config = config_request(target, model["ModelName"])
    check("CreateEndpointConfig", config)
    check("UpdateEndpoint", update_request(target, config["EndpointConfigName"], ["errors"]))
    check("UpdateEndpoint", restore_request(target, config["EndpointConfigName"]))
    check("CreateTransformJob", transform_request("job", "model", target, "s3://a/", "s3://b/"))


def test_the_same_gets_the_same_name_and_a_change_another() -> None:
    name = model_request(TARGET, SOURCE)["ModelName"]
    assert name == model_request(TARGET, SOURCE)["ModelName"]
    assert name != model_request(TARGET, replace(SOURCE, name="colours:4"))["ModelName"]
    config = config_request(TARGET, name)["EndpointConfigName"]
    assert config != config_request(replace(TARGET, capture_percent=5), name)["EndpointConfigName"]


def test_an_endpoint_keeps_what_it_is_asked() -> None:
    request = config_request(FULL, "model")
    capture = request["DataCaptureConfig"]
    assert capture["InitialSamplingPercentage"] == 100
    assert capture["CaptureOptions"] == [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
    assert (request["KmsKeyId"], capture["KmsKeyId"]) == (KEY, KEY)
    assert "DataCaptureConfig" not in config_request(replace(FULL, capture_percent=0), "model")


def test_a_serverless_endpoint_has_no_instances_and_keeps_nothing() -> None:
    request = config_request(replace(FULL, to="serverless"), "model")
    assert set(request["ProductionVariants"][0]) == {
        "VariantName",
        "ModelName",
        "ServerlessConfig",
    }
    assert not {"DataCaptureConfig", "KmsKeyId"} & set(request)
    assert "DeploymentConfig" not in update_request(replace(FULL, to="serverless"), "c", ["a"])


def test_instances_with_disks_of_their_own_get_no_key() -> None:
    gpu = replace(FULL, instance_type="ml.g5.xlarge")
    assert "KmsKeyId" not in config_request(gpu, "model")
    resources = transform_request("j", "m", gpu, "s3://a", "s3://b")["TransformResources"]
    assert "VolumeKmsKeyId" not in resources


@pytest.mark.parametrize(("instances", "percent"), [(2, 50), (3, 34), (4, 25), (10, 10), (40, 10)])
def test_a_canary_is_a_tenth_and_at_least_one_instance(instances: int, percent: int) -> None:
    request = update_request(replace(TARGET, instances=(instances, instances)), "c", [])
    routing = request["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": percent}
    assert instances * percent >= 100
    assert "AutoRollbackConfiguration" not in request["DeploymentConfig"]


def test_one_instance_is_replaced_at_once() -> None:
    request = update_request(TARGET, "c", ["errors"])
    routing = request["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "ALL_AT_ONCE"
    rollback = request["DeploymentConfig"]["AutoRollbackConfiguration"]
    assert rollback == {"Alarms": [{"AlarmName": "errors"}]}


class Stubbed:
    """The one client that scaling asks, with the answers that it may get."""

    def __init__(self) -> None:
        self.autoscaling = client("application-autoscaling")
        self.stub = Stubber(self.autoscaling)

    def client(self, service: str) -> Any:
        assert service == "application-autoscaling"
        return self.autoscaling


WHAT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/pixloop-colours/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.mark.parametrize(
    ("kind", "latency_ms", "aim"),
    [
        (
            "endpoint",
            25.0,
            {
                "TargetValue": 1200.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                },
            },
        ),
        (
            "async",
            None,
            {
                "TargetValue": 5.0,
                "CustomizedMetricSpecification": {
                    "MetricName": "ApproximateBacklogSizePerInstance",
                    "Namespace": "AWS/SageMaker",
                    "Dimensions": [{"Name": "EndpointName", "Value": "pixloop-colours"}],
                    "Statistic": "Average",
                },
            },
        ),
    ],
)
def test_traffic_decides_how_many_instances_there_are(
    kind: Any, latency_ms: float | None, aim: dict[str, Any]
) -> None:
    aws = Stubbed()
    aws.stub.add_response(
        "register_scalable_target", {}, {**WHAT, "MinCapacity": 1, "MaxCapacity": 3}
    )
    policy = {
        **WHAT,
        "PolicyName": "pixloop-traffic",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            **aim,
            "ScaleOutCooldown": 60,
            "ScaleInCooldown": 300,
        },
    }
    aws.stub.add_response("put_scaling_policy", {"PolicyARN": "arn", "Alarms": []}, policy)
    with aws.stub:
        scale(aws, replace(TARGET, to=kind, instances=(1, 3)), latency_ms)
        aws.stub.assert_no_pending_responses()


def test_what_cannot_scale_is_left_alone() -> None:
    aws = Stubbed()
    with aws.stub:
        scale(aws, TARGET, 25.0)
        scale(aws, replace(TARGET, to="serverless", instances=(1, 3)), 25.0)


def test_a_target_survives_its_journey_as_json() -> None:
    assert Target.from_json(FULL.to_json()) == FULL
    for text in ("", "[]", '{"project": "a"}', '{"surprise": 1}', "null"):
        with pytest.raises(AwsError, match="TARGET is not a target"):
            Target.from_json(text)


@pytest.mark.parametrize(
    ("change", "image", "changed"),
    [
        ({}, IMAGE, False),
        ({"memory_mb": 4096}, IMAGE, True),
        ({"role": "arn:other"}, IMAGE, True),
        ({}, "another", True),
    ],
)
def test_a_function_is_published_where_it_is_not_as_wished(
    change: dict[str, Any], image: str, changed: bool
) -> None:
    target = replace(FULL, to="function")
    aws = MagicMock()
    live = aws.client.return_value
    live.get_alias.return_value = {"FunctionVersion": "3"}
    live.get_function.return_value = {
        "Code": {"ImageUri": SOURCE.image},
        "Configuration": {
            "Environment": {
                "Variables": {**SOURCE.environment, "PIXLOOP_MODEL_URL": SOURCE.data_url}
            },
            "MemorySize": target.memory_mb,
            "Role": target.role,
        },
    }
    live.publish_version.return_value = {"Version": "4"}
    published = publish(aws, replace(target, **change), replace(SOURCE, image=image))
    assert (published.version, published.changed) == ("4" if changed else "3", changed)
