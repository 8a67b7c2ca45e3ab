"""Streams replayed through the drift test: how long until an alarm, if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.monitoring.drift import DriftTest
from pixloop.monitoring.signals import Signal

Values = NDArray[np.float32]  #: shape (n, S), NaN where a picture has no such value

# Most alarms come early; what comes after them need not be looked at.
_FIRST_LOOK, _LOOK = 64, 256


@dataclass(frozen=True, slots=True)
class Alarmed:
    """When a stream raised its alarm: after how many pictures, and by which signal."""

    at: int
    signal: str


def replay(
    signals: Sequence[Signal], reference: Values, stream: Values, false_alarm: float, seed: int
) -> Alarmed | None:
    """Let a fresh test see a stream; None where it raises no alarm."""
    test = DriftTest(signals, reference, false_alarm, seed)
    start, end = 0, _FIRST_LOOK
    while start < len(stream):
        test.update(stream[start:end])
        if test.alarm is not None:
            return Alarmed(test.alarm.at, test.alarm.signal)
        start, end = end, (end // _LOOK + 1) * _LOOK
    return None


def clean_stream(
    pool: Values, reference: int, length: int, random: np.random.Generator
) -> tuple[Values, Values]:
    """Some of the pool as a reference, others as a stream, by chance: exactly exchangeable."""
    order = random.permutation(len(pool))
    return pool[order[:reference]], pool[order[reference : reference + length]]


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """What a corruption does to each signal, seen on pictures with it and without it.

    A few pictures drawn over and over would be noticed for being so few. So the stream is the
    reference's own pictures, drawn with replacement, and each is moved, signal by signal, as that
    picture was whose value without the corruption is nearest.

    Attributes:
        before: float32 (k, S), of the pictures without the corruption.
        after: float32 (k, S), with it.
    """

    before: Values
    after: Values

    def stream(self, reference: Values, length: int, random: np.random.Generator) -> Values:
        """A stream of pictures like those of the reference, float32 (n, S), with the corruption."""
        drawn = reference[random.integers(len(reference), size=length)]
        moved = np.empty_like(drawn)
        for s in range(drawn.shape[1]):
            moved[:, s] = self._move(drawn[:, s], s, reference[:, s], random)
        return moved

    def _move(
        self, values: Values, s: int, reference: Values, random: np.random.Generator
    ) -> Values:
        before, after = self.before[:, s], self.after[:, s]
        known, missing = ~np.isnan(before), np.isnan(before)
        moved = values.copy()
        has = ~np.isnan(values)
        if known.any() and has.any():
            nearest = _nearest(values[has], before[known], random)
            shifted = values[has] + (after - before)[known][nearest]
            # A number of boxes or a probability stays one.
            whole = np.concatenate([reference, before, after])
            moved[has] = np.clip(shifted, np.nanmin(whole), np.nanmax(whole))
        if missing.any() and not has.all():
            moved[~has] = random.choice(after[missing], int((~has).sum()))
        return moved


def _nearest(values: Values, among: Values, random: np.random.Generator) -> NDArray[np.int64]:
    """The index of the nearest of ``among`` (k,) for every value; of equally near ones, any."""
    order = random.permutation(len(among))
    order = order[np.argsort(among[order], kind="stable")]
    ranked = among[order].astype(np.float64)
    first, last = np.searchsorted(ranked, values, "left"), np.searchsorted(ranked, values, "right")
    # Between its neighbours a value goes to the nearer; where it is there itself, to any like it.
    below, above = np.maximum(first - 1, 0), np.minimum(first, len(ranked) - 1)
    nearer = np.where(values - ranked[below] < ranked[above] - values, below, above)
    like = ranked[nearer]
    first, last = np.searchsorted(ranked, like, "left"), np.searchsorted(ranked, like, "right")
    chosen: NDArray[np.int64] = order[random.integers(first, last)]
    return chosen
