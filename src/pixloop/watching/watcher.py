"""The loop that closes the loop: look, notice, run, promote, look again.

One watcher a project. It may be killed at any moment: what it has begun is noted before it begins
(``state.json``), whatever it starts may be started again, and the next watcher goes on from there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pixloop.config_loop import TriggersConfig
from pixloop.errors import GateRefused, PixloopError
from pixloop.pipeline.lock import exclusive
from pixloop.watching.attention import Attention
from pixloop.watching.due import Due, decide, notice
from pixloop.watching.events import Event, EventLog
from pixloop.watching.parts import SOURCES, Mark, Parts
from pixloop.watching.pipeline_run import PipelineRun
from pixloop.watching.state import Memory, WatchState

#: Touched by whoever has heard that there are annotations.
ANNOTATED = "annotated"
#: Waiting is done in pieces of this length, so that a touch is noticed soon.
_GLANCE_S = 0.5
#: A source that takes long to look at is looked at less often: this share of the time, at most.
_LOOKING_SHARE = 0.05


class Watcher:
    """Watches a project and starts what its triggers start.

    Args:
        folder: ``.pixloop/watch``: the state, the events and the lock.
        config: which triggers there are.
        parts: what is looked at and started.
        automatic: promote and roll back without a person.
        tell: is told of every event, from any thread.
        clock: seconds since the epoch.
        wait: waits some seconds.
    """

    def __init__(
        self,
        folder: Path,
        config: TriggersConfig,
        parts: Parts,
        automatic: bool = False,
        tell: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder, self._config, self._parts = folder, config, parts
        self._automatic, self._tell, self._clock, self._wait = automatic, tell, clock, wait
        self._looked: dict[str, tuple[float, float]] = {}  # by source: when, and how long it took
        self.due = Due()  #: what was found at the last look
        self.state = WatchState()  #: to be looked at, from any thread

    def watch(self, once: bool = False) -> list[str]:
        """Watch until interrupted, or handle what there is.

        Args:
            once: end as soon as nothing is due; a run that fails is not tried again.

        Returns:
            The outcomes of the runs: ``done``, ``refused`` or ``failed``.

        Raises:
            PipelineError: another watcher is at work, or the state cannot be read.
        """
        busy = "Another 'pixloop watch' of this project is at work (process {pid})."
        with exclusive(self._folder / "watch.lock", busy):
            self._open()
            outcomes: list[str] = []
            while True:
                outcome = self._step(once)
                if outcome is not None:
                    outcomes.append(outcome)
                ended = outcome == "failed" or (outcome is None and self.due.wait_s is None)
                if once and ended:
                    # A look that failed is told by the exit code as well: cron reads nothing else.
                    return [*outcomes, "failed"] if self._attention.fails else outcomes
                if outcome is None:
                    self._pause()

    # ---- inside

    def _open(self) -> None:
        self._memory = Memory(self._folder)
        self.state = self._memory.state
        self._events = EventLog(self._folder, self._tell)
        self._attention = Attention(
            self._parts,
            self._events,
            self._memory,
            self._config.enabled,
            self._automatic,
            self._folder / ANNOTATED,
            self._clock,
        )
        self._pipeline = PipelineRun(
            self._parts,
            self._events,
            self._memory,
            self._attention,
            self._automatic,
            self._config.look_s,
            self._clock,
        )

    def _step(self, once: bool) -> str | None:
        """Look once, and run where a run is due; its outcome."""
        run = self.state.run
        if run is None or run.version is None:
            self._attention.attend()
            self._notice(everything=once)
            # Looked at twice: what came since is taken as well, and must be still too.
            if not self._is_due(once):
                return None
            self._notice(everything=True)
            if not self._is_due(once) or self._must_wait(once):
                return None
        return self._pipeline.go(self.due.triggers)

    def _is_due(self, once: bool) -> bool:
        if self.state.run is not None:  # it was killed
            return True
        with self._memory.change() as state:
            self.due = decide(state, self._config, self._clock(), patient=not once)
        if self.due.tick:
            self._skip_schedule()
        return bool(self.due.triggers)

    def _must_wait(self, once: bool) -> bool:
        """Whether another run is at work, such as the orphan of a watcher that was killed; or the
        registry cannot be asked, without which nothing can be compared.
        """
        try:
            process = self._parts.busy()
            self._parts.champion()
        except PixloopError as e:
            if once:
                raise
            self._attention.complain("registry", e)
            return True
        if process:
            self._events.add(f"busy-{process}", (), "run", "waiting", f"for process {process}")
            self.due = replace(self.due, triggers=(), wait_s=_GLANCE_S)
        return bool(process)

    def _notice(self, everything: bool) -> None:
        """Look at the sources; unless at everything, less often at those that take long."""
        marks: dict[str, Mark] = {}
        for source in SOURCES:
            looked, took = self._looked.get(source, (float("-inf"), 0.0))
            if not everything and time.monotonic() - looked < took / _LOOKING_SHARE:
                continue
            began = time.monotonic()
            try:
                marks[source] = self._parts.mark(source, self.state.handled_at)
            except (PixloopError, OSError) as e:
                self._attention.complain(source, e)
            self._looked[source] = began, time.monotonic() - began
        with self._memory.change() as state:
            notice(state, marks, self._clock())
        for source in self._config.enabled:
            seen = self.state.seen.get(source)
            if seen is not None and seen.waiting is not None:
                self._events.add(f"{source}-noticed-{seen.waiting}", (source,), "", "noticed")

    def _skip_schedule(self) -> None:
        with self._memory.change() as state:
            state.scheduled = self._clock()
        text = "nothing has changed since the last run"
        identity = f"schedule-{self.state.scheduled}"
        self._events.add(identity, ("schedule",), "", "unchanged", text)

    def _pause(self) -> None:
        """Until the next look; shorter where somebody says that there are annotations."""
        left_s = self._config.look_s
        if self.due.wait_s is not None:
            left_s = min(left_s, self.due.wait_s)
        while left_s > 0 and not self._attention.is_called():
            self._wait(min(_GLANCE_S, left_s))
            left_s -= _GLANCE_S


def exit_code(outcomes: Sequence[str]) -> int:
    """The exit code of a watch that ended by itself: that of its last run."""
    last = outcomes[-1] if outcomes else "done"
    return {"refused": GateRefused.exit_code, "failed": PixloopError.exit_code}.get(last, 0)
