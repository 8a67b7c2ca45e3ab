import json
from datetime import UTC
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pixloop.aws.functions import start_run
from pixloop.aws.functions.start_run import handler
from pixloop.aws.session import Session


@pytest.fixture(autouse=True)
def pipeline(aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_NAME", "pixloop-colours")
    monkeypatch.setenv("BUCKET", bucket)
    aws.client("sagemaker").create_pipeline(
        PipelineName="pixloop-colours",
        PipelineDefinition=json.dumps(
            {
                "Parameters": [
                    {"Name": name, "Type": "String", "DefaultValue": f"s3://{bucket}/raw"}
                    for name in ("TrainDataUri", "TestDataUri")
                ]
            }
        ),
        ClientRequestToken="x" * 32,
        RoleArn="arn:aws:iam::123456789012:role/pipeline",
    )


@pytest.fixture(autouse=True)
def picture(aws: Session, bucket: str) -> None:
    aws.client("s3").put_object(Bucket=bucket, Key="raw/a.jpg", Body=b"a")


def batch(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{i}", "body": body} for i, body in enumerate(bodies)]}


def executions(aws: Session) -> list[dict[str, Any]]:
    client = aws.client("sagemaker")
    listed = client.list_pipeline_executions(PipelineName="pixloop-colours")
    return [
        client.describe_pipeline_execution(PipelineExecutionArn=each["PipelineExecutionArn"])
        for each in listed["PipelineExecutionSummaries"]
    ]


def parameters(aws: Session) -> dict[str, str]:
    """Of the only execution."""
    (execution,) = executions(aws)
    arn = execution["PipelineExecutionArn"]
    listed = aws.client("sagemaker").list_pipeline_parameters_for_execution(
        PipelineExecutionArn=arn
    )
    return {each["Name"]: each["Value"] for each in listed["PipelineParameters"]}


def moto_pipeline() -> Any:
    from moto.sagemaker.models import sagemaker_backends

    (backend,) = [b for account in sagemaker_backends.values() for b in account.values()]
    return backend.pipelines["pixloop-colours"]


def set_status(status: str) -> None:
    """Let moto's executions be at work; by themselves they succeed at once."""
    for execution in moto_pipeline().pipeline_executions.values():
        execution.pipeline_execution_status = status


TRIGGER = json.dumps({"trigger": "new raw data", "event": "1", "detail": "raw/a.jpg"})


def test_many_triggers_start_one_run(aws: Session) -> None:
    drift = json.dumps({"trigger": "drift alarm"})
    assert handler(batch(TRIGGER, TRIGGER, drift, "?"), None) == {"batchItemFailures": []}
    (execution,) = executions(aws)
    assert execution["PipelineExecutionDescription"] == (
        "drift alarm (1), new raw data (2), unknown (1)"
    )


def test_a_run_knows_its_data_and_the_champion(aws: Session, bucket: str) -> None:
    handler(batch(TRIGGER), None)
    given = parameters(aws)
    assert given["ChampionVersion"] == "none"
    assert len(given["DataVersion"]) == 64


def test_the_champion_is_told_by_its_etag(aws: Session, bucket: str) -> None:
    put = aws.client("s3").put_object(Bucket=bucket, Key="champion/model.tar.gz", Body=b"model")
    handler(batch(TRIGGER), None)
    assert parameters(aws)["ChampionVersion"] == put["ETag"].strip('"')


@pytest.mark.parametrize("status", ["Executing", "Stopping"])
def test_triggers_during_a_run_are_handed_back(aws: Session, status: str) -> None:
    handler(batch(TRIGGER), None)
    set_status(status)
    assert handler(batch(TRIGGER, TRIGGER), None) == {
        "batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]
    }
    assert len(executions(aws)) == 1


def other_batch() -> dict[str, Any]:
    return {"Records": [{"messageId": "n", "body": TRIGGER}]}


@pytest.mark.parametrize(
    ("status", "runs"), [("Succeeded", 1), ("Failed", 2), ("Stopped", 2)], ids=str
)
def test_nothing_is_run_again_that_succeeded_and_has_not_changed(
    aws: Session, status: str, runs: int
) -> None:
    handler(batch(TRIGGER), None)
    set_status(status)
    assert handler(other_batch(), None) == {"batchItemFailures": []}
    assert len(executions(aws)) == runs


@pytest.mark.parametrize("key", ["raw/b.jpg", "raw/a.jpg", "champion/model.tar.gz"])
def test_new_pictures_changed_ones_and_a_new_champion_are_run(
    aws: Session, bucket: str, key: str
) -> None:
    handler(batch(TRIGGER), None)
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"new")
    handler(other_batch(), None)
    assert len(executions(aws)) == 2


def test_a_changed_pipeline_is_run(aws: Session) -> None:
    handler(batch(TRIGGER), None)
    # moto's update does not note when it was.
    moto_pipeline().last_modified_time = moto_pipeline().last_modified_time.now(UTC)
    handler(other_batch(), None)
    assert len(executions(aws)) == 2


def test_pictures_that_cannot_be_listed_count_as_new(aws: Session, bucket: str) -> None:
    aws.client("s3").delete_object(Bucket=bucket, Key="raw/a.jpg")
    handler(batch(TRIGGER), None)
    handler(other_batch(), None)
    assert len(executions(aws)) == 2


@pytest.mark.parametrize("older", [True, False])
def test_of_two_batches_at_once_the_older_run_stays(
    aws: Session, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """Another batch starts its run between this one's look and its start."""
    client = start_run.client("sagemaker")
    start, stopped = client.start_pipeline_execution, []

    def start_both(**request: Any) -> Any:
        other = {"PipelineName": "pixloop-colours", "ClientRequestToken": "o" * 32}
        answers = [start(**given) for given in ((other, request) if older else (request, other))]
        set_status("Executing")
        return answers[1 if older else 0]

    # moto can stop no execution.
    monkeypatch.setattr(client, "start_pipeline_execution", start_both)
    monkeypatch.setattr(client, "stop_pipeline_execution", lambda **given: stopped.append(given))
    kept = handler(batch(TRIGGER), None)["batchItemFailures"]
    assert (len(kept), len(stopped)) == ((1, 1) if older else (0, 0))


def test_messages_that_come_again_may_start_another_run(aws: Session, bucket: str) -> None:
    aws.client("s3").delete_object(Bucket=bucket, Key="raw/a.jpg")
    for received in ("1", "2"):
        record = {"messageId": "m", "body": TRIGGER}
        record["attributes"] = {"ApproximateReceiveCount": received}
        handler({"Records": [record]}, None)
    assert len(executions(aws)) == 2


def test_the_token_follows_from_the_messages_in_any_order(aws: Session, bucket: str) -> None:
    aws.client("s3").delete_object(Bucket=bucket, Key="raw/a.jpg")
    records = batch(TRIGGER, TRIGGER)["Records"]
    for order in ((0, 1), (1, 0)):
        handler({"Records": [records[i] for i in order]}, None)
    # The same token: the second request is the first one once more.
    assert len({str(each["PipelineExecutionArn"]) for each in executions(aws)}) == 1


def test_a_pipeline_that_is_not_there_fails_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIPELINE_NAME", "pixloop-nothing")
    with pytest.raises(ClientError):
        handler(batch(TRIGGER), None)
