"""Executions of a SageMaker pipeline: submitted, started, followed, stopped."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as LostConnection

from pixloop.aws.pipeline.definition_check import all_steps, check_definition
from pixloop.aws.pipeline.job_progress import read_progress
from pixloop.aws.session import Session, error_code, translated
from pixloop.errors import AwsError
from pixloop.pipeline.display import Listener, Silent
from pixloop.pipeline.order import bind_parameters, main_path

Json = Mapping[str, Any]
Answer = TypeVar("Answer")

POLL_S = 10.0
#: Polls in a row that may fail before nobody follows any more; botocore tries each five times.
_PATIENCE = 30
_PASSING = ("Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded")
_AT_WORK = ("Executing", "Stopping")
_STEP_AT_WORK = ("Starting", "Executing", "Stopping")
#: Status of a step there → here.
_STEP_WORDS = {"Succeeded": "done", "Failed": "failed", "Stopped": "interrupted"}
_RUN_WORDS = {"Succeeded": "done", "Stopped": "interrupted"}


@dataclass
class Execution:
    """What is known of an execution."""

    arn: str
    definition: Json
    parameters: Mapping[str, Any]  #: as the definition types them
    started: datetime
    ended: datetime
    status: str  #: as SageMaker says it
    failure: str = ""
    steps: dict[str, Json] = field(default_factory=dict)  #: those that have begun, by name

    @property
    def id(self) -> str:
        """What ``Execution.PipelineExecutionId`` stands for."""
        return self.arn.rpartition("/")[2]

    @property
    def run_id(self) -> str:
        """A name that sorts by time, as those of local runs do."""
        return f"{self.started.astimezone(UTC):%Y%m%dT%H%M%S%f}"[:-3] + f"-{self.id}"

    @property
    def seconds(self) -> float:
        """How long it took, or has taken."""
        return (self.ended - self.started).total_seconds()


def submit_pipeline(session: Session, name: str, definition: Json, role: str) -> None:
    """Make the pipeline, or give it this definition.

    Raises:
        AwsError: SageMaker would refuse the definition, or refuses it.
    """
    found = check_definition(definition)
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise AwsError(f"SageMaker would refuse the pipeline {name}:\n{lines}")
    client, text = session.client("sagemaker"), json.dumps(definition)
    with translated(f"the pipeline {name}"):
        try:
            client.create_pipeline(
                PipelineName=name,
                PipelineDefinition=text,
                RoleArn=role,
                ClientRequestToken=uuid4().hex,
            )
        except ClientError as e:
            # The service has no code of its own for this.
            if "already exists" not in str(e):
                raise
            client.update_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=role)


def start_execution(
    session: Session, pipeline: str, display_name: str, parameters: Mapping[str, str]
) -> str:
    """Start a pipeline; the execution's ARN. A request that is repeated on its way starts one."""
    with translated(f"starting {pipeline}"):
        answer = session.client("sagemaker").start_pipeline_execution(
            PipelineName=pipeline,
            PipelineExecutionDisplayName=display_name,
            PipelineParameters=[{"Name": k, "Value": v} for k, v in parameters.items()],
            ClientRequestToken=uuid4().hex,
        )
    return str(answer["PipelineExecutionArn"])


def stop_execution(session: Session, arn: str) -> None:
    """Stop an execution; jobs at work end within minutes."""
    with translated(f"stopping {arn}"):
        session.client("sagemaker").stop_pipeline_execution(
            PipelineExecutionArn=arn, ClientRequestToken=uuid4().hex
        )


def read_execution(session: Session, arn: str) -> Execution:
    """An execution as it stands."""
    with translated(f"the execution {arn}"):
        return _read(session, arn)


def follow_execution(
    session: Session, arn: str, listener: Listener | None = None, *, interval_s: float = POLL_S
) -> Execution:
    """Tell a listener what an execution does until it ends, well or not.

    Whoever is interrupted, or loses the connection for good, leaves the execution at work; the
    KeyboardInterrupt says how to go on.

    Raises:
        AwsError: AWS refuses, or cannot be reached for many polls in a row.
    """
    told = _Told(session, listener or Silent())
    try:
        execution = _patiently(lambda: _read(session, arn), arn, interval_s)
        told.begin(execution)
        while True:
            told.tell(execution)
            if execution.status not in _AT_WORK:
                break
            time.sleep(interval_s)
            _patiently(lambda: _refresh(session, execution), arn, interval_s)
    except KeyboardInterrupt:
        told.end("interrupted")
        raise KeyboardInterrupt(_goes_on(arn)) from None
    failed = [step for step in execution.steps.values() if step["StepStatus"] == "Failed"]
    refused = bool(failed) and all(is_fail(execution, step["StepName"]) for step in failed)
    told.end("refused" if refused else _RUN_WORDS.get(execution.status, "failed"))
    return execution


def step_word(step: Json) -> str:
    """What ``runs.StepStatus`` calls the status of a step that has ended."""
    if step["StepStatus"] == "Succeeded":
        if step.get("CacheHitResult"):
            return "cached"
        if step.get("Metadata", {}).get("Condition", {}).get("Outcome") == "False":
            return "refused"
    return _STEP_WORDS[step["StepStatus"]]


def step_seconds(step: Json) -> float:
    """How long a step took; a cached one took no time, whatever the first took."""
    if step.get("CacheHitResult") or "EndTime" not in step or "StartTime" not in step:
        return 0.0
    return float((step["EndTime"] - step["StartTime"]).total_seconds())


def is_fail(execution: Execution, name: str) -> bool:
    """Whether a step is one that fails on purpose."""
    kinds = {step["Name"]: step["Type"] for step in all_steps(execution.definition["Steps"])}
    return kinds.get(name) == "Fail"


class _Told:
    """What a listener knows already, so that it is told each thing once."""

    def __init__(self, session: Session, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def begin(self, execution: Execution) -> None:
        path = [step["Name"] for step in main_path(execution.definition["Steps"])]
        self._listener.run_started(execution.run_id, path)

    def tell(self, execution: Execution) -> None:
        for name, step in execution.steps.items():
            # As a local run has it: the refusal of the condition before it says it all.
            if name in self._ended or is_fail(execution, name):
                continue
            if name not in self._begun:
                self._begun.add(name)
                self._listener.step_started(name)
            if step["StepStatus"] not in _STEP_AT_WORK:
                self._ended.add(name)
                self._listener.step_ended(name, step_word(step), step_seconds(step))
            elif (now := read_progress(self._session, step)) is not None:
                self._listener.step_advanced(name, now.description, now.done, now.total, now.note)

    def end(self, status: str) -> None:
        for name in self._begun - self._ended:
            self._listener.step_ended(name, "interrupted", 0.0)
        self._listener.run_ended(status)


def _read(session: Session, arn: str) -> Execution:
    client = session.client("sagemaker")
    shown = client.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    listed = client.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
    given = {p["Name"]: p["Value"] for p in listed.get("PipelineParameters") or []}
    described = client.describe_pipeline_execution(PipelineExecutionArn=arn)
    definition = json.loads(shown["PipelineDefinition"])
    return Execution(
        arn=arn,
        definition=definition,
        parameters=bind_parameters(definition, given),
        started=described["CreationTime"],
        ended=described["LastModifiedTime"],
        status=described["PipelineExecutionStatus"],
        failure=described.get("FailureReason") or "",
        # Listed after the status was asked: where that is final, so are the steps.
        steps=dict(_list_steps(client, arn)),
    )


def _refresh(session: Session, execution: Execution) -> None:
    client = session.client("sagemaker")
    described = client.describe_pipeline_execution(PipelineExecutionArn=execution.arn)
    steps = dict(_list_steps(client, execution.arn))  # after the status, as above
    execution.status, execution.steps = described["PipelineExecutionStatus"], steps
    execution.ended = described["LastModifiedTime"]
    execution.failure = described.get("FailureReason") or ""


def _list_steps(client: Any, arn: str) -> Iterator[tuple[str, Json]]:
    pages = client.get_paginator("list_pipeline_execution_steps")
    for page in pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending"):
        for step in page["PipelineExecutionSteps"]:
            yield step["StepName"], step


def _patiently(ask: Callable[[], Answer], arn: str, interval_s: float) -> Answer:
    """The answer, however often the network or the service's limits get in the way.

    It is failures that are counted, not time: a laptop that slept goes on where it was.
    """
    for _ in range(_PATIENCE):
        try:
            return ask()
        except (ClientError, BotoCoreError) as e:
            if not _passes(e):
                with translated(f"the execution {arn}"):
                    raise
            last = e
        time.sleep(interval_s)
    raise AwsError(f"AWS cannot be reached: {last}\n{_goes_on(arn)}") from last


def _passes(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may be answered later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in _PASSING or status >= 500
    return isinstance(error, LostConnection | HTTPClientError)


def _goes_on(arn: str) -> str:
    return (
        f"The execution goes on at AWS. Follow it: pixloop run --on sagemaker --follow {arn}\n"
        f"Stop it: pixloop run --on sagemaker --stop {arn}"
    )
