"""A project's parts, as a watcher wants them."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.config import Config
from pixloop.data.annotations import NO_ANNOTATIONS
from pixloop.errors import MonitoringError, PipelineError, RegistryError
from pixloop.files import sha256_file
from pixloop.model_versions import ModelVersion
from pixloop.pipeline.lock import exclusive
from pixloop.pipeline.triggers import raw_signature
from pixloop.run_summary import EVALUATION, RunSummary
from pixloop.watching.parts import Mark, OpenAlarm, Ran

if TYPE_CHECKING:
    from pixloop.monitoring.monitor import Monitor
    from pixloop.registry import Registry


class ProjectParts:
    """What a project's watcher looks at and starts; see ``parts.Parts``.

    Args:
        config: pixloop.yaml, as it was when the watch began.
        folder: the project's.
        state: the project's ``.pixloop`` folder.
        run: runs the pipeline, for triggers.
        registry: opens the registry.
        champion: gives the champion's version at little cost; None while there is none. Where it
            raises RegistryError, as before there is any version, the registry itself is asked.
        monitor: opens a version's monitor; without one, that of what is served.
        sync: exchanges annotations with Label Studio, where there is one; how many came.
        collect: fills the review queue; how many pictures are asked that were not before.
        annotations: gives the digest of all annotations.
        commit: gives git's HEAD.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        state: Path,
        *,
        run: Callable[[Sequence[str]], RunSummary],
        registry: "Callable[[], Registry]",
        champion: Callable[[], str | None],
        monitor: "Callable[[str | None], Monitor]",
        sync: Callable[[], int],
        collect: Callable[[], int],
        annotations: Callable[[], str],
        commit: Callable[[], str],
    ) -> None:
        self._config, self._folder, self._state = config, folder, state
        self._run, self._registry, self._find_champion = run, registry, champion
        self._open_monitor, self.sync, self.collect = monitor, sync, collect
        self._digest, self._commit = annotations, commit
        self._digested: tuple[object, str] = (None, "")  # how files looked, and their digest then
        self._asked: tuple[object, str | None] = (None, None)  # the registry's look, the answer
        self._monitor: tuple[object, Monitor] | None = None

    # ---- looking

    def mark(self, source: str, since: float) -> Mark:
        """The state of a source."""
        if source == "raw_data":
            return Mark(raw_signature(self._places()))
        if source == "annotations":
            return self._mark_annotations(since)
        if source == "commit":
            return Mark(self._commit())
        return Mark(sha256_file(self._folder / "pixloop.yaml"))

    def look(self) -> Sequence[OpenAlarm]:
        """The open alarms about what is served."""
        if self._registry_stamp() == ():
            return []
        try:
            alarms = self._served_monitor().look().open_alarms
        except RegistryError:
            return []  # there is no version yet, so nothing is served
        return [
            OpenAlarm(
                # Each version counts its own alarms from 0.
                id=f"{_version(alarm.model)}-{alarm.id}",
                kind=alarm.kind,
                version=_version(alarm.model),
                words=alarm.words,
                since=str(alarm.since or ""),
                matters=alarm.matters,
            )
            for alarm in alarms
        ]

    def busy(self) -> str:
        """The process of a run that is at work."""
        try:
            with exclusive(self._state / "run.lock", "{pid}"):
                return ""
        except PipelineError as e:
            return str(e)

    def champion(self) -> str | None:
        """The version that serves. Asked of the registry once, until its file changes."""
        stamp = self._registry_stamp()
        if stamp == ():
            return None
        if stamp is None or stamp != self._asked[0]:
            self._asked = stamp, self._ask_champion()
        return self._asked[1]

    # ---- starting

    def run(self, triggers: Sequence[str]) -> Ran:
        """Run the pipeline."""
        summary = self._run(triggers)
        self._monitor = None  # without a champion, it is the latest version that is served
        version = self._registry().show(summary.version)
        promotable, reason = self._judge(version, Path(summary.report).with_name(EVALUATION))
        work = any(status != "cached" for status in summary.steps.values())
        return Ran(summary.version, promotable, reason, summary.seconds, work)

    def promote(self, version: str) -> None:
        """Make a version the champion, unless it is."""
        registry = self._registry()
        if not registry.show(version).champion:
            registry.approve(version)

    def roll_back(self, version: str, reason: str) -> str | None:
        """Make the champion before a version the champion again, and reject the version."""
        registry = self._registry()
        if registry.show(version).champion:  # raises here where the registry cannot be asked
            try:
                registry.rollback()
            except RegistryError:
                return None
        if registry.show(version).status != "rejected":
            registry.reject(version, reason)
        return registry.show("champion").version

    def take_as_normal(self, version: str, since: str) -> bool:
        """Take the pictures since a time as a version's reference, if there are enough."""
        monitor = self._served_monitor()
        try:
            monitor.take_as_normal(datetime.fromisoformat(since) if since else None)
        except MonitoringError:
            return False
        return True

    # ---- inside

    def _mark_annotations(self, since: float) -> Mark:
        """By content; counted by time: each annotation is a file, written anew if it changes."""
        number = 0
        looks: list[tuple[str, int]] = []
        with suppress(FileNotFoundError), os.scandir(self._state / "annotations") as entries:
            for entry in entries:
                if not entry.name.endswith(".json") or entry.name == NO_ANNOTATIONS:
                    continue
                if not entry.name.startswith("."):  # one that is being written
                    stat = entry.stat()
                    number += stat.st_mtime > since
                    looks.append((entry.name, stat.st_mtime_ns))
        if not looks:
            return Mark("")
        look = hash(frozenset(looks))
        if self._digested[0] != look:
            self._digested = look, self._digest()
        return Mark(self._digested[1], number)

    def _registry_stamp(self) -> tuple[int, ...] | None:
        """How the registry's file looks; empty before there is one, None where it is no file."""
        if self._config.registry.url:
            return None
        try:
            stat = (self._state / "registry" / "registry.db").stat()
        except FileNotFoundError:
            return ()
        return stat.st_mtime_ns, stat.st_size

    def _ask_champion(self) -> str | None:
        try:
            return self._find_champion()
        except RegistryError:
            versions = self._registry().list()  # raises where it cannot be asked
            return next((each.version for each in versions if each.champion), None)

    def _places(self) -> list[str | Path]:
        sources = [self._config.data.train, self._config.data.test]
        return [
            source if "://" in source else (self._folder / Path(source).expanduser()).resolve()
            for source in sources
            if source
        ]

    def _served_monitor(self) -> "Monitor":
        champion = self.champion()
        if self._monitor is None or self._monitor[0] != champion:
            self._monitor = champion, self._open_monitor(champion)
        return self._monitor[1]

    def _judge(self, version: ModelVersion, evaluation: Path) -> tuple[bool, str]:
        """Whether a version may become the champion without a person, and why."""
        if version.champion:
            return False, "It is the champion."
        if version.status != "pending":
            # What a person, or an alarm, has taken back does not come again by itself.
            return False, f"It was {version.status} before."
        if self.champion() is None:
            return True, "It meets the gate, and there is no champion."
        found = json.loads(evaluation.read_text(encoding="utf-8"))["pixloop"].get("promotion")
        if not isinstance(found, dict):
            return False, "The evaluation does not compare it with the champion."
        return found.get("promote") is True, str(found.get("reason", ""))


def _version(model: str) -> str:
    """The version in what answers call the model.

    >>> _version("vehicles:3"), _version("3")
    ('3', '3')
    """
    return model.rpartition(":")[2]
