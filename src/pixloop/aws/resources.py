"""What a project has on AWS: the outputs of its two stacks, and what pixloop.yaml says instead."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from pixloop.aws.absence import find
from pixloop.aws.names import Names
from pixloop.aws.session import Session, error_code, translated
from pixloop.config import Config
from pixloop.errors import AwsError

#: Field of ``Resources`` → the output of a stack that it is.
_LEARNING_OUTPUTS = {
    "bucket": "BucketName",
    "key_arn": "KeyArn",
    "repository": "RepositoryUri",
    "pipeline": "PipelineName",
    "model_package_group": "ModelPackageGroupName",
    "role": "ExecutionRoleArn",
    "trigger_queue_url": "TriggerQueueUrl",
}
_SERVING_OUTPUTS = {
    "pictures_bucket": "PicturesBucketName",
    "state_machine_arn": "StateMachineArn",
    "pictures_queue_url": "PicturesQueueUrl",
    "pictures_dead_queue_url": "PicturesDeadQueueUrl",
    "review_queue_url": "ReviewQueueUrl",
    "function_role": "FunctionRoleArn",
    "dashboard": "DashboardName",
    "drift_alarm": "DriftAlarmName",
}
#: Where a field can be had, other than from 'pixloop aws deploy'.
_OTHER_SOURCES = {
    "bucket": "set aws.bucket",
    "role": "set aws.role",
    "pictures_bucket": "set aws.pictures_bucket",
    "image": "push one with 'pixloop aws image', or set aws.image",
}
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"/(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?"
)
#: ECR has no such image; it does not say whether there is one; it may not be asked.
_ABSENT = ("ImageNotFoundException", "RepositoryNotFoundException")
_UNKNOWN = ("AccessDeniedException", "AccessDenied")


@dataclass(frozen=True, slots=True)
class Resources:
    """What there is; None is what there is not."""

    project: str
    bucket: str | None = None
    key_arn: str | None = None
    repository: str | None = None
    image: str | None = None  #: with its digest, where it is in an ECR that answers
    role: str | None = None
    pipeline: str | None = None
    model_package_group: str | None = None
    trigger_queue_url: str | None = None
    pictures_bucket: str | None = None
    state_machine_arn: str | None = None
    pictures_queue_url: str | None = None
    pictures_dead_queue_url: str | None = None
    review_queue_url: str | None = None
    function_role: str | None = None
    dashboard: str | None = None
    drift_alarm: str | None = None

    def need(self, *names: str) -> list[str]:
        """The values of some fields, none of which may be missing.

        >>> bucket, role = Resources("p", bucket="b", role="r").need("bucket", "role")

        Raises:
            AwsError: something is missing; the message says all that is, and where to get it.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            others = "; ".join(_OTHER_SOURCES[name] for name in missing if name in _OTHER_SOURCES)
            words = ", no ".join(map(_in_words, missing))
            raise AwsError(
                f"The project {self.project} has no {words} on AWS. "
                f"'pixloop aws deploy' makes what it needs{f'. Or: {others}' if others else ''}."
            )
        return [getattr(self, name) for name in names]


def find_resources(session: Session, config: Config) -> Resources:
    """What a project has on AWS; keys of pixloop.yaml come before what a stack says.

    Raises:
        AwsError: AWS cannot be asked, or ``aws.image`` names an image that is not there.
    """
    names = Names(config.name)
    learning = find_outputs(session, names.learning_stack) or {}
    serving = find_outputs(session, names.serving_stack) or {}
    found = {field: learning.get(output) for field, output in _LEARNING_OUTPUTS.items()}
    found |= {field: serving.get(output) for field, output in _SERVING_OUTPUTS.items()}
    aws = config.aws
    said = {"bucket": aws.bucket, "role": aws.role, "pictures_bucket": aws.pictures_bucket}
    found |= {field: value for field, value in said.items() if value}
    resources = Resources(config.name, **{field: value or None for field, value in found.items()})
    return dataclasses.replace(resources, image=_find_image(session, config, resources.repository))


def find_outputs(session: Session, stack: str) -> Mapping[str, str] | None:
    """The outputs of a CloudFormation stack, or None where there is no such stack."""
    with translated(f"the stack {stack}"):
        answer = find(session.client("cloudformation").describe_stacks, StackName=stack)
    if answer is None:
        return None
    outputs = answer["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def resolve_image(session: Session, image: str) -> str | None:
    """An image's address with its digest, or None where ECR has no such image.

    With the digest, every job of a run has the same image, whatever is pushed meanwhile. An
    address elsewhere, or in a registry that may not be asked, is given back as it is.
    """
    match = _ECR.fullmatch(image)
    if match is None or "@" in image:
        return image
    with translated(f"the image {image}"):
        try:
            answer = session.client("ecr").describe_images(
                registryId=match["account"],
                repositoryName=match["repository"],
                imageIds=[{"imageTag": match["tag"] or "latest"}],
            )
        except ClientError as e:
            if error_code(e) in _UNKNOWN:
                return image
            if error_code(e) in _ABSENT:
                return None
            raise
    untagged = image.removesuffix(f":{match['tag']}")
    return f"{untagged}@{answer['imageDetails'][0]['imageDigest']}"


def _find_image(session: Session, config: Config, repository: str | None) -> str | None:
    if config.aws.image is None:
        return resolve_image(session, f"{repository}:latest") if repository else None
    image = resolve_image(session, config.aws.image)
    if image is None:
        raise AwsError(f"aws.image: ECR has no image {config.aws.image}. 'pixloop aws image'?")
    return image


def _in_words(name: str) -> str:
    """A field as people say it.

    >>> _in_words("pictures_queue_url")
    'pictures queue'
    """
    return name.removesuffix("_url").removesuffix("_arn").replace("_", " ")
