"""Executions: submitted to moto, which keeps them, and followed by a script of what they do."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, UnauthorizedSSOTokenError

from pixloop.aws.pipeline import executions as module
from pixloop.aws.pipeline.executions import (
    follow_execution,
    read_execution,
    start_execution,
    stop_execution,
    submit_pipeline,
)
from pixloop.aws.session import Session
from pixloop.config_file import parse_config
from pixloop.errors import AwsError
from pixloop.pipeline.definition import build_definition

ROLE = "arn:aws:iam::123456789012:role/jobs"
START = datetime(2026, 1, 1, tzinfo=UTC)
Json = dict[str, Any]


def definition(*overrides: str) -> Json:
    config = parse_config({"task": "classification", "data": "s3://b/t/"}, overrides)
    return build_definition(config, commit="c")


def step(name: str, status: str, seconds: float = 3, **more: Any) -> Json:
    ended = {} if status == "Executing" else {"EndTime": START + timedelta(seconds=seconds)}
    return {"StepName": name, "StepStatus": status, "StartTime": START, **ended, **more}


class Heard:
    """Everything that a listener was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def start(session: Session) -> str:
    submit_pipeline(session, "pixloop-p", definition(), ROLE)
    return start_execution(session, "pixloop-p", "p-1", {"Epochs": "3", "GateMinimum": "0.9"})


def test_a_pipeline_is_made_and_then_given_another_definition(aws: Session) -> None:
    for minimum in (0.5, 0.7):
        submit_pipeline(aws, "pixloop-p", definition(f"gate.minimum={minimum}"), ROLE)
        shown = aws.client("sagemaker").describe_pipeline(PipelineName="pixloop-p")
        parameters = json.loads(shown["PipelineDefinition"])["Parameters"]
        assert {"Name": "GateMinimum", "Type": "Float", "DefaultValue": minimum} in parameters
        assert shown["RoleArn"] == ROLE


def test_a_definition_that_would_be_refused_is_not_sent(aws: Session) -> None:
    wrong = definition()
    wrong["Steps"][0]["Arguments"]["RoleARN"] = "x"
    with pytest.raises(AwsError, match=r"would refuse the pipeline pixloop-p:\n.*'RoleARN'"):
        submit_pipeline(aws, "pixloop-p", wrong, ROLE)
    assert aws.client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_an_execution_has_its_parameters_typed(aws: Session, executions: Any) -> None:
    executions.scenes = [executions.scene("Executing")]
    execution = read_execution(aws, start(aws))
    assert (execution.parameters["Epochs"], execution.parameters["GateMinimum"]) == (3, 0.9)
    assert execution.parameters["BatchSize"] == 64
    assert execution.run_id.endswith(execution.id)
    assert execution.run_id[:4].isdigit()


def test_a_listener_is_told_each_thing_once_and_in_order(aws: Session, executions: Any) -> None:
    hit = {"CacheHitResult": {"SourcePipelineExecutionArn": "arn:x"}}
    prepared, trained = step("Prepare", "Succeeded", **hit), step("Train", "Succeeded", 7)
    ended = [step("Export", "Succeeded"), step("Evaluate", "Succeeded")]
    outcome = {"Metadata": {"Condition": {"Outcome": "True"}}}
    executions.scenes = [
        executions.scene("Executing"),
        executions.scene("Executing", prepared),
        executions.scene("Executing", prepared, step("Train", "Executing")),
        executions.scene("Executing", prepared, step("Train", "Executing")),
        executions.scene(
            "Succeeded",
            *(prepared, trained, *ended),
            *(step("Gate", "Succeeded", **outcome), step("Register", "Succeeded")),
        ),
    ]
    heard = Heard()
    execution = follow_execution(aws, start(aws), heard, interval_s=0)
    assert execution.status == "Succeeded"
    assert execution.seconds == 90
    assert heard.calls[0] == (
        "run_started",
        execution.run_id,
        ["Prepare", "Train", "Export", "Evaluate", "Gate", "Register"],
    )
    assert heard.calls[1:7] == [
        ("step_started", "Prepare"),
        ("step_ended", "Prepare", "cached", 0.0),
        ("step_started", "Train"),
        ("step_ended", "Train", "done", 7.0),
        ("step_started", "Export"),
        ("step_ended", "Export", "done", 3.0),
    ]
    assert heard.calls[-1] == ("run_ended", "done")
    assert len(heard.calls) == 14


def test_a_refusal_ends_as_a_local_one(aws: Session, executions: Any) -> None:
    outcome = {"Metadata": {"Condition": {"Outcome": "False"}}}
    fail = step("Refused", "Failed", Metadata={"Fail": {"ErrorMessage": "needs 0.8"}})
    executions.scenes = [executions.scene("Failed", step("Gate", "Succeeded", **outcome), fail)]
    heard = Heard()
    follow_execution(aws, start(aws), heard, interval_s=0)
    assert heard.calls[1:] == [
        ("step_started", "Gate"),
        ("step_ended", "Gate", "refused", 3.0),
        ("run_ended", "refused"),
    ]


@pytest.mark.parametrize(
    ("status", "step_status", "word"),
    [("Failed", "Failed", "failed"), ("Stopped", "Stopped", "interrupted")],
)
def test_other_endings(
    aws: Session, executions: Any, status: str, step_status: str, word: str
) -> None:
    executions.scenes = [executions.scene(status, step("Train", step_status))]
    heard = Heard()
    follow_execution(aws, start(aws), heard, interval_s=0)
    assert heard.calls[-2:] == [("step_ended", "Train", word, 3.0), ("run_ended", word)]


def throttled() -> ClientError:
    return ClientError(
        {
            "Error": {"Code": "ThrottlingException", "Message": "slow down"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        },
        "DescribePipelineExecution",
    )


@pytest.mark.parametrize(
    "trouble", [throttled(), EndpointConnectionError(endpoint_url="https://sagemaker")]
)
def test_throttling_and_lost_connections_end_nothing(
    aws: Session, executions: Any, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    executions.scenes = [executions.scene("Executing"), executions.scene("Succeeded")]
    arn = start(aws)
    client = aws.client("sagemaker")
    describe, left = client.describe_pipeline_execution, [trouble] * 20

    def flaky(**request: Any) -> Any:
        if left and len(left) % 2 == 0:
            raise left.pop()
        if left:
            left.pop()
        return describe(**request)

    monkeypatch.setattr(client, "describe_pipeline_execution", flaky)
    assert follow_execution(aws, arn, interval_s=0).status == "Succeeded"


def test_whoever_never_gets_through_is_told_that_it_goes_on(
    aws: Session, executions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions.scenes = [executions.scene("Executing")]
    arn, tries = start(aws), []

    def dead(**_: Any) -> Any:
        tries.append(1)
        raise EndpointConnectionError(endpoint_url="https://sagemaker")

    monkeypatch.setattr(aws.client("sagemaker"), "describe_pipeline_execution", dead)
    with pytest.raises(AwsError, match=f"cannot be reached(?s:.*)--follow {arn}"):
        follow_execution(aws, arn, interval_s=0)
    assert len(tries) == 30


def test_a_refusal_of_the_service_is_no_lost_connection(aws: Session, executions: Any) -> None:
    executions.scenes = [executions.scene("Executing")]
    with pytest.raises(AwsError, match="no-such"):
        follow_execution(aws, start(aws) + "-no-such", interval_s=0)


def test_credentials_that_are_no_more_are_said_at_once(
    aws: Session, executions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions.scenes = [executions.scene("Executing")]
    arn, tries = start(aws), []

    def expired(**_: Any) -> Any:
        tries.append(1)
        raise UnauthorizedSSOTokenError

    monkeypatch.setattr(aws.client("sagemaker"), "describe_pipeline_execution", expired)
    with pytest.raises(AwsError, match=r"the execution arn:.*SSO session"):
        follow_execution(aws, arn, interval_s=0)
    assert len(tries) == 1


def test_an_interrupted_follower_leaves_it_at_work_and_says_how_to_go_on(
    aws: Session,
    executions: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executions.scenes = [executions.scene("Executing", step("Train", "Executing"))]
    arn, heard = start(aws), Heard()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt) as left:
        follow_execution(aws, arn, heard, interval_s=0)
    assert heard.calls[-2:] == [
        ("step_ended", "Train", "interrupted", 0.0),
        ("run_ended", "interrupted"),
    ]
    assert executions.stopped == []
    said = str(left.value)
    assert f"--follow {arn}" in said
    assert f"--stop {arn}" in said


def test_an_execution_can_be_stopped(aws: Session, executions: Any) -> None:
    executions.scenes = [executions.scene("Executing")]
    arn = start(aws)
    stop_execution(aws, arn)
    assert executions.stopped == [arn]
