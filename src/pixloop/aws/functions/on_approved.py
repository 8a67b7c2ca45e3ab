"""A version was approved: deploy it.

Event: EventBridge's "SageMaker Model Package State Change". An endpoint goes on by itself, and
``on_deployed`` sees to the rest; a function is verified here. Environment: ``TARGET``.
"""

import os
from typing import Any

from pixloop.aws import function_clients
from pixloop.aws.deployment.endpoint import WAITING, EndpointBusy, read_endpoint, tag_endpoint
from pixloop.aws.deployment.settle import start, verify_and_settle
from pixloop.aws.deployment.target import Clients, Target, is_approved, read_package


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deploy the version of the event, or let it wait for the endpoint."""
    target = Target.from_json(os.environ["TARGET"])
    return deploy_approved(function_clients, target, event["detail"]["ModelPackageArn"])


def deploy_approved(clients: Clients, target: Target, package_arn: str) -> dict[str, Any]:
    """Deploy a version, if it is approved still: what happened, in a few words."""
    if not is_approved(clients, package_arn):
        return {"package": package_arn, "outcome": "no longer approved"}
    source = read_package(clients, target, package_arn)
    try:
        deployed = start(clients, target, source)
    except EndpointBusy:
        return _wait(clients, target, package_arn)
    if target.to != "function":
        outcome = "deploying" if deployed.changed else "deployed already"
        return {"model": deployed.model, "outcome": outcome}
    settled = verify_and_settle(clients, target, deployed.version)
    assert settled is not None  # noqa: S101 - a function always is
    outcome = "verified" if settled.ok else "rejected"
    return {
        "model": deployed.model,
        "outcome": outcome,
        "differences": list(settled.differences),
        "serves": settled.serves,
    }


def _wait(clients: Clients, target: Target, package_arn: str) -> dict[str, Any]:
    """Note the version on the endpoint: ``on_deployed`` deploys it when the endpoint is ready.

    Raises:
        EndpointBusy: the endpoint became ready, or went, while this was noted, so that
            ``on_deployed`` may have looked too early. Lambda calls again.
    """
    state = read_endpoint(clients, target.name)
    if state is not None:
        tag_endpoint(clients, state, {WAITING: package_arn})
        state = read_endpoint(clients, target.name)
    if state is None or state.status == "InService":
        raise EndpointBusy(f"endpoint {target.name} has just changed; once more.")
    return {"package": package_arn, "outcome": "waiting", "endpoint": state.status}
