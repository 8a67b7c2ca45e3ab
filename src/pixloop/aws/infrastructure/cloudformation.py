"""CloudFormation stacks: made, changed, followed event by event, deleted."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import is_absent
from pixloop.aws.resources import find_outputs
from pixloop.aws.session import Session, translated
from pixloop.errors import AwsError

#: A stack so far from its end is asked for again after this time; CloudFormation takes minutes.
_POLL_S = 2.0
#: States of a stack that was never made; what is left of it is removed before the next try.
_NEVER_MADE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")


@dataclass(frozen=True, slots=True)
class StackEvent:
    """What happened to one resource of a stack, or to the stack itself."""

    stack: str
    resource: str  #: the name in the template
    type: str  #: such as AWS::SQS::Queue
    status: str  #: such as CREATE_IN_PROGRESS
    reason: str  #: empty where CloudFormation gives none

    @property
    def failed(self) -> bool:
        """Whether this is a failure, not the end of something that another failure stopped."""
        return self.status.endswith("FAILED") and "cancelled" not in self.reason


OnEvent = Callable[[StackEvent], None]


def deploy_stack(
    session: Session,
    stack: str,
    template_url: str,
    parameters: Mapping[str, str],
    on_event: OnEvent,
) -> dict[str, str]:
    """Make a stack, or change what differs; its outputs. Nothing to change is fine.

    Args:
        session: clients.
        stack: its name.
        template_url: where S3 has the template.
        parameters: values for the template's parameters.
        on_event: told each event as it happens.

    Raises:
        AwsError: it failed (the message has the first resource that did, and why), or something
            else is at work on it.
    """
    status = stack_status(session, stack)
    if status in _NEVER_MADE:
        delete_stack(session, stack, on_event)
        status = None
    elif status and status.endswith("_IN_PROGRESS"):
        raise AwsError(f"The stack {stack} is at work ({status}); wait for its end and try again.")
    # Before the change: its events are told, older ones are not.
    seen = {event["EventId"] for event in _events(session, stack)}
    if _ask_for(session, stack, template_url, parameters, create=status is None):
        _follow(session, stack, seen, on_event)
    return dict(find_outputs(session, stack) or {})


def delete_stack(session: Session, stack: str, on_event: OnEvent) -> None:
    """Delete a stack and wait for its end; resources that it retains stay. None is fine.

    Raises:
        AwsError: it failed; the message has the first resource that did, and why.
    """
    answer = describe_stack(session, stack)
    if answer is None:
        return
    identity = answer["StackId"]  # a deleted stack is found by this alone
    seen = {event["EventId"] for event in _events(session, identity)}
    with translated(f"the stack {stack}"):
        session.client("cloudformation").delete_stack(StackName=identity)
    _follow(session, identity, seen, on_event)


def describe_stack(session: Session, stack: str) -> dict[str, Any] | None:
    """What CloudFormation says of a stack, or None where there is none."""
    with translated(f"the stack {stack}"):
        try:
            stacks = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except ClientError as e:
            if is_absent(e):
                return None
            raise
    return dict(stacks[0])


def stack_status(session: Session, stack: str) -> str | None:
    """A stack's status, such as ``UPDATE_COMPLETE``, or None where there is none."""
    answer = describe_stack(session, stack)
    return None if answer is None else str(answer["StackStatus"])


def stack_parameters(session: Session, stack: str) -> dict[str, str]:
    """The values that a stack's parameters have now; empty where there is no stack yet."""
    answer = describe_stack(session, stack) or {}
    if answer.get("StackStatus") in _NEVER_MADE:
        return {}
    return {each["ParameterKey"]: each["ParameterValue"] for each in answer.get("Parameters", [])}


def _ask_for(
    session: Session, stack: str, template_url: str, parameters: Mapping[str, str], *, create: bool
) -> bool:
    """Ask CloudFormation for the stack as it is to be; False where it is so already."""
    client = session.client("cloudformation")
    with translated(f"the stack {stack}"):
        try:
            (client.create_stack if create else client.update_stack)(
                StackName=stack,
                TemplateURL=template_url,
                Capabilities=["CAPABILITY_NAMED_IAM"],  # roles have names, which must be meant
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value}
                    for key, value in sorted(parameters.items())
                ],
            )
        except ClientError as e:
            if "No updates are to be performed" in str(e):
                return False
            raise
    return True


def _follow(session: Session, stack: str, seen: set[str], on_event: OnEvent) -> None:
    """Tell the events until the stack is at rest.

    Raises:
        AwsError: it came to rest after a failure.
    """
    failure: StackEvent | None = None
    while True:
        # Asked before the events, or the last of them could be missed.
        status = stack_status(session, stack) or "DELETE_COMPLETE"
        fresh = [event for event in _events(session, stack) if event["EventId"] not in seen]
        for raw in reversed(fresh):
            seen.add(raw["EventId"])
            event = StackEvent(
                raw["StackName"],
                raw["LogicalResourceId"],
                raw.get("ResourceType", ""),
                raw["ResourceStatus"],
                raw.get("ResourceStatusReason", ""),
            )
            if event.failed and failure is None:
                failure = event
            on_event(event)
        if not status.endswith("_IN_PROGRESS"):
            break
        time.sleep(_POLL_S)
    if status.endswith("FAILED") or "ROLLBACK" in status:
        name = stack.rpartition(":stack/")[2].partition("/")[0]
        why = f": {failure.resource} ({failure.type}): {failure.reason}" if failure else "."
        raise AwsError(f"The stack {name} ends as {status}{why}")


def _events(session: Session, stack: str) -> Iterator[dict[str, Any]]:
    """The events of a stack, the newest first."""
    pages = session.client("cloudformation").get_paginator("describe_stack_events")
    with translated(f"the stack {stack}"):
        try:
            for page in pages.paginate(StackName=stack):
                yield from page["StackEvents"]
        except ClientError as e:
            if not is_absent(e):
                raise
