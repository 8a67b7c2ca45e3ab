"""What a watcher must not forget: written before it acts, so that a kill loses and doubles nothing.

``.pixloop/watch/state.json`` is always whole. Times are seconds since the epoch.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pixloop.errors import PipelineError
from pixloop.files import write_text

FILE = "state.json"
#: Alarms whose handling is remembered; older ones have long been acknowledged.
_KEPT_ALARMS = 500


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Seen(_Record):
    """A source as it is: its signature, and since when it has been so."""

    signature: str
    number: int = 0  #: of annotations: new or changed since the last run
    changed: float = 0.0  #: when it was first seen like this
    waiting: float | None = None  #: since when it differs from what the last run took


class RunAtWork(_Record):
    """A run that has begun and whose consequences are not all drawn yet."""

    number: int
    triggers: tuple[str, ...]
    marks: dict[str, str]  #: signatures of the sources when it began
    began: float
    champion: str | None = None  #: that it is compared with
    drift: tuple[str, ...] = ()  #: the drift alarms that it answers
    since: str = ""  #: when the first of them began
    version: str | None = None  #: once it is registered
    promotes: bool = False
    reason: str = ""
    seconds: float = 0.0


class Rollback(_Record):
    """A rollback that has been decided."""

    alarm: str
    version: str  #: that raised the alarm
    reason: str


class NewNormal(_Record):
    """A version that shall take the pictures since a time for normal, once there are enough."""

    version: str
    since: str


class DriftAlarm(_Record):
    """A drift alarm that no run has answered yet."""

    id: str
    since: str


class WatchState(_Record):
    """The content of state.json."""

    format: int = 1
    seen: dict[str, Seen] = Field(default_factory=dict)  #: by source
    handled: dict[str, str] = Field(default_factory=dict)  #: what the last run took, by source
    handled_at: float = 0.0  #: when it began
    scheduled: float | None = None  #: when the schedule last came
    runs: int = 0
    run: RunAtWork | None = None
    failures: int = 0  #: in a row
    retry_at: float = 0.0
    failed: dict[str, str] = Field(default_factory=dict)  #: what the failed run took
    drift: tuple[DriftAlarm, ...] = ()
    alarms: tuple[str, ...] = ()  #: those that have started what they start
    rollback: Rollback | None = None
    normal: NewNormal | None = None

    def remember(self, alarm: str) -> None:
        """Note that an alarm has started what it starts."""
        self.alarms = (*self.alarms, alarm)[-_KEPT_ALARMS:]

    def changed(self, source: str) -> bool:
        """Whether a source is not as the last run took it."""
        seen = self.seen.get(source)
        return seen is not None and seen.signature != self.handled.get(source, "")


class Memory:
    """The state of the watcher in a folder; threads may share it.

    Raises:
        PipelineError: the file is damaged, or of a newer pixloop.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self.state = _read(folder / FILE)  #: to be looked at; ``change`` gives it to be changed

    @contextmanager
    def change(self) -> Iterator[WatchState]:
        """The state, to be changed; it is on disk when the block ends."""
        with self._lock:
            before = self.state.model_dump_json()
            yield self.state
            after = self.state.model_dump_json(indent=2)
            if self.state.model_dump_json() != before:
                write_text(self._folder / FILE, after + "\n")


def _read(file: Path) -> WatchState:
    try:
        return WatchState.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return WatchState()
    except (OSError, ValueError) as e:  # pydantic's errors among them
        raise PipelineError(
            f"{file} cannot be read: {str(e).splitlines()[0]}. Remove it: the next 'pixloop watch' "
            "then begins with one run, which reuses whatever has not changed."
        ) from e
