"""What a project has on AWS, asked of moto's CloudFormation and ECR."""

import json

import pytest

from pixloop.aws.resources import Resources, find_outputs, find_resources, resolve_image
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError

ROLE = "arn:aws:iam::123456789012:role/jobs"
KIND = "application/vnd.docker.distribution.manifest.v2+json"


def config(*overrides: str) -> Config:
    raw = {"task": "classification", "name": "vehicles", "data": "s3://b/t"}
    return parse_config(raw, overrides)


def make_stack(session: Session, name: str, **outputs: str) -> None:
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    session.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))


def push(session: Session, *tags: str) -> tuple[str, str]:
    """A repository with an image for each tag: its address, and the last image's digest."""
    client = session.client("ecr")
    made = client.create_repository(repositoryName="team/pixloop")["repository"]
    digest = ""
    for tag in tags:
        manifest = {"schemaVersion": 2, "mediaType": KIND, "config": {"digest": tag}, "layers": []}
        answer = client.put_image(
            repositoryName="team/pixloop", imageManifest=json.dumps(manifest), imageTag=tag
        )
        digest = answer["image"]["imageId"]["imageDigest"]
    return made["repositoryUri"], digest


def test_the_stacks_say_what_there_is(aws: Session) -> None:
    repository, digest = push(aws, "latest")
    make_stack(
        aws,
        "pixloop-vehicles-learning",
        BucketName="learn",
        ExecutionRoleArn=ROLE,
        RepositoryUri=repository,
        KeyArn="",
    )
    make_stack(
        aws, "pixloop-vehicles-serving", PicturesBucketName="pics", ReviewQueueUrl="http://q"
    )
    found = find_resources(aws, config())
    assert found == Resources(
        "vehicles",
        bucket="learn",
        role=ROLE,
        repository=repository,
        image=f"{repository}@{digest}",
        pictures_bucket="pics",
        review_queue_url="http://q",
    )
    assert found.need("bucket", "role") == ["learn", ROLE]


def test_pixloop_yaml_comes_first(aws: Session) -> None:
    make_stack(aws, "pixloop-vehicles-learning", BucketName="learn", ExecutionRoleArn=ROLE)
    found = find_resources(aws, config("aws.bucket=mine", "aws.image=registry.example/pixloop:3"))
    assert (found.bucket, found.role) == ("mine", ROLE)
    assert found.image == "registry.example/pixloop:3"


def test_all_that_is_missing_is_said_at_once_with_what_to_do(aws: Session) -> None:
    found = find_resources(aws, config("aws.bucket=mine"))
    with pytest.raises(AwsError) as error:
        found.need("bucket", "role", "image", "state_machine_arn")
    assert str(error.value) == (
        "The project vehicles has no role, no image, no state machine on AWS. 'pixloop aws deploy' "
        "makes what it needs. Or: set aws.role; push one with 'pixloop aws image', or set "
        "aws.image."
    )


def test_a_stack_without_outputs_and_no_stack_are_not_the_same(aws: Session) -> None:
    make_stack(aws, "bare")
    assert find_outputs(aws, "bare") == {}
    assert find_outputs(aws, "none") is None


@pytest.mark.parametrize("tag", ["", ":latest", ":v2"])
def test_an_image_is_pinned_by_its_digest(aws: Session, tag: str) -> None:
    address, digest = push(aws, "v2" if tag == ":v2" else "latest")
    assert resolve_image(aws, address + tag) == f"{address}@{digest}"
    pinned = f"{address}@{digest}"
    assert resolve_image(aws, pinned) == pinned


def test_an_image_that_is_not_there(aws: Session) -> None:
    address, _ = push(aws, "v1")
    assert resolve_image(aws, f"{address}:v9") is None
    assert resolve_image(aws, f"{address}-other:v1") is None
    with pytest.raises(AwsError, match=r"aws\.image: ECR has no image .*:v9"):
        find_resources(aws, config(f"aws.image={address}:v9"))
    make_stack(aws, "pixloop-vehicles-learning", RepositoryUri=address)
    assert find_resources(aws, config()).image is None


def test_an_image_that_may_not_be_asked_for_is_taken_as_it_is(
    aws: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Describe")

    monkeypatch.setattr(aws.client("ecr"), "describe_images", refuse)
    address = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/theirs:v1"
    assert resolve_image(aws, address) == address


def test_other_errors_of_the_service_are_not_taken_for_absence(
    aws: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "bad name"}}, "Describe")

    monkeypatch.setattr(aws.client("cloudformation"), "describe_stacks", refuse)
    with pytest.raises(AwsError, match="bad name"):
        find_outputs(aws, "none")
