"""The room of versions: the champion, and the version that may take its place."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixloop.challenger_version import choose_challenger
from pixloop.errors import PixloopError
from pixloop.model_versions import EVALUATION, ModelVersion
from pixloop.watching.events import Event
from pixloop.web.cached import stamp
from pixloop.web.site import Site
from pixloop.web.versions import champion_of, local_place, preferred


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A version, in short.

    Attributes:
        version: its number.
        value: of the metric that the gate looks at; None where it has none.
        at: when it was registered, or became the champion where that is known; ISO 8601, UTC.
    """

    version: str
    value: float | None
    at: str


@dataclass(frozen=True, slots=True)
class VersionsState:
    """The versions.

    Attributes:
        known: whether the registry was asked; else only what follows from files is known.
        count: of all.
        metric: that ``value`` is of.
        champion: the one to serve.
        candidate: the newest one, where a person may decide about it.
        better: whether its evaluation says that it may be the champion; None: it does not say.
        reason: why, or why not.
        problem: why the registry cannot be asked.
    """

    known: bool = True
    count: int = 0
    metric: str = ""
    champion: VersionFacts | None = None
    candidate: VersionFacts | None = None
    better: bool | None = None
    reason: str = ""
    problem: str = ""

    @property
    def served(self) -> str:
        """The version that a server without a fixed one serves; empty without any."""
        chosen = self.champion or self.candidate
        return chosen.version if chosen else ""


def read_versions(site: Site, events: Sequence[Event], patient: bool) -> VersionsState:
    """What is registered.

    Args:
        site: the project's.
        events: of the watch, the oldest first: they know when a champion became one.
        patient: wait for the registry, where it must be asked; that takes seconds.

    Raises:
        ConfigError: pixloop.yaml is wrong.
    """
    metric = site.project.config.gate.metric
    try:
        versions = site.versions() if patient else site.versions_at_hand()
    except PixloopError as e:
        return VersionsState(metric=metric, problem=str(e))
    if versions is None:
        return VersionsState(known=False, metric=metric)
    champion = champion_of(versions)
    candidate = _candidate(versions, champion)
    better, reason = (None, "") if candidate is None else _judged(site, candidate)
    return VersionsState(
        count=len(versions),
        metric=metric,
        champion=_facts(champion, metric, _crowned(champion, events)) if champion else None,
        candidate=_facts(candidate, metric, candidate.created) if candidate else None,
        better=better,
        reason=reason,
    )


def _candidate(
    versions: Sequence[ModelVersion], champion: ModelVersion | None
) -> ModelVersion | None:
    if champion is None:
        return preferred(versions)
    found = choose_challenger(versions)
    return found if found is not None and found.status == "pending" else None


def _facts(version: ModelVersion, metric: str, at: str) -> VersionFacts:
    return VersionFacts(version.version, version.metrics.get(metric), at)


def _crowned(champion: ModelVersion, events: Sequence[Event]) -> str:
    """When the watch made it the champion, else when it was registered."""
    times = [
        event.time
        for event in events
        if event.started == "promotion"
        and event.outcome == "done"
        and event.version == champion.version
    ]
    return champion.champion_since or (times[-1] if times else champion.created)


def _judged(site: Site, version: ModelVersion) -> tuple[bool | None, str]:
    """What a version's evaluation says of it beside the champion."""
    folder = local_place(version.report)
    if folder is None:
        return None, ""
    file = folder / EVALUATION
    return site.cached.get(
        ("loop judged", version.version), (file, stamp(file)), lambda: _read_promotion(file)
    )


def _read_promotion(file: Path) -> tuple[bool | None, str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["pixloop"]["promotion"]
        return bool(found["promote"]), str(found.get("reason", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, ""
