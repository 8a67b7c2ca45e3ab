import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pixloop.aws.rehearsal.cloud import Cloud

pytestmark = pytest.mark.integration
Json = dict[str, Any]
Wait = Callable[[Callable[[], Any], str], Any]
ROLE = "arn:aws:iam::123456789012:role/any"
#: Copies what it is given, and notes how many files there were.
COUNT = """
import json, pathlib, shutil, sys, time
place = pathlib.Path(__import__("os").environ["PIXLOOP_ML"]) / "processing"
files = sorted(p for p in (place / "input/raw").rglob("*") if p.is_file())
if any(p.read_bytes() == b"broken" for p in files): sys.exit("a picture is broken")
time.sleep(float(sys.argv[1]))
out = place / "output/counted"
out.mkdir(parents=True, exist_ok=True)
(out / "evaluation.json").write_text(json.dumps({"files": len(files)}))
(out / "model.tar.gz").write_bytes(b"a model")
"""


def definition(bucket: str, wait_s: float = 0) -> Json:
    counted = {"Get": "Steps.Count.ProcessingOutputConfig.Outputs['counted'].S3Output.S3Uri"}
    count = {
        "Name": "Count",
        "Type": "Processing",
        "CacheConfig": {"Enabled": True},
        "PropertyFiles": [
            {
                "PropertyFileName": "Report",
                "OutputName": "counted",
                "FilePath": "evaluation.json",
            }
        ],
        "Arguments": {
            "AppSpecification": {
                "ImageUri": "pixloop",
                "ContainerEntrypoint": ["python", "-c", COUNT],
                "ContainerArguments": [str(wait_s)],
            },
            "RoleArn": ROLE,
            "ProcessingInputs": [
                {
                    "InputName": "raw",
                    "S3Input": {
                        "S3Uri": f"s3://{bucket}/raw",
                        "LocalPath": "/opt/ml/processing/input/raw",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "counted",
                        "S3Output": {
                            "S3Uri": f"s3://{bucket}/results",
                            "LocalPath": "/opt/ml/processing/output/counted",
                        },
                    }
                ]
            },
        },
    }
    value = {
        "Std:JsonGet": {
            "PropertyFile": {"Get": "Steps.Count.PropertyFiles.Report"},
            "Path": "files",
        }
    }
    condition = {
        "Type": "GreaterThanOrEqualTo",
        "LeftValue": value,
        "RightValue": {"Get": "Parameters.Minimum"},
    }
    join = {"Std:Join": {"On": "/", "Values": [counted, "model.tar.gz"]}}
    statistics = {"Std:Join": {"On": "/", "Values": [counted, "evaluation.json"]}}
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "counts",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [{"Image": "pixloop", "ModelDataUrl": join}],
                "SupportedContentTypes": ["image/png"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            "ModelMetrics": {
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": statistics}
                }
            },
        },
    }
    refused = {"Name": "Refused", "Type": "Fail", "Arguments": {"ErrorMessage": "too few"}}
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {"Conditions": [condition], "IfSteps": [register], "ElseSteps": [refused]},
    }
    return {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "Minimum", "Type": "Integer", "DefaultValue": 1}],
        "Steps": [count, gate],
    }


@pytest.fixture
def sagemaker(cloud: Cloud, bucket: str) -> Any:
    for name in ("a", "b/c"):
        cloud.client("s3").put_object(Bucket=bucket, Key=f"raw/{name}", Body=name.encode())
    client = cloud.client("sagemaker")
    client.create_pipeline(
        PipelineName="counts",
        PipelineDefinition=json.dumps(definition(bucket)),
        ClientRequestToken="t" * 32,
        RoleArn=ROLE,
    )
    return client


def run(sagemaker: Any, wait: Wait, **how: Any) -> Json:
    arn = sagemaker.start_pipeline_execution(PipelineName="counts", **how)["PipelineExecutionArn"]
    return finish(sagemaker, wait, arn)


def finish(sagemaker: Any, wait: Wait, arn: str) -> Json:
    def ended() -> Json | None:
        described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        return (
            None if described["PipelineExecutionStatus"] in ("Executing", "Stopping") else described
        )

    return dict(wait(ended, "the execution"))


def steps(sagemaker: Any, execution: Json) -> Json:
    listed = sagemaker.list_pipeline_execution_steps(
        PipelineExecutionArn=execution["PipelineExecutionArn"], SortOrder="Ascending"
    )["PipelineExecutionSteps"]
    return {step["StepName"]: step for step in listed}


def test_an_execution_runs_the_steps_and_registers_what_they_made(
    cloud: Cloud, bucket: str, sagemaker: Any, wait: Wait
) -> None:
    execution = run(sagemaker, wait, PipelineParameters=[{"Name": "Minimum", "Value": "2"}])
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    done = steps(sagemaker, execution)
    assert list(done) == ["Count", "Gate", "Register"]
    assert {step["StepStatus"] for step in done.values()} == {"Succeeded"}
    assert ":processing-job/count-" in done["Count"]["Metadata"]["ProcessingJob"]["Arn"]
    assert done["Gate"]["Metadata"]["Condition"]["Outcome"] == "True"
    report = cloud.client("s3").get_object(Bucket=bucket, Key="results/evaluation.json")
    assert json.load(report["Body"]) == {"files": 2}
    package = sagemaker.describe_model_package(
        ModelPackageName=done["Register"]["Metadata"]["RegisterModel"]["Arn"]
    )
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"] == f"s3://{bucket}/results/model.tar.gz"
    metrics = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    assert metrics == f"s3://{bucket}/results/evaluation.json"


def test_the_same_again_is_cached_and_a_change_is_not(
    cloud: Cloud, bucket: str, sagemaker: Any, wait: Wait
) -> None:
    run(sagemaker, wait)
    again = run(sagemaker, wait)
    assert "CacheHitResult" in steps(sagemaker, again)["Count"]
    cloud.client("s3").put_object(Bucket=bucket, Key="raw/d", Body=b"new")
    cloud.client("s3").delete_object(Bucket=bucket, Key="raw/a")
    cloud.client("s3").put_object(Bucket=bucket, Key="raw/e", Body=b"new")
    changed = run(sagemaker, wait)
    assert "CacheHitResult" not in steps(sagemaker, changed)["Count"]
    report = cloud.client("s3").get_object(Bucket=bucket, Key="results/evaluation.json")
    assert json.load(report["Body"]) == {"files": 3}
    listed = sagemaker.list_pipeline_executions(PipelineName="counts", MaxResults=2)
    newest = [each["PipelineExecutionArn"] for each in listed["PipelineExecutionSummaries"]]
    assert newest == [changed["PipelineExecutionArn"], again["PipelineExecutionArn"]]


def test_a_token_starts_one_execution(sagemaker: Any, wait: Wait) -> None:
    token = "once" * 8
    first = run(sagemaker, wait, ClientRequestToken=token)
    again = run(sagemaker, wait, ClientRequestToken=token)
    assert first["PipelineExecutionArn"] == again["PipelineExecutionArn"]
    assert (
        len(
            sagemaker.list_model_packages(ModelPackageGroupName="counts")["ModelPackageSummaryList"]
        )
        == 1
    )


def test_a_gate_that_refuses_fails_the_execution_with_its_reason(
    sagemaker: Any, wait: Wait
) -> None:
    execution = run(sagemaker, wait, PipelineParameters=[{"Name": "Minimum", "Value": "9"}])
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "files is 2, 7 below the minimum 9" in execution["FailureReason"].replace(".00", "")
    done = steps(sagemaker, execution)
    assert done["Gate"]["Metadata"]["Condition"]["Outcome"] == "False"
    assert done["Refused"]["StepStatus"] == "Failed"
    assert "Register" not in done


def test_a_step_that_fails_says_why(cloud: Cloud, bucket: str, sagemaker: Any, wait: Wait) -> None:
    cloud.client("s3").put_object(Bucket=bucket, Key="raw/a", Body=b"broken")
    execution = run(sagemaker, wait)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "a picture is broken" in steps(sagemaker, execution)["Count"]["FailureReason"]


def test_an_execution_can_be_stopped(bucket: str, sagemaker: Any, wait: Wait) -> None:
    sagemaker.update_pipeline(
        PipelineName="counts", PipelineDefinition=json.dumps(definition(bucket, wait_s=60))
    )
    started = sagemaker.start_pipeline_execution(PipelineName="counts")
    arn = started["PipelineExecutionArn"]
    wait(lambda: steps(sagemaker, started), "the first step")
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    execution = finish(sagemaker, wait, arn)
    assert execution["PipelineExecutionStatus"] == "Stopped"
    assert steps(sagemaker, execution)["Count"]["StepStatus"] == "Stopped"
    with pytest.raises(ClientError, match="this one is Stopped"):
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)


def test_an_execution_that_cannot_start_has_failed(
    cloud: Cloud, sagemaker: Any, wait: Wait
) -> None:
    (cloud.folder / "pipelines").mkdir()
    (cloud.folder / "pipelines" / "counts").write_text("where a folder should be")
    execution = run(sagemaker, wait)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "counts" in execution["FailureReason"]


def test_what_waits_for_its_turn_does_not_begin_when_all_is_closed(
    cloud: Cloud, bucket: str, sagemaker: Any, wait: Wait
) -> None:
    sagemaker.update_pipeline(
        PipelineName="counts", PipelineDefinition=json.dumps(definition(bucket, wait_s=20))
    )
    first = sagemaker.start_pipeline_execution(PipelineName="counts")
    wait(lambda: steps(sagemaker, first), "the first step")
    second = sagemaker.start_pipeline_execution(PipelineName="counts")
    cloud.pipelines.close()
    assert finish(sagemaker, wait, first["PipelineExecutionArn"])["FailureReason"]
    waited = finish(sagemaker, wait, second["PipelineExecutionArn"])
    assert (waited["PipelineExecutionStatus"], steps(sagemaker, second)) == ("Stopped", {})


@pytest.mark.parametrize("text", ["not json", "{}", '{"Steps": []}', "[]"])
def test_what_is_no_definition_is_refused(cloud: Cloud, text: str) -> None:
    with pytest.raises(ClientError, match="Unable to parse pipeline definition"):
        cloud.client("sagemaker").create_pipeline(
            PipelineName="bad", PipelineDefinition=text, ClientRequestToken="t" * 32, RoleArn=ROLE
        )
    assert cloud.client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_an_update_that_is_no_definition_changes_nothing(sagemaker: Any) -> None:
    before = sagemaker.describe_pipeline(PipelineName="counts")["PipelineDefinition"]
    with pytest.raises(ClientError, match="Unable to parse pipeline definition"):
        sagemaker.update_pipeline(PipelineName="counts", PipelineDefinition="not json")
    after = sagemaker.describe_pipeline(PipelineName="counts")["PipelineDefinition"]
    assert after == before


def test_unknown_parameters_are_refused(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match="There is no parameter 'Minimun'"):
        sagemaker.start_pipeline_execution(
            PipelineName="counts", PipelineParameters=[{"Name": "Minimun", "Value": "2"}]
        )
