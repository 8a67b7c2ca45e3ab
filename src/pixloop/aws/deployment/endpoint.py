"""SageMaker endpoints: create, update, watch, undo.

What an endpoint has been through is noted in its tags, so that functions which know nothing of one
another agree: the configuration that was verified last (``VERIFIED``), the one before it
(``PREVIOUS``), the one that an update wants (``WANTED``), and a version that was approved while an
update was under way (``WAITING``). An empty tag stands for none.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pixloop.aws.absence import find
from pixloop.aws.deployment.endpoint_requests import (
    config_request,
    model_request,
    restore_request,
    update_request,
)
from pixloop.aws.deployment.target import (
    MODEL_NAME,
    MODEL_PACKAGE,
    Clients,
    Deployed,
    ModelSource,
    Target,
)
from pixloop.errors import AwsError

VERIFIED, PREVIOUS = "pixloop:verified", "pixloop:previous"
WANTED, WAITING = "pixloop:wanted", "pixloop:waiting"
_BROKEN = ("Failed", "OutOfService", "UpdateRollbackFailed")
_BUSY = "endpoint {} is {}; it takes another version when it is InService again."
#: Between looks at an endpoint.
POLL_S = 15.0
#: A rollout may take an hour (see ``endpoint_requests``), and starts and ends besides.
_MOST_WAIT_S = 5400.0


class EndpointBusy(AwsError):
    """The endpoint is being created, updated or deleted, and takes no other wish now."""


@dataclass(frozen=True)
class EndpointState:
    """An endpoint as it is now."""

    arn: str
    status: str  #: SageMaker's: ``InService``, ``Updating``, …
    config: str  #: the configuration that serves
    failure: str  #: why the last creation or update failed, if it did
    tags: dict[str, str]


def read_endpoint(clients: Clients, name: str) -> EndpointState | None:
    """The endpoint of a name, or None where there is none."""
    sagemaker = clients.client("sagemaker")
    found = find(sagemaker.describe_endpoint, EndpointName=name)
    if found is None:
        return None
    tags = sagemaker.list_tags(ResourceArn=found["EndpointArn"])["Tags"]
    return EndpointState(
        arn=found["EndpointArn"],
        status=found["EndpointStatus"],
        config=found["EndpointConfigName"],
        failure=found.get("FailureReason", ""),
        tags={tag["Key"]: tag["Value"] for tag in tags},
    )


def read_source(clients: Clients, config_name: str) -> ModelSource:
    """The model that an endpoint configuration serves."""
    sagemaker = clients.client("sagemaker")
    model = sagemaker.describe_model(ModelName=_model_of(clients, config_name))
    container = model["PrimaryContainer"]
    environment = container.get("Environment", {})
    return ModelSource(
        name=environment.get(MODEL_NAME, ""),
        image=container["Image"],
        data_url=container["ModelDataUrl"],
        package_arn=environment.get(MODEL_PACKAGE, ""),
    )


def start_endpoint(clients: Clients, target: Target, source: ModelSource) -> Deployed:
    """Create or update an endpoint; SageMaker goes on with it by itself.

    Raises:
        EndpointBusy: it is being changed to something else.
    """
    sagemaker = clients.client("sagemaker")
    config = make_config(clients, target, source)
    state = read_endpoint(clients, target.name)
    if state is not None and state.status in ("Failed", "Deleting"):
        if state.status == "Failed":  # deleting is all that SageMaker still does with it
            sagemaker.delete_endpoint(EndpointName=target.name)
        _wait_until_gone(clients, target.name)
        state = None
    if state is None:
        wanted = [{"Key": WANTED, "Value": config}]
        project = [{"Key": "pixloop:project", "Value": target.project}]
        sagemaker.create_endpoint(
            EndpointName=target.name, EndpointConfigName=config, Tags=[*project, *wanted]
        )
        return Deployed(target.name, source.name, config, changed=True)
    if state.status != "InService":
        if state.tags.get(WANTED) == config:
            return Deployed(target.name, source.name, config, changed=False)
        raise EndpointBusy(_BUSY.format(target.name, state.status))
    if state.config == config:
        return Deployed(target.name, source.name, config, changed=False)
    _update(clients, update_request(target, config, _existing_alarms(clients, target)))
    tag_endpoint(clients, state, {WANTED: config})
    return Deployed(target.name, source.name, config, changed=True)


def make_config(clients: Clients, target: Target, source: ModelSource) -> str:
    """The name of the endpoint configuration for a model; both are made where they are missing."""
    sagemaker = clients.client("sagemaker")
    config = config_request(target, make_model(clients, target, source))
    name: str = config["EndpointConfigName"]
    if find(sagemaker.describe_endpoint_config, EndpointConfigName=name) is None:
        sagemaker.create_endpoint_config(**config)
    return name


def make_model(clients: Clients, target: Target, source: ModelSource) -> str:
    """The name of SageMaker's model for an archive and its image, made where it is missing."""
    sagemaker = clients.client("sagemaker")
    model = model_request(target, source)
    name: str = model["ModelName"]
    if find(sagemaker.describe_model, ModelName=name) is None:
        sagemaker.create_model(**model)
    return name


def tag_endpoint(clients: Clients, state: EndpointState, tags: dict[str, str]) -> None:
    """Note something on an endpoint."""
    new = [{"Key": k, "Value": v} for k, v in tags.items() if state.tags.get(k, "") != v]
    if new:
        clients.client("sagemaker").add_tags(ResourceArn=state.arn, Tags=new)


def wait_for_endpoint(
    clients: Clients,
    target: Target,
    config: str,
    on_progress: Callable[[str], None],
    poll_s: float = POLL_S,
    timeout_s: float = _MOST_WAIT_S,
) -> None:
    """Wait until an endpoint serves a configuration; ``on_progress`` gets each new status.

    Raises:
        AwsError: it does not come to that; the message has SageMaker's reason.
    """
    deadline, last = time.monotonic() + timeout_s, ""
    while True:
        state = read_endpoint(clients, target.name)
        status = state.status if state else "deleted"
        if status != last:
            on_progress(f"endpoint {target.name}: {status}")
            last = status
        if state is None or status in _BROKEN:
            reason = state.failure if state else "somebody deleted it"
            raise AwsError(f"endpoint {target.name} is {status}: {reason}")
        if status == "InService":
            if state.config == config:
                return
            raise AwsError(
                f"SageMaker undid the update of endpoint {target.name}: "
                f"{state.failure or 'its log and the alarms say why'}. What served before serves."
            )
        if time.monotonic() > deadline:
            raise AwsError(
                f"endpoint {target.name} is {status} after {timeout_s / 60:.0f} minutes. It may "
                "still come to an end: 'pixloop status --on sagemaker' tells."
            )
        time.sleep(poll_s)


def restore(clients: Clients, target: Target, state: EndpointState, config: str) -> None:
    """Send an endpoint back to a configuration, all at once: what it serves now is wrong.

    Raises:
        EndpointBusy: somebody else is changing it.
    """
    tag_endpoint(clients, state, {WANTED: config})
    _update(clients, restore_request(target, config))


def remove_old_configs(clients: Clients, target: Target, keep: set[str]) -> None:
    """Delete configurations and models that this endpoint has had, but those in ``keep``."""
    sagemaker = clients.client("sagemaker")
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(
        NameContains=f"{target.name}-"
    )
    names = [c["EndpointConfigName"] for page in pages for c in page["EndpointConfigs"]]
    ours = [name for name in names if _is_ours(target, name)]
    models = {name: _model_of(clients, name) for name in ours}
    kept_models = {models[name] for name in ours if name in keep}
    for name in ours:
        if name not in keep:
            sagemaker.delete_endpoint_config(EndpointConfigName=name)
    for model in {models[name] for name in ours if name not in keep} - kept_models:
        if find(sagemaker.describe_model, ModelName=model) is not None:
            sagemaker.delete_model(ModelName=model)


def _update(clients: Clients, request: dict[str, Any]) -> None:
    try:
        clients.client("sagemaker").update_endpoint(**request)
    except ClientError as e:
        state = read_endpoint(clients, request["EndpointName"])
        if state is not None and state.status != "InService":  # somebody was faster
            raise EndpointBusy(_BUSY.format(request["EndpointName"], state.status)) from e
        raise


def _is_ours(target: Target, name: str) -> bool:
    """Whether a name is the endpoint's with a hash, and not another endpoint's, longer name."""
    mark = name.removeprefix(f"{target.name}-")
    return len(mark) == 12 and mark != name and all(c in "0123456789abcdef" for c in mark)


def _model_of(clients: Clients, config_name: str) -> str:
    config = clients.client("sagemaker").describe_endpoint_config(EndpointConfigName=config_name)
    return str(config["ProductionVariants"][0]["ModelName"])


def _existing_alarms(clients: Clients, target: Target) -> list[str]:
    """SageMaker refuses an update that names an alarm which does not exist."""
    if not target.alarms:
        return []
    found = clients.client("cloudwatch").describe_alarms(AlarmNames=list(target.alarms))
    existing = {alarm["AlarmName"] for alarm in found["MetricAlarms"]}
    return [name for name in target.alarms if name in existing]


def _wait_until_gone(clients: Clients, name: str) -> None:
    deadline = time.monotonic() + 300
    while read_endpoint(clients, name) is not None:
        if time.monotonic() > deadline:
            raise EndpointBusy(f"endpoint {name} is still being deleted. Try again later.")
        time.sleep(5)
