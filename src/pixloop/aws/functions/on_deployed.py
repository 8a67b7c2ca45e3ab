"""An endpoint is in service: verify it, and deploy what was approved in the meantime.

Event: EventBridge's "SageMaker Endpoint State Change", of which SageMaker may send several for one
change. An endpoint that was rolled back is in service again, too: it serves what was verified
before, and is found so. Environment: ``TARGET``.
"""

import os
from typing import Any

from pixloop.aws import function_clients
from pixloop.aws.deployment.endpoint import WAITING, read_endpoint, tag_endpoint
from pixloop.aws.deployment.settle import verify_and_settle
from pixloop.aws.deployment.target import Clients, Target
from pixloop.aws.functions.on_approved import deploy_approved


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Settle what the endpoint serves; raises, so that Lambda calls again, where that fails."""
    target = Target.from_json(os.environ["TARGET"])
    before = read_endpoint(function_clients, target.name)
    settled = verify_and_settle(function_clients, target)
    if before is None or settled is None:
        return {"outcome": "not in service any more"}
    waiting = before.tags.get(WAITING, "")
    return {
        "model": settled.model,
        "outcome": "verified" if settled.ok else "rejected",
        "differences": list(settled.differences),
        "serves": settled.serves,
        "next": _deploy_waiting(function_clients, target, waiting) if waiting else None,
    }


def _deploy_waiting(clients: Clients, target: Target, package_arn: str) -> dict[str, Any]:
    """Deploy the version that waits, if the endpoint takes it now; else it goes on waiting."""
    outcome = deploy_approved(clients, target, package_arn)
    state = read_endpoint(clients, target.name)
    waits = outcome["outcome"] == "waiting"
    if state is not None and not waits and state.tags.get(WAITING) == package_arn:
        tag_endpoint(clients, state, {WAITING: ""})
    return outcome
