"""One stack: on moto where it can, else as the service tells it; not tried against the real one."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from pixloop.aws.infrastructure import cloudformation
from pixloop.aws.infrastructure.cloudformation import StackEvent, deploy_stack
from pixloop.aws.session import Session
from pixloop.errors import AwsError

REGION = "eu-west-1"
URL = "https://b.s3.amazonaws.com/t"
STACK_ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/stack/1"
ABSENT = {"service_error_code": "ValidationError", "service_message": "stack does not exist"}


def test_nothing_to_change_is_fine(aws: Session) -> None:
    stack, told = "small", []
    url = _small_template(aws)

    for _ in range(2):
        outputs = deploy_stack(aws, stack, url, {"Name": "queue-1"}, told.append)

    assert outputs == {"Name": "queue-1"}
    assert [event.status for event in told].count("CREATE_COMPLETE") == 1
    assert not any(event.status.startswith("UPDATE") for event in told)


def test_a_failure_names_the_first_resource_and_its_reason(
    stubbed: "_StubbedSession", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudformation, "_POLL_S", 0)
    stub = stubbed.stub
    begun = _event("1", "stack", "CREATE_IN_PROGRESS", "User Initiated")
    failures = [
        _event("4", "Bucket", "CREATE_FAILED", "the name is taken"),
        _event("3", "Pictures", "CREATE_FAILED", "Resource creation cancelled"),
        _event("2", "Bucket", "CREATE_IN_PROGRESS", ""),
        begun,
    ]
    ended = _event("5", "stack", "ROLLBACK_COMPLETE", "")
    stub.add_client_error("describe_stacks", **ABSENT)
    stub.add_client_error("describe_stack_events", **ABSENT)
    stub.add_response("create_stack", {"StackId": "id"})
    stub.add_response("describe_stacks", _stack("CREATE_IN_PROGRESS"))
    stub.add_response("describe_stack_events", {"StackEvents": [begun]})
    stub.add_response("describe_stacks", _stack("ROLLBACK_IN_PROGRESS"))
    stub.add_response("describe_stack_events", {"StackEvents": failures})
    stub.add_response("describe_stacks", _stack("ROLLBACK_COMPLETE"))
    stub.add_response("describe_stack_events", {"StackEvents": [ended, *failures]})
    told: list[StackEvent] = []

    with pytest.raises(AwsError, match=r"ROLLBACK_COMPLETE: Bucket .*: the name is taken"):
        deploy_stack(stubbed, "stack", URL, {}, told.append)  # type: ignore[arg-type]

    assert [f"{e.resource} {e.status}" for e in told] == [
        "stack CREATE_IN_PROGRESS",
        "Bucket CREATE_IN_PROGRESS",
        "Pictures CREATE_FAILED",
        "Bucket CREATE_FAILED",
        "stack ROLLBACK_COMPLETE",
    ]


def test_what_is_left_of_a_stack_that_was_never_made_goes_first(stubbed: "_StubbedSession") -> None:
    stub, gone = stubbed.stub, _event("2", "stack", "DELETE_COMPLETE", "")
    stub.add_response("describe_stacks", _stack("ROLLBACK_COMPLETE"))
    stub.add_response("describe_stacks", _stack("ROLLBACK_COMPLETE"))
    stub.add_response("describe_stack_events", {"StackEvents": []})
    stub.add_response("delete_stack", {}, {"StackName": STACK_ID})
    stub.add_response("describe_stacks", _stack("DELETE_COMPLETE"))
    stub.add_response("describe_stack_events", {"StackEvents": [gone]})
    stub.add_client_error("describe_stack_events", **ABSENT)
    stub.add_response("create_stack", {"StackId": "another"})
    stub.add_response("describe_stacks", _stack("CREATE_COMPLETE"))
    stub.add_response("describe_stack_events", {"StackEvents": []})
    stub.add_response("describe_stacks", _stack("CREATE_COMPLETE"))
    told: list[StackEvent] = []

    deploy_stack(stubbed, "stack", URL, {}, told.append)  # type: ignore[arg-type]

    assert [event.status for event in told] == ["DELETE_COMPLETE"]
    stub.assert_no_pending_responses()


def test_a_stack_at_work_is_left_to_it(stubbed: "_StubbedSession") -> None:
    stubbed.stub.add_response("describe_stacks", _stack("UPDATE_IN_PROGRESS"))
    with pytest.raises(AwsError, match=r"stack is at work \(UPDATE_IN_PROGRESS\); wait"):
        deploy_stack(stubbed, "stack", URL, {}, print)  # type: ignore[arg-type]


@pytest.fixture
def stubbed() -> Iterator["_StubbedSession"]:
    session = _StubbedSession()
    with session.stub:
        yield session


class _StubbedSession:
    """A session whose CloudFormation answers as it is told, its requests held to their shapes."""

    region = REGION

    def __init__(self) -> None:
        self._client = boto3.client(
            "cloudformation", REGION, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self._client)

    def client(self, service: str) -> Any:
        return self._client


def _event(identity: str, resource: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "StackId": "id", "EventId": identity, "StackName": "stack", "LogicalResourceId": resource,
        "ResourceType": "AWS::S3::Bucket", "ResourceStatus": status,
        "ResourceStatusReason": reason, "Timestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def _stack(status: str) -> dict[str, Any]:
    made = "2026-01-01T00:00:00Z"
    return {
        "Stacks": [
            {
                "StackId": STACK_ID,
                "StackName": "stack",
                "StackStatus": status,
                "CreationTime": made,
            }
        ]
    }


def _small_template(session: Session) -> str:
    template = {
        "Parameters": {"Name": {"Type": "String"}},
        "Resources": {
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Name"}}}
        },
        "Outputs": {"Name": {"Value": {"Ref": "Name"}}},
    }
    s3 = session.client("s3")
    s3.create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="templates", Key="small.json", Body=json.dumps(template).encode())
    return f"https://templates.s3.{REGION}.amazonaws.com/small.json"
