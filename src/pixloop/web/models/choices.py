"""What can be done with a version, and what follows from it, said before the click."""

from collections.abc import Sequence
from dataclasses import dataclass

from pixloop.errors import RegistryError
from pixloop.model_versions import ModelVersion, refuse_champion, refuse_promotion
from pixloop.web.cached import stamp
from pixloop.web.endpoint import Endpoint, read_endpoint
from pixloop.web.models import files as models_files
from pixloop.web.site import Site
from pixloop.web.versions import champion_of


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


def stranger(endpoint: Endpoint) -> str:
    """That something else answers in the server's place, and what to do about it."""
    return (
        f"Something else answers on {endpoint.where} ({endpoint.model}): stop it, or set "
        "serving.port."
    )


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
        return Choice("deploy", "Deploy", stranger(endpoint), open=False)
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
