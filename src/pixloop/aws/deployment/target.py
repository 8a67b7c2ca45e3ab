"""Where a model version is deployed to, and what is deployed there. Plain records."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from pixloop.errors import AwsError

#: What the container reads from its environment: the name that answers give, and, for whoever
#: looks at a deployment later, the version in the registry that it comes from.
MODEL_NAME, MODEL_PACKAGE = "PIXLOOP_MODEL_NAME", "PIXLOOP_MODEL_PACKAGE"
#: What the server in a Lambda function reads besides: where its archive lies.
MODEL_URL = "PIXLOOP_MODEL_URL"


class Clients(Protocol):
    """Gives boto's clients: a ``pixloop.aws.session.Session``, or ``function_clients``."""

    def client(self, service: str, /) -> Any:
        """The client of a service, such as ``"s3"``."""


@dataclass(frozen=True)
class Target:
    """An endpoint or a function of one project, and how it is to be.

    Attributes:
        project: the project's name, the first half of a model's name.
        to: a real-time, serverless or asynchronous endpoint, or a Lambda function.
        name: of the endpoint or function; at most 50 characters.
        role: the ARN of the role that the container runs under.
        bucket: of the learning stack; the verified archive is copied to its ``champion/``.
        image: the container; empty takes the one that the model version was registered with.
        instance_type: of a real-time or asynchronous endpoint, and of batch transforms.
        instances: the least and the greatest number of them.
        memory_mb: of a serverless endpoint or a function.
        max_concurrency: how many requests a serverless endpoint answers at once.
        capture_percent: the share of a real-time endpoint's traffic that is kept.
        capture_uri: where it is kept.
        async_uri: where an asynchronous endpoint's requests and answers lie.
        key_arn: the KMS key; empty for AWS's own.
        subnets: of a VPC; empty for none.
        security_groups: that go with ``subnets``.
        alarms: names of CloudWatch alarms that undo an update while it is under way.
    """

    project: str
    to: Literal["endpoint", "serverless", "async", "function"]
    name: str
    role: str
    bucket: str
    image: str = ""
    instance_type: str = "ml.c6i.xlarge"
    instances: tuple[int, int] = (1, 1)
    memory_mb: int = 3072
    max_concurrency: int = 5
    capture_percent: int = 0
    capture_uri: str = ""
    async_uri: str = ""
    key_arn: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON, as the functions get it in ``TARGET``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Target":
        """Read ``to_json``.

        Raises:
            AwsError: it is none; the message names what is wrong.

        >>> target = Target("a", "function", "pixloop-a-server", "arn:role", "bucket")
        >>> Target.from_json(target.to_json()) == target
        True
        """
        try:
            values: dict[str, Any] = json.loads(text)
            lists = [name for name, value in values.items() if isinstance(value, list)]
            values.update({name: tuple(values[name]) for name in lists})
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as e:
            raise AwsError(f"TARGET is not a target that this pixloop knows: {e}.") from e


@dataclass(frozen=True)
class ModelSource:
    """What is deployed: an archive, the image that serves it, and where it comes from."""

    name: str  #: what answers give as ``model``, such as ``vehicles:3``
    image: str
    data_url: str  #: ``s3://…/model.tar.gz``
    package_arn: str = ""  #: in SageMaker's model registry; empty where it is not from there

    @property
    def environment(self) -> dict[str, str]:
        """What a container is told about it."""
        return {MODEL_NAME: self.name, MODEL_PACKAGE: self.package_arn}


@dataclass(frozen=True)
class Deployed:
    """What ``deploy`` did."""

    name: str  #: of the endpoint or function
    model: str  #: what its answers give as ``model``
    version: str  #: the endpoint's configuration, or the function's version
    changed: bool  #: False where it was so already


@dataclass(frozen=True)
class Settled:
    """What became of a deployment once it was asked."""

    name: str
    model: str
    differences: tuple[str, ...]  #: from the certificate; none where it answers as it should
    serves: str | None  #: the model that serves now; None where nothing does

    @property
    def ok(self) -> bool:
        """Whether the deployed version was verified."""
        return not self.differences


def read_package(clients: Clients, target: Target, package_arn: str) -> ModelSource:
    """A model version of SageMaker's registry.

    Raises:
        AwsError: the version has no archive to deploy.
    """
    package = clients.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    containers = package.get("InferenceSpecification", {}).get("Containers") or [{}]
    if not containers[0].get("ModelDataUrl"):
        raise AwsError(f"{package_arn} has no model.tar.gz, so pixloop did not register it.")
    return ModelSource(
        name=f"{target.project}:{package['ModelPackageVersion']}",
        image=target.image or containers[0]["Image"],
        data_url=containers[0]["ModelDataUrl"],
        package_arn=package["ModelPackageArn"],
    )


def is_approved(clients: Clients, package_arn: str) -> bool:
    """Whether a version is approved now; events may tell of yesterday."""
    package = clients.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    return bool(package.get("ModelApprovalStatus") == "Approved")


def reject(clients: Clients, package_arn: str, reason: str) -> None:
    """Note in the registry that a version is not to be deployed, and why."""
    if package_arn:
        clients.client("sagemaker").update_model_package(
            ModelPackageArn=package_arn,
            ModelApprovalStatus="Rejected",
            # The registry takes one line of 1024 characters.
            ApprovalDescription=" ".join(reason.split())[:1024],
        )
