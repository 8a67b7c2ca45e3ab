"""Models that change while they serve: a new version takes over, or the old one goes on.

A version is loaded beside the one that answers, held against its certificate, and takes over
between two batches. The one before stays in memory until the new one has proven itself; if the new
one fails on pictures that the other answers, they change back, and nobody who asked notices.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pixloop.errors import PixloopError, ServingError
from pixloop.serving.jobs import Version
from pixloop.serving.models.acceptance import OpenModel, open_successor
from pixloop.serving.predictor import open_predictor

#: What becomes of a version that is offered, or was loaded.
Outcome = Literal["taken", "refused", "superseded", "rolled back", "unloaded"]
#: Is told the version's name and what became of it, from any thread; must not raise.
OnSwap = Callable[[str, Outcome], None]

log = logging.getLogger("pixloop.serving")


class SwapRefused(ServingError):
    """A version does not take over; what served goes on. Its cause says why."""


class Superseded(SwapRefused):
    """A version does not take over because a later one was offered meanwhile."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a version must do before the one before it is given up.

    Attributes:
        pictures: answered; as many are enough.
        seconds: since it took over; enough where it has answered anything at all.
    """

    pictures: int = 1000
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Swap:
    """What became of a version that was offered, and why it did not stay."""

    version: str
    outcome: Outcome
    reason: str = ""


class Served:
    """A model that can change: a ``batching.Slot``."""

    def __init__(
        self,
        version: Version,
        open_model: OpenModel = open_predictor,
        on_swap: OnSwap = lambda version, outcome: None,
        trial: Trial = Trial(),
    ) -> None:
        """Serve a version until another is offered.

        Args:
            version: is taken to be good.
            open_model: loads those that are offered.
            on_swap: is told of every version that was offered.
            trial: of a version that has taken over.
        """
        self._current = version
        self._previous: Version | None = None
        self._open_model, self._on_swap, self._trial = open_model, on_swap, trial
        self._lock = threading.Lock()  # held for a moment
        self._loading = threading.Lock()  # held while a version is loaded
        self._offers = 0
        self._answered = 0  # pictures, by the version on trial
        self._timer: threading.Timer | None = None
        self.last: Swap | None = None  #: the latest swap

    @property
    def current(self) -> Version:
        """What answers now."""
        return self._current

    @property
    def on_trial(self) -> bool:
        """Whether the version before is still at hand."""
        return self._previous is not None

    def swap(self, bundle: Path, version: str) -> None:
        """Let a bundle take over. Takes as long as it is loaded and tried: not on the event loop.

        Of several at once, one after the other is loaded, and the one offered last stays.

        Args:
            bundle: its folder, or its model.tar.gz.
            version: what answers give as ``model`` from then on.

        Raises:
            Superseded: another was offered meanwhile.
            SwapRefused: it cannot, and what served goes on; ``acceptance`` says what is asked.
        """
        with self._lock:
            self._offers += 1
            offer = self._offers
        with self._loading:
            try:
                self._check_latest(offer, version)
                try:
                    manifest = self._current.predictor.manifest
                    predictor = open_successor(bundle, manifest, self._open_model)
                except Exception as e:  # a stranger's graph may raise anything
                    reason = str(e) if isinstance(e, PixloopError) else repr(e)
                    serving = self._current.name
                    text = f"{version} does not take over from {serving}: {reason}"
                    raise SwapRefused(text) from e
                self._take_over(offer, Version(version, predictor))
            except SwapRefused as e:
                superseded = isinstance(e, Superseded)
                outcome: Outcome = "superseded" if superseded else "refused"
                log.log(logging.INFO if superseded else logging.ERROR, "%s", e)
                self._tell(Swap(version, outcome, str(e)))
                raise

    def answered(self, version: Version, pictures: int) -> None:
        """Count what a version has answered; see ``Trial``."""
        if version is not self._current or self._previous is None:
            return
        with self._lock:
            if version is not self._current:
                return
            self._answered += pictures
            released = self._release() if self._answered >= self._trial.pictures else None
        del released  # here, since freeing a model takes longer than others should wait

    def stand_in(self, failed: Version) -> Version | None:
        """What may answer instead of a version that failed; None if nothing can."""
        with self._lock:
            return self._previous if failed is self._current else self._current

    def fall_back(self, failed: Version, error: Exception) -> None:
        """Go back to the version before, which has answered what this one failed on."""
        with self._lock:
            previous = self._previous
            if failed is not self._current or previous is None:
                return
            self._release()
            self._current = previous
        log.error("%s failed (%s): %s answers again", failed.name, error, previous.name)
        self._tell(Swap(failed.name, "rolled back", str(error)))

    def close(self) -> None:
        """Give up the version before."""
        with self._lock:
            released = self._release()
        del released

    def _check_latest(self, offer: int, version: str) -> None:
        if offer != self._offers:
            raise Superseded(f"{version} does not take over: a later version was offered.")

    def _take_over(self, offer: int, version: Version) -> None:
        with self._lock:
            self._check_latest(offer, version.name)
            before = self._current
            # One that is still on trial is not what to go back to.
            proven = self._release() or before
            self._current, self._previous, self._answered = version, proven, 0
            self._await_proof(version)
        log.info("%s took over from %s", version.name, before.name)
        self._tell(Swap(version.name, "taken"))

    def _await_proof(self, version: Version) -> None:
        self._timer = threading.Timer(self._trial.seconds, self._time_is_over, [version])
        self._timer.daemon = True
        self._timer.start()

    def _time_is_over(self, version: Version) -> None:
        released = None
        with self._lock:
            if version is self._current and self._previous is not None:
                if self._answered:
                    released = self._release()
                else:
                    self._await_proof(version)
        del released

    def _release(self) -> Version | None:
        """End the trial; the version before, of which the caller has the last reference."""
        if self._timer is not None:
            self._timer.cancel()
        previous, self._previous, self._timer = self._previous, None, None
        return previous

    def _tell(self, swap: Swap) -> None:
        self.last = swap
        self._on_swap(swap.version, swap.outcome)
