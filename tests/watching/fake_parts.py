"""A project of numbers: what a watcher looks at and starts, without models, pictures or people."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pixloop.config_loop import TriggersConfig
from pixloop.errors import PixloopError
from pixloop.watching.events import Event, read_events
from pixloop.watching.parts import Mark, OpenAlarm, Ran
from pixloop.watching.watcher import Watcher


class Killed(BaseException):
    """Stands for kill -9: nothing that handles errors handles it."""


class Parts:
    """What is outside the watcher, and so outlives it.

    A version is made of the data that a run reads; the same data give the same version.
    """

    def __init__(self) -> None:
        self.raw, self.notes, self.head, self.settings = "pictures-1", 0, "", "settings"
        self.noted_at: list[float] = []
        self.alarms: list[OpenAlarm] = []
        self.versions: list[str] = []  # by number, what each was made of
        self.runs: list[str] = []  # what each run read
        self.asked_for: list[tuple[str, ...]] = []  # the triggers that each run is for
        self.champions: list[str] = []
        self.rejected: list[str] = []
        self.calls: list[str] = []
        self.normal: list[str] = []
        self.enough = True  # pictures for a new normal
        self.good: Callable[[str], bool] = lambda version: True
        self.during_run: Callable[[], None] = lambda: None
        self.fails: dict[str, BaseException] = {}
        self.at_work = ""
        self.inbox = 0  # annotations at Label Studio
        self.now = 1000.0
        self.check: Callable[[str], None] = lambda where: None  # where a kill may come

    def annotate(self, number: int) -> None:
        self.notes += number
        self.noted_at += [self.now] * number

    def mark(self, source: str, since: float) -> Mark:
        self._enter(f"mark {source}")
        if source == "annotations":
            digest = f"notes-{self.notes}" if self.notes else ""
            return Mark(digest, sum(at > since for at in self.noted_at))
        return Mark({"raw_data": self.raw, "commit": self.head, "settings": self.settings}[source])

    def look(self) -> list[OpenAlarm]:
        self._enter("look")
        return list(self.alarms)

    def sync(self) -> int:
        self._enter("sync")
        came, self.inbox = self.inbox, 0
        self.annotate(came)
        return came

    def collect(self) -> int:
        self._enter("collect")
        return 5

    def busy(self) -> str:
        return self.at_work

    def run(self, triggers: Sequence[str]) -> Ran:
        self._enter("run")
        data = f"{self.raw} {self.notes} {self.head}"
        self.during_run()
        self.check("in the run")
        if data not in self.versions:
            self.versions.append(data)
        self.runs.append(data)
        self.asked_for.append(tuple(triggers))
        self.check("after the run")
        version = str(self.versions.index(data) + 1)
        pending = version not in self.champions and version not in self.rejected
        return Ran(version, pending and self.good(version), "it is better.", 2.0)

    def champion(self) -> str | None:
        return self.champions[-1] if self.champions else None

    def promote(self, version: str) -> None:
        self._enter("promote")
        if self.champion() != version:
            self.champions.append(version)
        self.check("after promote")

    def roll_back(self, version: str, reason: str) -> str | None:
        self._enter("roll back")
        if self.champion() == version:
            if len(self.champions) == 1:
                return None
            self.champions.pop()
            self.check("in the middle of a rollback")
        if version not in self.rejected:
            self.rejected.append(version)
        self.check("after roll back")
        return self.champion()

    def take_as_normal(self, version: str, since: str) -> bool:
        self._enter("normal")
        if self.enough:
            self.normal.append(f"{version} since {since}")
        return self.enough

    def _enter(self, call: str) -> None:
        self.check(f"before {call}")
        self.calls.append(call)
        failure = self.fails.get(call)
        if failure is not None:
            raise failure


class Stop(BaseException):
    """Ends a watch that would go on for good."""


def watcher(folder: Path, parts: Parts, automatic: bool = True, **config: Any) -> Watcher:
    """A watcher whose time passes only while it waits."""
    settings = TriggersConfig.model_validate({"look_s": 10.0, "settle_s": 0.0} | config)

    def wait(seconds: float) -> None:
        parts.now += seconds

    return Watcher(folder, settings, parts, automatic, clock=lambda: parts.now, wait=wait)


def watch_until(watched: Watcher, condition: Callable[[], Any], most_s: float = 50_000) -> None:
    """Let a watcher run until a condition holds at one of its pauses."""
    parts = watched._parts
    ends = parts.now + most_s

    def wait(seconds: float) -> None:
        if condition():
            raise Stop
        assert parts.now < ends, "what the test waits for does not happen"
        parts.now += seconds

    watched._wait = wait
    with suppress(Stop):
        watched.watch()


def told(folder: Path) -> list[str]:
    """The events in short."""
    return [_short(event) for event in read_events(folder)]


def _short(event: Event) -> str:
    parts = ("+".join(event.trigger), event.started, event.outcome)
    return " ".join(part for part in parts if part)


class Trouble(PixloopError):
    """Something that goes wrong."""
