"""Doing what can be done with a version.

A page says what follows before the click, from what is known then; so it sends along the champion
that it knew, and where there is another one now nothing is changed.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, get_args

from pixloop.errors import ConfigError, PipelineError, PixloopError, RegistryError
from pixloop.model_versions import ModelVersion, find_version, refuse_champion
from pixloop.web.endpoint import read_endpoint, start_server
from pixloop.web.models.choices import stranger
from pixloop.web.site import Site
from pixloop.web.versions import champion_of

Action = Literal["approve", "deploy", "promote", "reject"]
ACTIONS: Sequence[str] = get_args(Action)
_LONGEST_REASON = 500
# One change at a time: between looking at the champion and changing it, nobody else may.
_CHANGING = threading.Lock()


def warm(site: Site) -> None:
    """Have MLflow imported by the time somebody has read what they could do; once, in a thread."""

    def begin() -> threading.Thread:
        thread = threading.Thread(target=prepare, daemon=True)
        thread.start()
        return thread

    def prepare() -> None:
        with suppress(PixloopError):
            site.project.registry.prepare()

    site.cached.get("warm registry", None, begin)


def act(site: Site, action: Action, number: str, seen: str, reason: str = "") -> str:
    """Do what a page asked for; asked twice, it is done once.

    Args:
        site: the project's pages.
        action: what.
        number: the version's.
        seen: the champion's number when the page was shown; empty where there was none.
        reason: for rejecting.

    Returns:
        What was done, in words.

    Raises:
        ConfigError: a rejection without a reason.
        RegistryError: the champion is another one now, or the registry refuses.
        PipelineError: a server cannot be started.
    """
    reason = " ".join(reason.split())
    if action == "reject" and not 0 < len(reason) <= _LONGEST_REASON:
        raise ConfigError(f"Say why it is rejected, in up to {_LONGEST_REASON} characters.")
    with _CHANGING:
        registry = site.project.registry
        versions = registry.list()
        version = find_version(versions, number)
        champion = champion_of(versions)
        if action == "reject":
            return _reject(site, version, champion, seen, reason)
        if action == "deploy":
            return _deploy(site, version, champion, seen)
        return _crown(site, version, champion, seen, promote=action == "promote")


def roll_back(site: Site, seen: str) -> str:
    """Make the previous champion the champion again; what was done, in words.

    Raises:
        RegistryError: the champion is another one than ``seen`` now, or none was before it.
    """
    with _CHANGING:
        registry = site.project.registry
        refuse_stale(champion_of(registry.list()), seen)
        back = registry.rollback()
    return f"Version {back.version} is the champion again, in place of {seen}."


def refuse_stale(champion: ModelVersion | None, seen: str) -> None:
    """Let a page act whose facts still hold.

    Raises:
        RegistryError: the champion is another one than the page knew.
    """
    now = champion.version if champion else ""
    if now != seen:
        became = f"version {now} became the champion" if now else "the champion was taken away"
        before = f" in place of {seen}" if seen and now else ""
        raise RegistryError(
            f"While this page was open, {became}{before}. Nothing was changed: look again, then "
            "decide."
        )


def _crown(
    site: Site, version: ModelVersion, champion: ModelVersion | None, seen: str, promote: bool
) -> str:
    if version.champion:
        return f"Version {version.version} is the champion already."
    refuse_stale(champion, seen)
    registry = site.project.registry
    if promote:
        registry.promote(version.version)
    else:
        registry.approve(version.version)
    before = f", in place of {champion.version}" if champion else ""
    return f"Version {version.version} is the champion now{before}."


def _deploy(site: Site, version: ModelVersion, champion: ModelVersion | None, seen: str) -> str:
    endpoint = read_endpoint(site)
    if endpoint.state == "stranger":
        raise PipelineError(stranger(endpoint) + " Nothing was changed.")
    done = _crown(site, version, champion, seen, promote=False)
    if endpoint.answers or endpoint.state == "starting":
        return f"{done} The server on {endpoint.where} follows."
    start_server(site)
    return f"{done} A server on {endpoint.where} is starting."


def _reject(
    site: Site, version: ModelVersion, champion: ModelVersion | None, seen: str, reason: str
) -> str:
    refuse_champion(version)
    if version.status == "rejected" and version.reason == reason:
        return f"Version {version.version} was rejected already."
    refuse_stale(champion, seen)
    site.project.registry.reject(version.version, reason)
    return f"Version {version.version} is rejected: {reason}"
