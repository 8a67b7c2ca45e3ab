"""Deploying a model version, and settling whether it stays: the same for all kinds of target.

``deploy`` brings a version up. ``verify_and_settle`` asks it about the pictures of its certificate:
where all answers are right it is the champion from then on; where one is not, what served before
serves again and the version is rejected with the reason. Each step may be done twice, by whom it
may be: a command, a function that is called again, two functions at once.

Only the standard library and botocore are used, so that a Lambda function can carry this module.
Errors of botocore are raised as they are.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from pixloop.aws.answering.asking import (
    LIVE,
    NotAnswered,
    PictureRefused,
    ask_endpoint,
    ask_function,
)
from pixloop.aws.deployment.async_asking import ask_async
from pixloop.aws.deployment.champion import crown, open_archive
from pixloop.aws.deployment.endpoint import (
    POLL_S,
    PREVIOUS,
    VERIFIED,
    WANTED,
    EndpointBusy,
    EndpointState,
    read_endpoint,
    read_source,
    remove_old_configs,
    restore,
    start_endpoint,
    tag_endpoint,
    wait_for_endpoint,
)
from pixloop.aws.deployment.function import (
    go_back,
    go_live,
    publish,
    read_function_source,
    read_live,
)
from pixloop.aws.deployment.scaling import scale
from pixloop.aws.deployment.target import Clients, Deployed, ModelSource, Settled, Target, reject
from pixloop.certificate import Certificate, read_certificate
from pixloop.comparison import find_differences
from pixloop.errors import AwsError, BundleError

Progress = Callable[[str], None]
#: Between tries to get an answer; a version that gives none in that time is not kept.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)


def start(clients: Clients, target: Target, source: ModelSource) -> Deployed:
    """Begin a deployment; an endpoint goes on with it by itself.

    Raises:
        EndpointBusy: the endpoint is being changed to something else.
    """
    if target.to == "function":
        return publish(clients, target, source)
    return start_endpoint(clients, target, source)


def deploy(
    clients: Clients,
    target: Target,
    source: ModelSource,
    on_progress: Progress,
    poll_s: float = POLL_S,
) -> Deployed:
    """Deploy a version and wait until it answers. It is not verified yet.

    Args:
        clients: of AWS.
        target: where to.
        source: what; ``target.read_package`` finds it in the registry.
        on_progress: gets a line for each thing that happens.
        poll_s: between looks at the endpoint.

    Returns:
        What was done; ``changed`` is False where the target is so already.

    Raises:
        AwsError: the deployment failed, was undone, or took too long.
    """
    on_progress(f"deploying {source.name} to {target.to} {target.name}")
    deployed = start(clients, target, source)
    if target.to != "function":
        wait_for_endpoint(clients, target, deployed.version, on_progress, poll_s)
    return deployed


def verify_and_settle(
    clients: Clients, target: Target, version: str | None = None
) -> Settled | None:
    """Hold what is deployed against its certificate, and keep it or undo it.

    Args:
        clients: of AWS.
        target: what was deployed to.
        version: of a function: the published version; by default the one that serves.

    Returns:
        What became of it; None where the endpoint is not in service, or changed while it was
        asked, so that there is nothing to say yet.
    """
    if target.to == "function":
        return _settle_function(clients, target, version or LIVE)
    return _settle_endpoint(clients, target)


def roll_back(
    clients: Clients,
    target: Target,
    reason: str,
    on_progress: Progress,
    poll_s: float = POLL_S,
) -> str:
    """Go back to the version that served before, and reject the one that serves now.

    Args:
        clients: of AWS.
        target: what to roll back.
        reason: why; the registry keeps it.
        on_progress: gets a line for each thing that happens.
        poll_s: between looks at the endpoint.

    Returns:
        The name of the model that serves then.

    Raises:
        AwsError: nothing is deployed, there is no version before, or the endpoint is busy.
    """
    if target.to == "function":
        left = read_function_source(clients, target.name)
        go_back(clients, target)
        reject(clients, left.package_arn, reason)
        back = read_function_source(clients, target.name)
    else:
        state = read_endpoint(clients, target.name)
        if state is None or state.status != "InService":
            raise EndpointBusy(f"endpoint {target.name} is not in service; nothing to roll back.")
        verified = state.tags.get(VERIFIED)
        before = state.tags.get(PREVIOUS) if state.config == verified else verified
        if not before:
            raise AwsError(f"endpoint {target.name} has no earlier version to go back to.")
        left, back = read_source(clients, state.config), read_source(clients, before)
        # First, so that nobody deploys it again meanwhile.
        reject(clients, left.package_arn, reason)
        # Before the endpoint is sent back: after a kill in between, the next try would otherwise
        # take the version that was left for the one to go back to.
        tag_endpoint(clients, state, {VERIFIED: before, PREVIOUS: ""})
        restore(clients, target, state, before)
        wait_for_endpoint(clients, target, before, on_progress, poll_s)
        remove_old_configs(clients, target, {before})
    crown(clients, target, back)
    on_progress(f"{target.name} serves {back.name} again, no longer {left.name}")
    return back.name


def ask_target(
    clients: Clients, target: Target, qualifier: str = LIVE
) -> Callable[[bytes], dict[str, Any]]:
    """How to ask what is deployed about a picture."""
    if target.to == "function":
        return partial(ask_function, clients.client("lambda"), f"{target.name}:{qualifier}")
    if target.to == "async":
        return partial(ask_async, clients, target)
    client = clients.client("sagemaker-runtime")
    return partial(ask_endpoint, client, target.name)


def _settle_endpoint(clients: Clients, target: Target) -> Settled | None:
    state = read_endpoint(clients, target.name)
    if state is None or state.status != "InService":
        return None
    verified = state.tags.get(VERIFIED, "")
    _reject_undone(clients, target, state)
    source = read_source(clients, state.config)
    certificate, differences = _verify(clients, source, ask_target(clients, target))
    now = read_endpoint(clients, target.name)
    if now is None or (now.status, now.config) != (state.status, state.config):
        return None  # some answers may be another version's, and its configuration must stay
    if not differences:
        crown(clients, target, source)
        if state.config != verified:
            tag_endpoint(clients, state, {VERIFIED: state.config, PREVIOUS: verified})
        scale(clients, target, certificate.latency_ms if certificate else None)
        before = verified if state.config != verified else state.tags.get(PREVIOUS, "")
        remove_old_configs(clients, target, {state.config, before})
        return Settled(target.name, source.name, (), source.name)
    if state.config == verified:
        # It was right once, so the version is not at fault, and nothing before it is known better.
        raise AwsError(
            f"endpoint {target.name} answered as certified once and does not now: "
            f"{' '.join(differences)}"
        )
    reject(clients, source.package_arn, _rejection(target, differences))
    if not verified:
        clients.client("sagemaker").delete_endpoint(EndpointName=target.name)
        return Settled(target.name, source.name, tuple(differences), None)
    with suppress(EndpointBusy):  # somebody else found the same
        restore(clients, target, state, verified)
    serves = read_source(clients, verified).name
    return Settled(target.name, source.name, tuple(differences), serves)


def _reject_undone(clients: Clients, target: Target, state: EndpointState) -> None:
    """An update that SageMaker undid, as an alarm or a failed start makes it do."""
    wanted = state.tags.get(WANTED, "")
    if wanted in ("", state.config, state.tags.get(VERIFIED, "")):
        return
    why = state.failure or "an alarm, or a container that does not start; its log says more"
    reason = f"SageMaker undid the update of endpoint {target.name}: {why}"
    reject(clients, read_source(clients, wanted).package_arn, reason)
    tag_endpoint(clients, state, {WANTED: state.config})


def _settle_function(clients: Clients, target: Target, version: str) -> Settled:
    source = read_function_source(clients, target.name, version)
    live = read_live(clients, target.name)
    _, differences = _verify(clients, source, ask_target(clients, target, version))
    if not differences:
        if version != LIVE:
            go_live(clients, target, version)
        crown(clients, target, source)
        return Settled(target.name, source.name, (), source.name)
    if live is not None and version in (LIVE, live.version):
        raise AwsError(
            f"function {target.name} answered as certified once and does not now: "
            f"{' '.join(differences)}"
        )
    reject(clients, source.package_arn, _rejection(target, differences))
    serves = read_function_source(clients, target.name).name if live else None
    return Settled(target.name, source.name, tuple(differences), serves)


def _verify(
    clients: Clients, source: ModelSource, ask: Callable[[bytes], dict[str, Any]]
) -> tuple[Certificate | None, list[str]]:
    """What differs. A version without a certificate cannot be verified, and so is not."""
    try:
        certificate = read_certificate(open_archive(clients, source))
    except BundleError as e:
        return None, [str(e)]
    try:
        return certificate, find_differences(_patiently(ask), certificate, source.name)
    except (NotAnswered, PictureRefused) as e:
        return certificate, [f"a picture of the certificate got no answer: {e}."]


def _patiently(ask: Callable[[bytes], dict[str, Any]]) -> Callable[[bytes], dict[str, Any]]:
    """The same, but a server that has no time now is asked again."""

    def ask_again(picture: bytes) -> dict[str, Any]:
        for pause_s in PAUSES_S:
            try:
                return ask(picture)
            except NotAnswered:
                time.sleep(pause_s)
        return ask(picture)

    return ask_again


def _rejection(target: Target, differences: list[str]) -> str:
    return (
        f"Deployed to {target.name}, it does not answer as its certificate says: "
        f"{' '.join(differences)}"
    )
