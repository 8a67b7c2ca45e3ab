"""What can be done with a version, what follows from it, and doing it.

A page says what follows before the click, from what is known then; so it sends along the champion
that it knew, and where there is another one now nothing is changed.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from pixloop.errors import ConfigError, PipelineError, PixloopError, RegistryError
from pixloop.model_versions import ModelVersion, find_version, refuse_champion, refuse_promotion
from pixloop.web.cached import stamp
from pixloop.web.endpoint import Endpoint, read_endpoint, start_server
from pixloop.web.models import files as models_files
from pixloop.web.site import Site
from pixloop.web.versions import champion_of

Action = Literal["approve", "deploy", "promote", "reject"]
ACTIONS: Sequence[str] = get_args(Action)
_LONGEST_REASON = 500
# One change at a time: between looking at the champion and changing it, nobody else may.
_CHANGING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that can be done, or cannot.

    Attributes:
        action: what.
        label: of its button.
        words: what follows from it; where it cannot be done, why.
        open: whether it can be done.
    """

    action: str
    label: str
    words: str
    open: bool = True


def choices(site: Site, version: ModelVersion) -> Sequence[Choice]:
    """What can be done with a version.

    Raises:
        RegistryError: the registry cannot be reached.
    """
    champion, endpoint = champion_of(site.versions()), read_endpoint(site)
    return [
        _approval(version, champion, endpoint),
        _deployment(version, champion, endpoint),
        _promotion(site, version, champion, endpoint),
        _rejection(version, champion),
    ]


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


def rollback_choice(site: Site) -> Choice | None:
    """What going back to the champion before would do; None without a champion.

    It may take seconds the first time: only MLflow knows the champions of the past.

    Raises:
        RegistryError: the registry cannot be reached.
    """
    versions = site.versions()
    champion = champion_of(versions)
    if champion is None:
        return None
    label = "Roll back"
    # Whoever was champion was approved, so mostly MLflow need not be asked.
    if not any(each.status == "approved" and not each.champion for each in versions):
        words = f"There was no champion before version {champion.version} to go back to."
        return Choice("rollback", label, words, open=False)
    try:
        file = site.project.registry_file
        seen = (stamp(file) if file else None, tuple(versions))
        previous = site.cached.get("previous", seen, site.project.registry.previous)
    except RegistryError as e:
        return Choice("rollback", label, str(e), open=False)
    words = (
        f"Version {previous.version} becomes the champion again, in place of {champion.version}"
        + _taken_over(read_endpoint(site), previous.version)
        + f" Version {champion.version} stays approved; reject it where it is at fault."
    )
    return Choice("rollback", label, words)


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


# ---- doing it


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
        raise PipelineError(_stranger(endpoint) + " Nothing was changed.")
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


# ---- saying what follows


def _approval(version: ModelVersion, champion: ModelVersion | None, endpoint: Endpoint) -> Choice:
    if version.champion:
        return Choice("approve", "Approve", "It is the champion already.", open=False)
    rejected = f" It was rejected: {version.reason or 'without a reason'}." * (
        version.status == "rejected"
    )
    words = _becomes_champion(version, champion) + _taken_over(endpoint, version.version) + rejected
    return Choice("approve", "Approve", words)


def _deployment(version: ModelVersion, champion: ModelVersion | None, endpoint: Endpoint) -> Choice:
    if endpoint.state == "stranger":
        return Choice("deploy", "Deploy", _stranger(endpoint), open=False)
    if endpoint.answers or endpoint.state == "starting":
        served = endpoint.version == version.version
        words = (
            f"The server on {endpoint.where} serves it already."
            if served
            else f"A server on {endpoint.where} follows the champion: to approve is to deploy."
            if endpoint.follow_s
            else "The server was told not to follow (serving.follow_s is 0): stop it first."
        )
        return Choice("deploy", "Deploy", words, open=False)
    first = "" if version.champion else f"{_becomes_champion(version, champion)}, and a"
    words = (
        f"{first or 'A'} server starts on {endpoint.where}, on this machine. It follows the "
        "champion and goes on when these pages end."
    )
    return Choice("deploy", "Deploy", words)


def _promotion(
    site: Site, version: ModelVersion, champion: ModelVersion | None, endpoint: Endpoint
) -> Choice:
    label = "Promote"
    if version.champion:
        return Choice("promote", label, "It is the champion already.", open=False)
    evaluation = models_files.read(site, version)
    if evaluation is None:
        return Choice("promote", label, "Its evaluation is not there any more.", open=False)
    try:
        refuse_promotion(version, champion, evaluation)
    except RegistryError as e:
        return Choice("promote", label, str(e), open=False)
    shown = (evaluation.get("promotion") or {}).get("reason", "")
    words = f"Approves it because its evaluation says so: {shown}. "
    words += _becomes_champion(version, champion) + _taken_over(endpoint, version.version)
    return Choice("promote", label, words)


def _rejection(version: ModelVersion, champion: ModelVersion | None) -> Choice:
    try:
        refuse_champion(version)
    except RegistryError as e:
        return Choice("reject", "Reject", str(e), open=False)
    stays = f"the champion stays version {champion.version}" if champion else "there is no champion"
    words = (
        f"It is not promoted any more, and not served unless somebody names it; {stays}. "
        "The reason is kept with it. Approving takes it back."
    )
    return Choice("reject", "Reject", words)


def _becomes_champion(version: ModelVersion, champion: ModelVersion | None) -> str:
    place = f" in place of {champion.version}" if champion else ", the first one"
    return f"Version {version.version} becomes the champion{place}"


def _taken_over(endpoint: Endpoint, version: str) -> str:
    """What the server does about a new champion, as the end of a sentence."""
    if endpoint.state == "silent":
        return f". {endpoint.silence}"
    if endpoint.state == "stranger":
        return f". No server of this project answers on {endpoint.where} now."
    if endpoint.version == version:
        return f"; the server on {endpoint.where} serves it already."
    if not endpoint.follow_s:
        return (
            f". The server on {endpoint.where} stays with version {endpoint.version} until it is "
            "started anew: serving.follow_s is 0."
        )
    within = f"{endpoint.follow_s:g} s"
    return (
        f"; the server on {endpoint.where} takes it over within {within}, after it is held against "
        "its certificate."
    )


def _stranger(endpoint: Endpoint) -> str:
    return (
        f"Something else answers on {endpoint.where} ({endpoint.model}): stop it, or set "
        "serving.port."
    )
