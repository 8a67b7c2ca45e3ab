"""The values of the two templates' parameters: names, keys of code, settings, what is kept.

Everything follows from the configuration, the account and the region, but for options that were
given once and what an earlier deployment left; both are read from the stack as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pixloop.aws.deployment.target import Target
from pixloop.aws.infrastructure.code_bucket import bucket_exists
from pixloop.aws.infrastructure.github import requirement
from pixloop.aws.infrastructure.kept import (
    github_provider,
    group_exists,
    kept_key,
    make_or_find,
    repository_exists,
)
from pixloop.aws.names import CAPTURE, LEARNING_FUNCTIONS, SERVING_FUNCTIONS, Names
from pixloop.aws.session import Session
from pixloop.config import Config


@dataclass(frozen=True, slots=True)
class Options:
    """What a deployment may be told besides pixloop.yaml. None leaves it as the stack has it."""

    github_repository: str | None = None  #: ``owner/name`` whose commits deploy; empty for none
    github_branch: str | None = None
    code_connection_arn: str | None = None  #: of CodeConnections; empty for no CodePipeline
    code_repository: str | None = None  #: ``owner/name`` at the end of the connection
    code_branch: str | None = None
    alarm_email: str | None = None  #: who is told of alarms; empty for nobody
    debounce_s: int | None = None  #: triggers within so many seconds start one run
    retry_s: int | None = None  #: when a trigger that came during a run comes again; from 300 on
    rekognition_version: str | None = None  #: the ARN of what answers instead; empty for nothing
    rekognition_threshold: str | None = None  #: its threshold as text; empty accepts nothing
    deploy_to: str | None = None  #: ``endpoint``, ``serverless``, ``async`` or ``function``


#: The alarms of the serving stack, by what ``Names.alarm`` calls them.
ALARMS = (
    "errors",
    "latency",
    "dead-letters",
    "deployments",
    "triggers",
    "queue-age",
    "drift",
    "quality",
)
#: Options that are parameters, by stack, and their values in a first deployment.
_LEARNING = {
    "github_repository": ("GitHubRepository", ""),
    "github_branch": ("GitHubBranch", "main"),
    "code_connection_arn": ("CodeConnectionArn", ""),
    "code_repository": ("CodeRepository", ""),
    "code_branch": ("CodeBranch", "main"),
    "debounce_s": ("DebounceSeconds", "300"),
    "retry_s": ("RetrySeconds", "900"),
}
_SERVING = {
    "alarm_email": ("AlarmEmail", ""),
    "rekognition_version": ("RekognitionVersion", ""),
    "rekognition_threshold": ("RekognitionThreshold", ""),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project is deployed, and what that makes its buckets' and roles' names."""

    config: Config
    account: str
    partition: str
    code_bucket: str

    @property
    def names(self) -> Names:
        """The project's names."""
        return Names(self.config.name)

    @property
    def group(self) -> str:
        """The model package group."""
        return self.config.model_name

    @property
    def bucket(self) -> str:
        """The learning stack's bucket: ``aws.bucket``, or one of the stack's own."""
        return self.config.aws.bucket or self.own_bucket("data")

    @property
    def pictures_bucket(self) -> str:
        """The serving stack's bucket: ``aws.pictures_bucket``, or one of the stack's own."""
        return self.config.aws.pictures_bucket or self.own_bucket("pictures")

    def own_bucket(self, purpose: str) -> str:
        """A bucket that a stack makes: ``data``, ``pictures``, ``logs`` or ``page``."""
        return self.names.bucket(purpose, self.account, self.config.aws.region)

    @property
    def locked_buckets(self) -> tuple[str, str]:
        """The buckets of the stacks' own that the project's key encrypts; there may be neither."""
        return self.own_bucket("data"), self.own_bucket("pictures")

    @property
    def execution_role(self) -> str:
        """The ARN of the role that jobs and endpoints run as."""
        return self.config.aws.role or self.role_arn("execution")

    def role_arn(self, purpose: str) -> str:
        """The ARN of a role of ours."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.names.role(purpose)}"

    @property
    def image(self) -> str:
        """The image that jobs run unless they are told another."""
        end = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        registry = f"{self.account}.dkr.ecr.{self.config.aws.region}.{end}"
        return self.config.aws.image or f"{registry}/{self.names.repository}:latest"


def learning_parameters(
    session: Session,
    place: Place,
    keys: Mapping[str, str],
    options: Options,
    before: Mapping[str, str],
) -> dict[str, str]:
    """The parameters of ``learning.yaml``.

    Args:
        session: clients.
        place: names.
        keys: of the code, by parameter, such as ``StartRunKey``.
        options: what is to be otherwise than before.
        before: the parameters that the stack has; empty where there is none.
    """
    names, aws = place.names, place.config.aws
    parameters = {
        **_common(place, keys),
        "NamePrefix": names.prefix,
        "BucketName": place.bucket,
        "LogBucketName": place.own_bucket("logs"),
        "PicturesBucketName": place.pictures_bucket,
        "RepositoryName": names.repository,
        "PipelineName": names.pipeline,
        "PipelineInArn": names.pipeline.lower(),
        "ModelPackageGroupName": place.group,
        "ModelPackageGroupInArn": place.group.lower(),
        "ExecutionRoleName": names.role("execution"),
        **_function_names(names, LEARNING_FUNCTIONS),
        "TriggersName": names.queue("triggers"),
        "TriggersDeadName": names.queue("triggers-dead"),
        "DriftAlarmName": names.alarm("drift"),
        "DashboardName": names.dashboard,
        "RekognitionProjectName": names.rekognition,
        "ServingStack": names.serving_stack,
        "Schedule": aws.schedule or "",
        "Requirement": requirement(),
        **_options(options, _LEARNING, before),
    }
    exists = {
        "MakeBucket": ("BucketName", bucket_exists),
        "MakeLogBucket": ("LogBucketName", bucket_exists),
        "MakeRepository": ("RepositoryName", repository_exists),
        "MakeModelPackageGroup": ("ModelPackageGroupName", group_exists),
    }
    for make, (name, is_there) in exists.items():
        parameters[make] = make_or_find(session, make, name, is_there, parameters, before)
    parameters["ExistingKeyArn"] = (
        before["ExistingKeyArn"] if before else kept_key(session, place.locked_buckets)
    )
    parameters["GitHubProviderArn"] = before.get("GitHubProviderArn", "")
    if parameters["GitHubRepository"] and not before.get("GitHubRepository"):
        parameters["GitHubProviderArn"] = github_provider(session)
    return parameters


def serving_parameters(
    session: Session,
    place: Place,
    keys: Mapping[str, str],
    options: Options,
    before: Mapping[str, str],
    learning: Mapping[str, str],
) -> dict[str, str]:
    """The parameters of ``serving.yaml``; ``learning`` has the outputs of the other stack."""
    names = place.names
    to = options.deploy_to or (Target.from_json(before["Target"]).to if before else "endpoint")
    target = make_target(place, to, learning["KeyArn"])
    parameters = {
        **_common(place, keys),
        **_function_names(names, SERVING_FUNCTIONS),
        "PicturesBucketName": place.pictures_bucket,
        "EndpointName": names.endpoint,
        "EndpointInArn": names.endpoint.lower(),
        "ServerFunctionName": names.server_function,
        "FunctionRoleName": names.role("server"),
        "StateMachineName": names.state_machine,
        "DashboardName": names.dashboard,
        "RekognitionProjectName": names.rekognition,
        "PicturesName": names.queue("pictures"),
        "PicturesDeadName": names.queue("pictures-dead"),
        "ReviewName": names.queue("review"),
        "DeploymentsDeadName": names.queue("deployments-dead"),
        "TriggersDeadName": names.queue("triggers-dead"),
        **{f"{camel(alarm)}AlarmName": names.alarm(alarm) for alarm in ALARMS},
        "BucketName": learning["BucketName"],
        "LogBucketName": learning["LogBucketName"],
        "KeyArn": learning["KeyArn"],
        "ExecutionRoleArn": place.execution_role,
        "RepositoryName": names.repository,
        "ModelPackageGroupName": place.group,
        "ModelPackageGroupInArn": place.group.lower(),
        "DeployTo": "function" if to == "function" else "endpoint",
        "Target": target.to_json(),
        "QualityMinimum": str(place.config.gate.minimum),
        **_options(options, _SERVING, before),
    }
    make, name = "MakePicturesBucket", "PicturesBucketName"
    parameters[make] = make_or_find(session, make, name, bucket_exists, parameters, before)
    return parameters


def make_target(place: Place, to: str, key_arn: str) -> Target:
    """What an approved version is deployed to."""
    names, aws = place.names, place.config.aws
    function = to == "function"
    pictures = f"s3://{place.pictures_bucket}"
    return Target(
        project=place.config.name,
        to=to,  # type: ignore[arg-type]  # the command line has checked it
        name=names.server_function if function else names.endpoint,
        role=place.role_arn("server") if function else place.execution_role,
        bucket=place.bucket,
        image=aws.image or "",
        instance_type=aws.serving_instance,
        instances=aws.serving_instances,
        memory_mb=aws.memory_mb,
        capture_percent=aws.capture_percent,
        capture_uri=f"{pictures}/{CAPTURE}",
        async_uri=f"{pictures}/async",
        key_arn=key_arn,
        subnets=aws.subnets,
        security_groups=aws.security_groups,
        alarms=(names.alarm("errors"), names.alarm("latency")),
    )


def _common(place: Place, keys: Mapping[str, str]) -> dict[str, str]:
    return {
        "Project": place.config.name,
        "CodeBucket": place.code_bucket,
        "SubnetIds": ",".join(place.config.aws.subnets),
        "SecurityGroupIds": ",".join(place.config.aws.security_groups),
        **keys,
    }


def _function_names(names: Names, modules: Sequence[str]) -> dict[str, str]:
    return {f"{camel(module)}Name": names.function(module) for module in modules}


def _options(
    options: Options, parameters: Mapping[str, tuple[str, str]], before: Mapping[str, str]
) -> dict[str, str]:
    """The options that are given, else what the stack has, else the values to begin with."""
    given = {option: value for option, value in asdict(options).items() if value is not None}
    return {
        parameter: str(given.get(option, before.get(parameter, first)))
        for option, (parameter, first) in parameters.items()
    }


def camel(name: str) -> str:
    """A function or an alarm as the templates name it.

    >>> camel("filter_sure"), camel("queue-age")
    ('FilterSure', 'QueueAge')
    """
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))
