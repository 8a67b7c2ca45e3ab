"""What a watcher does besides runs: look at alarms, fetch annotations, roll back, ask people."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pixloop.errors import PixloopError
from pixloop.pipeline.triggers import is_due
from pixloop.watching.events import EventLog
from pixloop.watching.parts import OpenAlarm, Parts
from pixloop.watching.state import DriftAlarm, Memory, NewNormal, Rollback

#: Hooks get lost: annotations are fetched this often even where nobody says that there are any.
_SYNC_S = 180.0


class Attention:
    """Looks, and does at once what need not wait for a run.

    Args:
        parts: what is looked at and started.
        events: are told.
        memory: what was decided and is not done yet.
        enabled: the names of the triggers that may start something.
        automatic: roll back without a person.
        bell: a file that is touched by whoever has heard that there are annotations.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        parts: Parts,
        events: EventLog,
        memory: Memory,
        enabled: Collection[str],
        automatic: bool,
        bell: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parts, self._events, self._change = parts, events, memory.change
        self._bell, self._heard, self._clock = bell, 0, clock
        self._enabled, self._automatic = enabled, automatic
        self._one_at_a_time = threading.Lock()
        self._synced: float | None = None
        self._complaints: dict[str, str] = {}  # by what failed: the last words about it

    def attend(self) -> None:
        """Look once at everything; what fails is noted and tried again at the next look."""
        with self._one_at_a_time:
            now = self._clock()
            if self.is_called() or is_due(now, self._synced, _SYNC_S):
                self._heard, self._synced = _touched(self._bell), now
                self._try("sync", self._sync)
            # What was decided before a kill comes first.
            self._try("rollback", self._roll_back)
            self._try("normal", self._take_as_normal)
            self._try("look", self._look)

    def is_called(self) -> bool:
        """Whether somebody has said since the last look that there are annotations."""
        return _touched(self._bell) != self._heard

    @property
    def fails(self) -> bool:
        """Whether something that was tried at the last look failed."""
        return bool(self._complaints)

    def complain(self, about: str, error: Exception) -> None:
        """Say what is wrong, once until something else is."""
        words = describe_failure(error)
        if self._complaints.get(about) != words:
            self._complaints[about] = words
            self._events.add(f"{about}-failed-{time.time_ns()}", (), about, "failed", words)

    # ---- inside

    def _try(self, about: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as e:  # one look that fails must not end the watch
            self.complain(about, e)
        else:
            self._complaints.pop(about, None)

    def _sync(self) -> None:
        came = self._parts.sync()
        if came:
            text = "1 annotation came" if came == 1 else f"{came} annotations came"
            self._events.add(f"sync-{time.time_ns()}", ("annotations",), "sync", "done", text)

    def _look(self) -> None:
        alarms = self._parts.look()
        with self._change() as state:
            # What was acknowledged, or is about a version that serves no more, waits for nothing.
            still = {alarm.id for alarm in alarms}
            state.drift = tuple(each for each in state.drift if each.id in still)
            known = set(state.alarms)
            renewed = state.normal.version if state.normal else None
        for alarm in alarms:
            # What is normal for a version that was made because of drift is about to be decided.
            if alarm.id in known or (alarm.kind == "drift" and alarm.version == renewed):
                continue
            if alarm.kind == "quality":
                self._quality(alarm)
            elif "drift" in self._enabled:
                self._drift(alarm)

    def _drift(self, alarm: OpenAlarm) -> None:
        """Ask people about the pictures; a run is due once they have answered."""
        with self._change() as state:
            if alarm.id not in {each.id for each in state.drift}:
                state.drift = (*state.drift, DriftAlarm(id=alarm.id, since=alarm.since))
        self._raise(alarm, "review")
        asked = self._parts.collect()
        text = f"{asked} pictures wait for annotation"
        self._events.add(f"{alarm.id}-review", (alarm.kind,), "review", "done", text, alarm.version)
        with self._change() as state:
            state.remember(alarm.id)

    def _quality(self, alarm: OpenAlarm) -> None:
        self._raise(alarm, "rollback")
        with self._change() as state:
            state.remember(alarm.id)
            if self._automatic:
                reason = f"rolled back: {alarm.words}"
                state.rollback = Rollback(alarm=alarm.id, version=alarm.version, reason=reason)
        if self._automatic:
            self._roll_back()
        else:
            text = "'pixloop models rollback' takes the champion before it."
            self._events.add(
                f"{alarm.id}-rollback", (alarm.kind,), "rollback", "waiting", text, alarm.version
            )

    def _raise(self, alarm: OpenAlarm, starts: str) -> None:
        words = alarm.words if alarm.matters else f"{alarm.words}; it may cost no accuracy"
        self._events.add(
            f"{alarm.id}-raised", (alarm.kind,), starts, "raised", words, alarm.version
        )

    def _roll_back(self) -> None:
        with self._change() as state:
            decided = state.rollback
        if decided is None:
            return
        champion = self._parts.roll_back(decided.version, decided.reason)
        outcome = "refused" if champion is None else "done"
        text = "there was no champion before" if champion is None else f"champion is {champion}"
        identity = f"{decided.alarm}-rollback"
        self._events.add(identity, ("quality",), "rollback", outcome, text, decided.version)
        with self._change() as state:
            state.rollback = None

    def _take_as_normal(self) -> None:
        with self._change() as state:
            wanted = state.normal
        if wanted is None:
            return
        if self._parts.champion() != wanted.version:
            self._forget(wanted)
        elif self._parts.take_as_normal(wanted.version, wanted.since):
            text = "the pictures of now are what it is watched against"
            identity = f"normal-{wanted.version}-{wanted.since}"
            self._events.add(identity, ("drift",), "normal", "done", text, wanted.version)
            self._forget(wanted)

    def _forget(self, wanted: NewNormal) -> None:
        with self._change() as state:
            if state.normal == wanted:
                state.normal = None


def _touched(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def describe_failure(error: Exception) -> str:
    """An error in words; of one that is none of ours, its type as well."""
    return str(error) if isinstance(error, PixloopError) and str(error) else repr(error)
