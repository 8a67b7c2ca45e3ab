"""The drift test: one martingale a signal, and an alarm whose chance of being false is known.

Each of G groups of signals may spend the same share of ``false_alarm``, and within a group each of
its k signals: α_s = false_alarm / (G k). An alarm is raised where the capital of a signal reaches
1/α_s. By Ville's inequality and the union bound the chance of ever a false one is at most
``false_alarm``, whatever the signals have to do with one another. docs/drift.md says why so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.conformal import Ranks
from pixloop.monitoring.history import History
from pixloop.monitoring.martingale import Direction, Martingale
from pixloop.monitoring.signals import Signal

State = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """A signal that has moved.

    Attributes:
        signal: its name.
        direction: what its values have become.
        since: the number of pictures of the stream after which it began, as far as can be told.
        at: the number of pictures after which it was sure enough.
        log_evidence: by how much it was, as in ``DriftTest.evidence``; 0 or a little above.
    """

    signal: str
    direction: Direction
    since: int
    at: int
    log_evidence: float


class DriftTest:
    """Watches a stream of pictures for signals that are not as in the reference.

    What it finds depends on the pictures and their order, and not on how they are cut into calls.

    Args:
        signals: what the columns are.
        reference: float (n, S), of pictures that the model neither learned from nor was chosen
            by; NaN where a picture has no such value, as in what follows: then the picture tells
            nothing of that signal.
        false_alarm: the chance of ever an alarm while nothing has moved.
        seed: of the numbers that break ties, 0 or above.

    Attributes:
        history: ``evidence`` over time, the highest of each stretch of pictures.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        reference: NDArray[np.floating],
        false_alarm: float,
        seed: int,
    ) -> None:
        self._signals = tuple(signals)
        self._log_limits = log_limits(signals, false_alarm)
        self._ranks = [Ranks(reference[:, s], seed, s) for s in range(len(signals))]
        known = (~np.isnan(reference)).sum(axis=0)
        self._martingales = [
            Martingale(float(limit), int(n))
            for limit, n in zip(self._log_limits, known, strict=True)
        ]
        self.history = History(len(signals))

    @property
    def seen(self) -> int:
        """Pictures of the stream so far."""
        return self.history.seen

    @property
    def alarm(self) -> DriftAlarm | None:
        """The first alarm; later ones never change it."""
        return next(iter(self.moved), None)

    @property
    def moved(self) -> list[DriftAlarm]:
        """The first alarm of every signal that has raised one, in the order in which they did."""
        alarms = [
            DriftAlarm(
                signal=self._signals[s].name,
                direction=crossing.direction,
                since=crossing.since,
                at=crossing.at,
                log_evidence=crossing.log_capital - float(self._log_limits[s]),
            )
            for s, martingale in enumerate(self._martingales)
            if (crossing := martingale.crossing) is not None
        ]
        return sorted(alarms, key=lambda alarm: alarm.at)

    @property
    def evidence(self) -> NDArray[np.float64]:
        """The logarithm of each signal's capital over its limit, now; 0 and above is an alarm."""
        return np.array([m.log_capital for m in self._martingales]) - self._log_limits

    def update(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """See the next pictures of the stream.

        Args:
            values: float (m, S).

        Returns:
            ``evidence`` after each of them, float64 (m, S).
        """
        evidence = np.empty(values.shape, np.float64)
        for s in range(len(self._signals)):
            evidence[:, s] = self._update_signal(s, values[:, s])
        self.history.add(evidence)
        return evidence

    def state(self) -> State:
        """Everything that it knows, as arrays that ``numpy.savez_compressed`` takes.

        It stops growing: at most 65,536 counts a signal, and usually some thousands.
        """
        state: State = {f"history.{key}": value for key, value in self.history.state().items()}
        for s, (ranks, martingale) in enumerate(zip(self._ranks, self._martingales, strict=True)):
            own = ranks.state() | martingale.state()
            state |= {f"{s}.{key}": value for key, value in own.items()}
        return state

    @classmethod
    def restore(
        cls,
        signals: Sequence[Signal],
        false_alarm: float,
        seed: int,
        state: Mapping[str, NDArray[np.generic]],
    ) -> "DriftTest":
        """As it was when ``state`` was called, with the same signals, chance and seed."""
        self = cls(signals, np.empty((0, len(signals))), false_alarm, seed)
        self.history = History.restore(len(signals), _part(state, "history"))
        for s, limit in enumerate(self._log_limits):
            own = _part(state, str(s))
            self._ranks[s] = Ranks.restore(seed, s, own)
            self._martingales[s] = Martingale.restore(float(limit), own)
        return self

    def _update_signal(self, s: int, values: NDArray[np.floating]) -> NDArray[np.float64]:
        known = ~np.isnan(values)
        before = self._martingales[s].log_capital
        pictures = self.seen + 1 + np.flatnonzero(known)
        capital = self._martingales[s].bet(self._ranks[s].p_values(values[known]), pictures)
        # A picture without the value leaves the capital as it was.
        after = np.concatenate([[before], capital])[np.cumsum(known)]
        return np.asarray(after - self._log_limits[s])


def log_limits(signals: Sequence[Signal], false_alarm: float) -> NDArray[np.float64]:
    """The logarithm of 1/α_s for every signal; float64 (S,)."""
    members = Counter(signal.group for signal in signals)
    return np.array(
        [np.log(len(members) * members[signal.group] / false_alarm) for signal in signals]
    )


def _part(state: Mapping[str, NDArray[np.generic]], name: str) -> State:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
