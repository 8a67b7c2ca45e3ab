"""What the links of a rehearsal share: the cloud, what was made so far, and waiting for things."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pixloop.aws.names import Names
from pixloop.aws.pipeline.executions import Execution, follow_execution
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.rehearsal_data import Pictures
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.errors import AwsError
from pixloop.pipeline.display import Listener

_LOOK_EVERY_S = 0.25
Found = TypeVar("Found")


class LinkBroken(AwsError):
    """A link of the chain did not do what it should; the message says what was seen."""


@dataclass
class Stage:
    """A rehearsal under way.

    Attributes:
        outputs: of the stacks.
        versions: the versions that were made, by what they are for → the model package's ARN.
        executions: the ARNs of the executions that were waited for.
    """

    cloud: Cloud
    session: Session
    config: Config
    folder: Path
    pictures: Pictures
    listener: Listener
    outputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    executions: list[str] = field(default_factory=list)

    @property
    def names(self) -> Names:
        """The project's names."""
        return Names(self.config.name)

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return self.session.client(service)

    # ---- waiting

    def wait(self, find: Callable[[], Found | None], what: str, most_s: float = 120) -> Found:
        """What ``find`` gives as soon as it gives something.

        Raises:
            LinkBroken: it gave nothing for ``most_s`` seconds, or an event could not be delivered.
        """
        deadline, known = time.monotonic() + most_s, len(self.cloud.events.failures)
        while True:
            found = find()
            if found:
                return found
            if len(self.cloud.events.failures) > known:
                raise LinkBroken(f"{what} will not come.{self.failures()}")
            if time.monotonic() > deadline:
                raise LinkBroken(f"{what} did not come within {most_s:.0f} s.{self.failures()}")
            time.sleep(_LOOK_EVERY_S)

    def failures(self) -> str:
        """What could not be delivered, for the message of a link that broke."""
        said = [
            f"{each.rule} → {each.target}: {each.failure}" for each in self.cloud.events.failures
        ]
        return "".join(f"\n  {line}" for line in said[-5:])

    # ---- pipeline

    def newest_execution(self) -> Mapping[str, Any] | None:
        """The execution that was started last."""
        listed = self.client("sagemaker").list_pipeline_executions(
            PipelineName=self.outputs["PipelineName"],
            SortBy="CreationTime",
            SortOrder="Descending",
        )["PipelineExecutionSummaries"]
        return listed[0] if listed else None

    def wait_for_runs(self) -> list[Execution]:
        """A new execution, and each that comes after it, followed to their ends.

        Raises:
            LinkBroken: none starts, or the last one fails.
        """
        followed: list[Execution] = []
        while True:
            self.wait(self._has_new, "an execution of the pipeline")
            newest = self.newest_execution()
            assert newest is not None  # noqa: S101 - for the type checker: there is one
            arn = newest["PipelineExecutionArn"]
            execution = follow_execution(self.session, arn, self.listener, interval_s=1.0)
            self.executions.append(arn)
            followed.append(execution)
            # Triggers that came during a run start one more after it.
            self.wait(
                lambda: self._has_new() or not self.waiting_messages("triggers"),
                "the end of what waits in the queue of triggers",
            )
            if not self._has_new():
                break
        if execution.status != "Succeeded":
            raise LinkBroken(f"The execution is {execution.status}: {execution.failure}")
        return followed

    def _has_new(self) -> bool:
        newest = self.newest_execution()
        return newest is not None and newest["PipelineExecutionArn"] not in self.executions

    def description(self, execution: str) -> str:
        """What started an execution."""
        described = self.client("sagemaker").describe_pipeline_execution(
            PipelineExecutionArn=execution
        )
        return str(described["PipelineExecutionDescription"])

    def registered_by(self, execution: Execution) -> str:
        """The ARN of the version that an execution registered."""
        for step in execution.steps.values():
            arn = step.get("Metadata", {}).get("RegisterModel", {}).get("Arn")
            if arn:
                return str(arn)
        raise LinkBroken(f"{execution.arn} registered no version.")

    # ---- registry and endpoint

    def package(self, arn: str) -> Mapping[str, Any]:
        """A version in the model registry."""
        described = self.client("sagemaker").describe_model_package(ModelPackageName=arn)
        return dict(described)

    def model_name(self, arn: str) -> str:
        """What answers of a version give as ``model``."""
        return f"{self.config.name}:{arn.rpartition('/')[2]}"

    def approve(self, arn: str) -> None:
        """Approve a version, as a person does."""
        self.client("sagemaker").update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Approved"
        )

    def endpoint(self) -> Mapping[str, Any] | None:
        """The endpoint, or None."""
        listed = self.client("sagemaker").list_endpoints(NameContains=self.names.endpoint)
        if not listed["Endpoints"]:
            return None
        return dict(self.client("sagemaker").describe_endpoint(EndpointName=self.names.endpoint))

    def champion(self) -> str | None:
        """The name of the model whose archive lies under ``champion/``."""
        s3 = self.client("s3")
        try:
            head = s3.head_object(Bucket=self.outputs["BucketName"], Key="champion/model.tar.gz")
        except s3.exceptions.ClientError:
            return None
        return str(head["Metadata"].get("model", ""))

    # ---- queues

    def queue_url(self, purpose: str) -> str:
        """The address of a queue of the project."""
        answer = self.client("sqs").get_queue_url(QueueName=self.names.queue(purpose))
        return str(answer["QueueUrl"])

    def waiting_messages(self, purpose: str) -> int:
        """How many messages a queue holds, those that are being worked on included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client("sqs").get_queue_attributes(
            QueueUrl=self.queue_url(purpose), AttributeNames=names
        )
        return sum(int(answer["Attributes"][name]) for name in names)

    def take_messages(self, purpose: str) -> list[Any]:
        """The messages of a queue, as JSON, which are taken out of it."""
        sqs, url, bodies = self.client("sqs"), self.queue_url(purpose), []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                bodies.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies
