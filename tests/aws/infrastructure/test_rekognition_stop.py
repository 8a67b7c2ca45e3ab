"""What destroying does at Rekognition, which moto has not: botocore's stubber answers for it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from pixloop.aws.infrastructure.cloudformation import StackEvent
from pixloop.aws.infrastructure.teardown import destroy_stacks
from pixloop.aws.names import Names
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.errors import AwsError

ARN = "arn:aws:rekognition:eu-west-1:123456789012:project/pixloop-cats"
NAMES = Names("cats")
CONFIG = Config.model_validate(
    {"task": "classification", "name": "cats", "data": {"train": "pictures"}}
)


@pytest.fixture
def rekognition(aws: Session) -> Iterator[Stubber]:
    """What it is not told to answer it refuses."""
    with Stubber(aws.client("rekognition")) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def schedule(aws: Session) -> None:
    aws.client("scheduler").create_schedule(
        Name=NAMES.schedule,
        ScheduleExpression="at(2030-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:scheduler:::aws-sdk:rekognition:stop", "RoleArn": f"{ARN}/role"},
    )


def schedules(aws: Session) -> list[str]:
    return [each["Name"] for each in aws.client("scheduler").list_schedules()["Schedules"]]


def list_versions(stub: Stubber, **statuses: str) -> None:
    found: list[dict[str, Any]] = [
        {
            "ProjectVersionArn": f"{ARN}/version/{name}/1600",
            "Status": status,
            "CreationTimestamp": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for name, status in statuses.items()
    ]
    stub.add_response("describe_projects", {"ProjectDescriptions": [{"ProjectArn": f"{ARN}/1"}]})
    stub.add_response("describe_project_versions", {"ProjectVersionDescriptions": found})


def destroy(aws: Session) -> tuple[list[str], list[str]]:
    told: list[StackEvent] = []
    remains = destroy_stacks(aws, CONFIG, on_event=told.append)
    return remains, [event.resource for event in told]


@pytest.mark.usefixtures("schedule")
def test_destroying_stops_what_runs_at_rekognition(aws: Session, rekognition: Stubber) -> None:
    states = {"old": "STOPPED", "new": "RUNNING"}
    for _ in range(2):
        list_versions(rekognition, **states)
    rekognition.add_response(
        "stop_project_version",
        {"Status": "STOPPING"},
        {"ProjectVersionArn": f"{ARN}/version/new/1600"},
    )
    list_versions(rekognition, old="STOPPED", new="STOPPING")

    remains, told = destroy(aws)

    assert told[-2:] == ["Rekognition version new", "schedule pixloop-cats-stop"]
    assert schedules(aws) == []
    assert "Rekognition project pixloop-cats (none of its versions is left running)" in remains


@pytest.mark.usefixtures("schedule")
def test_what_cannot_be_stopped_keeps_its_schedule_and_the_stack_that_stops_it(
    aws: Session, rekognition: Stubber
) -> None:
    template = '{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}'
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName=NAMES.learning_stack, TemplateBody=template)
    for _ in range(2):
        list_versions(rekognition, new="RUNNING")
    rekognition.add_client_error("stop_project_version", "AccessDeniedException", "no")

    with pytest.raises(AwsError, match="stopping new"):
        destroy(aws)

    assert schedules(aws) == [NAMES.schedule]
    left = cloudformation.describe_stacks()["Stacks"]
    assert [stack["StackName"] for stack in left] == [NAMES.learning_stack]


@pytest.mark.usefixtures("rekognition")
def test_without_a_schedule_rekognition_is_not_asked(aws: Session) -> None:
    remains, _ = destroy(aws)
    assert not any("Rekognition" in line for line in remains)


@pytest.mark.usefixtures("rekognition")
def test_where_schedules_cannot_be_asked_for_what_remains_says_so(aws: Session) -> None:
    with Stubber(aws.client("scheduler")) as scheduler:
        scheduler.add_client_error("get_schedule", "AccessDeniedException", "no")
        remains, _ = destroy(aws)
    assert remains[-1].startswith("what may run at Rekognition: the schedule pixloop-cats-stop")


def test_the_provider_for_github_that_a_stack_leaves_is_told(aws: Session) -> None:
    provider = aws.client("iam").create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com"
    )["OpenIDConnectProviderArn"]
    line = f"OIDC provider {provider} (all projects of the account use it)"
    assert line not in destroy(aws)[0]
    template = (
        '{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}},'
        ' "Outputs": {"GitHubRoleArn": {"Value": "arn"}}}'
    )
    aws.client("cloudformation").create_stack(StackName=NAMES.learning_stack, TemplateBody=template)
    assert line in destroy(aws)[0]
