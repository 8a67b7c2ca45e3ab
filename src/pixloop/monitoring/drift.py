"""The drift test: one martingale a signal, and an alarm whose chance of being false is known.

Each of G groups of signals may spend the same share of ``false_alarm``, and within a group each of
its k signals: α_s = false_alarm / (G k). An alarm is raised where the capital of a signal reaches
1/α_s. By Ville's inequality and the union bound the chance of ever a false one is at most
``false_alarm``, whatever the signals have to do with one another.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.conformal import LEVELS, Ranks
from pixloop.monitoring.martingale import Direction, Martingale
from pixloop.monitoring.signals import Signal

State = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Movement:
    """A signal that has moved.

    Attributes:
        signal: its name.
        direction: what its values have become.
        since: the number of pictures of the stream after which it began, as far as can be told.
        at: the number of pictures after which it was sure enough.
    """

    signal: str
    direction: Direction
    since: int
    at: int


class DriftTest:
    """Watches a stream of pictures for signals that are not as in the reference.

    Args:
        signals: what the columns are.
        reference: float (n, S), of pictures that the model neither learned from nor was chosen
            by; NaN where a picture has no such value.
        false_alarm: the chance of ever an alarm while nothing has moved.
        seed: of the numbers that break ties.

    Attributes:
        seen: pictures of the stream so far.
        moved: the signals that have raised an alarm, in the order in which they did.
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
        self._martingales = [Martingale() for _ in signals]
        self.seen = 0
        self.moved: list[Movement] = []

    @property
    def alarm(self) -> Movement | None:
        """The first signal that raised an alarm."""
        return self.moved[0] if self.moved else None

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
        found: list[Movement] = []
        for s in range(len(self._signals)):
            evidence[:, s] = self._update_signal(s, values[:, s])
            if (movement := self._movement(s, evidence[:, s])) is not None:
                found.append(movement)
        self.moved += sorted(found, key=lambda each: each.at)
        self.seen += len(values)
        return evidence

    def state(self) -> State:
        """Everything that it knows, as arrays that ``numpy.savez`` takes; about 10 kB a signal."""
        state: State = {"seen": np.array(self.seen)}
        for s, (ranks, martingale) in enumerate(zip(self._ranks, self._martingales, strict=True)):
            levels = np.flatnonzero(ranks.counts)
            state[f"{s}.levels"], state[f"{s}.counts"] = levels, ranks.counts[levels]
            state[f"{s}.ranked"] = np.array(ranks.seen)
            state |= {f"{s}.{key}": value for key, value in martingale.state().items()}
        names = [signal.name for signal in self._signals]
        moved = [[names.index(m.signal), m.since, m.at] for m in self.moved]
        state["moved"] = np.array(moved, np.int64).reshape(-1, 3)
        state["directions"] = np.array([m.direction for m in self.moved], "U8")
        return state

    @classmethod
    def restore(
        cls,
        signals: Sequence[Signal],
        false_alarm: float,
        seed: int,
        state: Mapping[str, NDArray[np.generic]],
    ) -> "DriftTest":
        """As it was when ``state`` was called."""
        self = cls(signals, np.empty((0, len(signals))), false_alarm, seed)
        self.seen = int(state["seen"])
        for s, ranks in enumerate(self._ranks):
            ranks.counts = np.zeros(LEVELS, np.int64)
            ranks.counts[state[f"{s}.levels"]] = state[f"{s}.counts"]
            ranks.seen = int(state[f"{s}.ranked"])
            prefix = f"{s}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            self._martingales[s] = Martingale.restore(own)
        for (s, since, at), direction in zip(state["moved"], state["directions"], strict=True):
            self.moved.append(Movement(signals[s].name, str(direction), int(since), int(at)))  # type: ignore[arg-type]
        return self

    def _update_signal(self, s: int, values: NDArray[np.floating]) -> NDArray[np.float64]:
        known = ~np.isnan(values)
        before = self._martingales[s].log_capital
        capital = self._martingales[s].bet(self._ranks[s].p_values(values[known]))
        # A picture without the value leaves the capital as it was.
        index = np.cumsum(known)
        spread = np.concatenate([[before], capital])[index]
        return np.asarray(spread - self._log_limits[s])

    def _movement(self, s: int, evidence: NDArray[np.float64]) -> Movement | None:
        """What to say of a signal whose capital has now reached its limit for the first time."""
        name = self._signals[s].name
        reached = np.flatnonzero(evidence >= 0)
        if not len(reached) or any(m.signal == name for m in self.moved):
            return None
        direction, since = self._martingales[s].luckiest()
        at = self.seen + int(reached[0]) + 1
        return Movement(name, direction, min(since, at - 1), at)


def log_limits(signals: Sequence[Signal], false_alarm: float) -> NDArray[np.float64]:
    """The logarithm of 1/α_s for every signal; float64 (S,)."""
    members = Counter(signal.group for signal in signals)
    return np.array(
        [np.log(len(members) * members[signal.group] / false_alarm) for signal in signals]
    )
