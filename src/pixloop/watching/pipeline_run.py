"""One run of the pipeline for all the triggers that came, and what follows from it.

What is begun is noted first. A run that was killed is begun again, and reuses the steps that were
done; one that was killed after its version was registered only draws the consequences.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pixloop.errors import GateRefused, PixloopError
from pixloop.watching.attention import Attention, describe_failure
from pixloop.watching.due import back_off, signatures
from pixloop.watching.events import EventLog
from pixloop.watching.parts import Parts, Ran
from pixloop.watching.state import Memory, NewNormal, RunAtWork

log = logging.getLogger("pixloop.watching")


class PipelineRun:
    """Begins runs and ends them.

    Args:
        parts: with the pipeline, and the registry.
        events: are told.
        memory: where what is begun is noted.
        attention: goes on looking while a run is at work.
        automatic: promote without a person.
        look_s: how often it looks.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        parts: Parts,
        events: EventLog,
        memory: Memory,
        attention: Attention,
        automatic: bool,
        look_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parts, self._events, self._memory = parts, events, memory
        self._attention, self._automatic = attention, automatic
        self._look_s, self._clock = look_s, clock

    def go(self, triggers: Sequence[str]) -> str:
        """Run, or go on with what was begun, to its end.

        Returns:
            ``done``, ``refused`` or ``failed``.
        """
        run = self._memory.state.run
        if run is None or run.version is None:
            run = self._begin(triggers)
        try:
            if run.version is None:
                with self._looking():
                    ran = self._parts.run(run.triggers)
                self._note(ran)
            compared = self._promote()
        except GateRefused as e:
            return self._end("refused", str(e))
        except KeyboardInterrupt:
            identity = f"run-{run.number}-interrupted-{run.began}"
            text = "the next watch goes on with it"
            self._events.add(identity, run.triggers, "run", "interrupted", text)
            raise
        except Exception as e:
            if not isinstance(e, PixloopError):
                log.exception("a run failed unexpectedly")
            return self._end("failed", describe_failure(e))
        text = f"version {self._run.version}, in {self._run.seconds:.0f} s"
        return self._end("done", text, again=not compared)

    # ---- inside

    @property
    def _run(self) -> RunAtWork:
        run = self._memory.state.run
        assert run is not None  # noqa: S101  (it was begun)
        return run

    def _begin(self, triggers: Sequence[str]) -> RunAtWork:
        """Note the run before it begins; one that was killed takes the data as they are now."""
        champion = self._parts.champion()
        with self._memory.change() as state:
            before = state.run
            if before is None:
                state.runs += 1
            state.run = run = RunAtWork(
                number=before.number if before else state.runs,
                triggers=before.triggers if before else tuple(triggers),
                marks=signatures(state),
                began=self._clock(),
                champion=champion,
                drift=tuple(alarm.id for alarm in state.drift),
                since=min((alarm.since for alarm in state.drift), default=""),
            )
            state.scheduled = run.began
        identity = f"run-{run.number}-began" if before is None else f"run-{run.number}-{run.began}"
        outcome = "began" if before is None else "resumed"
        self._events.add(identity, run.triggers, "run", outcome)
        return run

    def _note(self, ran: Ran) -> None:
        with self._memory.change() as state:
            run = state.run
            assert run is not None  # noqa: S101  (it was begun)
            run.version, run.promotes, run.reason = ran.version, ran.promotable, ran.reason
            run.seconds = ran.seconds

    def _promote(self) -> bool:
        """Make the run's version the champion, where that is for us to do.

        Returns:
            Whether it was compared with the champion of now; else it has to be once more.
        """
        run, champion = self._run, self._parts.champion()
        version = run.version or ""
        if champion not in (run.champion, version):
            why = f"it was compared with {run.champion}, and {champion} is the champion now"
            self._tell_promotion("refused", why)
            return False
        if not run.promotes:
            self._tell_promotion("refused", run.reason)
        elif not self._automatic:
            how = f"'pixloop models promote {version}' makes it the champion."
            self._tell_promotion("waiting", f"{run.reason} {how}".strip())
        else:
            self._parts.promote(version)
            if run.drift:
                with self._memory.change() as state:
                    state.normal = NewNormal(version=version, since=run.since)
            self._tell_promotion("done", run.reason)
        return True

    def _tell_promotion(self, outcome: str, why: str) -> None:
        run = self._run
        identity = f"run-{run.number}-promotion"
        self._events.add(identity, run.triggers, "promotion", outcome, why, run.version)

    def _end(self, outcome: str, detail: str, again: bool = False) -> str:
        """Draw the line under a run; ``again``: what it took is due once more."""
        run = self._run
        identity = f"run-{run.number}-{outcome}"
        self._events.add(identity, run.triggers, "run", outcome, detail, run.version)
        with self._memory.change() as state:
            state.run = None
            if outcome == "failed":
                back_off(state, run.marks, self._clock())
            if outcome == "failed" or again:
                return outcome
            state.handled, state.handled_at = dict(run.marks), run.began
            state.failures, state.failed = 0, {}
            for seen in state.seen.values():
                seen.number, seen.waiting = 0, None
            if outcome == "done":  # what was refused answers no alarm
                state.drift = tuple(each for each in state.drift if each.id not in run.drift)
        return outcome

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Go on looking while a run is at work, which may take hours."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(self._look_s):
                self._attention.attend()

        thread = threading.Thread(target=look, name="looking", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=5)
