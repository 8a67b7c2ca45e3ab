"""``pixloop aws status``: stacks, last run, what serves, versions that wait, queues, alarms."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.deployment.endpoint import read_endpoint, read_source
from pixloop.aws.deployment.function import read_function_source, read_live
from pixloop.aws.deployment.function_access import is_public
from pixloop.aws.infrastructure.cloudformation import stack_status
from pixloop.aws.infrastructure.parameters import ALARMS
from pixloop.aws.names import Names
from pixloop.aws.session import Session, translated
from pixloop.config import Config
from pixloop.errors import AwsError, AwsUnreachable

#: Queues of both stacks; what is in a "-dead" one needs a person.
QUEUES = (
    "pictures",
    "pictures-dead",
    "review",
    "triggers",
    "triggers-dead",
    "deployments-dead",
)


@dataclass(frozen=True, slots=True)
class Execution:
    """A run of the pipeline."""

    arn: str
    status: str  #: SageMaker's: Executing, Stopping, Stopped, Failed, Succeeded
    started: str  #: ISO 8601


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves: the endpoint, or the function."""

    name: str
    status: str
    """SageMaker's, such as InService; a function that serves is "Active", and said so if anybody
    may ask it."""
    model: str  #: such as ``vehicles:3``


@dataclass(frozen=True, slots=True)
class WaitingVersion:
    """A version that nobody has approved or rejected yet."""

    arn: str
    version: int
    made: str  #: ISO 8601


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue has, about."""

    waiting: int
    at_work: int


@dataclass(slots=True)
class Status:
    """What there is now. None, or empty, is what there is not, or what could not be read."""

    stacks: dict[str, str | None] = field(default_factory=dict)
    execution: Execution | None = None
    serving: list[Serving] = field(default_factory=list)
    pending: list[WaitingVersion] = field(default_factory=list)
    queues: dict[str, Depth] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)  #: those in ALARM
    unknown: list[str] = field(default_factory=list)  #: what could not be read, and why


def read_status(session: Session, config: Config) -> Status:
    """Ask each service; one that refuses or fails is noted and takes nothing from the others."""
    names, status = Names(config.name), Status()
    group = config.model_name

    def read(what: str, part: Callable[[], Any]) -> Any:
        try:
            with translated(what):
                return part()
        except AwsUnreachable:
            raise
        except AwsError as e:
            status.unknown.append(str(e))
            return None

    for stack in (names.learning_stack, names.serving_stack):
        status.stacks[stack] = read(stack, partial(stack_status, session, stack))
    status.execution = read("the pipeline", lambda: _last_execution(session, names.pipeline))
    for serving in (
        read("the endpoint", lambda: _endpoint(session, names.endpoint)),
        read("the function", lambda: _function(session, names.server_function)),
    ):
        status.serving += [serving] if serving else []
    status.pending = read("the registry", lambda: _pending(session, group)) or []
    for queue in QUEUES:
        depth = read(f"queue {queue}", partial(_depth, session, names.queue(queue)))
        status.queues |= {queue: depth} if depth else {}
    status.alarms = read("the alarms", lambda: _alarms(session, names)) or []
    return status


def _last_execution(session: Session, pipeline: str) -> Execution | None:
    listed = _found(
        session.client("sagemaker").list_pipeline_executions,
        PipelineName=pipeline,
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )
    for each in (listed or {}).get("PipelineExecutionSummaries", []):
        return Execution(
            each["PipelineExecutionArn"],
            each["PipelineExecutionStatus"],
            each["StartTime"].isoformat(),
        )
    return None


def _endpoint(session: Session, name: str) -> Serving | None:
    state = read_endpoint(session, name)
    if state is None:
        return None
    return Serving(name, state.status, read_source(session, state.config).name)


def _function(session: Session, name: str) -> Serving | None:
    if read_live(session, name) is None:
        return None
    asked = ", asked by anybody" if is_public(session, name) else ""
    return Serving(name, f"Active{asked}", read_function_source(session, name).name)


def _pending(session: Session, group: str) -> list[WaitingVersion]:
    pages = (
        session.client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageGroupName=group,
            ModelApprovalStatus="PendingManualApproval",
            SortBy="CreationTime",
            SortOrder="Descending",
        )
    )
    listed = _found(lambda: [each for page in pages for each in page["ModelPackageSummaryList"]])
    return [
        WaitingVersion(
            each["ModelPackageArn"], each["ModelPackageVersion"], each["CreationTime"].isoformat()
        )
        for each in listed or []
    ]


def _depth(session: Session, queue: str) -> Depth | None:
    sqs = session.client("sqs")
    url = _found(sqs.get_queue_url, QueueName=queue)
    if url is None:
        return None
    waiting, at_work = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
    answer = sqs.get_queue_attributes(QueueUrl=url["QueueUrl"], AttributeNames=[waiting, at_work])
    return Depth(int(answer["Attributes"][waiting]), int(answer["Attributes"][at_work]))


def _alarms(session: Session, names: Names) -> list[str]:
    ours = [names.alarm(alarm) for alarm in ALARMS]
    found = session.client("cloudwatch").describe_alarms(AlarmNames=ours)["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]


def _found(ask: Callable[..., Any], **what: Any) -> Any:
    """An answer, or None where there is no such thing."""
    try:
        return ask(**what)
    except ClientError as e:
        if is_absent(e):
            return None
        raise
