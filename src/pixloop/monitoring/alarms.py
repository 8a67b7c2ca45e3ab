"""What a monitor raises: the records, and the words that people read."""

from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.drift import DriftAlarm
from pixloop.monitoring.martingale import Direction
from pixloop.monitoring.signals import Signal

_WORDS: dict[Direction, str] = {
    "higher": "{} is higher than in the reference",
    "lower": "{} is lower than in the reference",
    "wider": "{} varies more than in the reference",
    "narrower": "{} varies less than in the reference",
}


class Alarm(BaseModel):
    """That something has moved, or that too many answers are wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str  #: unique, and fit for a file's name
    kind: Literal["drift", "quality"]
    model: str  #: what answers call it: vehicles:3
    signal: str  #: the first that moved; quality: what fell
    direction: Direction
    words: str  #: a sentence for people
    at: datetime  #: when the picture was asked with which it was sure enough
    since: datetime | None  #: when it began, as far as can be told
    first: int = 0  #: the number of the observation at which it began
    detail: str = ""  #: a second sentence: what else moved
    accuracy: AccuracyEstimate | None = None  #: what it costs, estimated on the pictures since
    matters: bool = True  #: whether accuracy is known, or estimated with some sureness, to fall
    acknowledged: bool = False


def describe(signal: Signal, direction: Direction) -> str:
    """A moved signal as a clause.

    >>> describe(Signal("brightness", "picture", "brightness"), "lower")
    'brightness is lower than in the reference'
    """
    words = signal.words
    if signal.group == "classes":
        share = {"higher": "more", "lower": "fewer"}.get(direction)
        if share is not None:
            return f"there are {share} {words} than in the reference"
        words = f"the number of {words}"
    return _WORDS[direction].format(words)


def describe_moved(moved: list[DriftAlarm], signals: dict[str, Signal]) -> str:
    """What else moved, as a sentence; empty where only one signal did."""
    others = [signals[each.signal].words for each in moved[1:]]
    if not others:
        return ""
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"Moved as well: {shown}."


def unlikeness(
    values: NDArray[np.floating],
    reference: NDArray[np.floating],
    moved: list[tuple[int, Direction]],
) -> NDArray[np.float64]:
    """How unlike the reference pictures are in the signals that moved, the way they moved.

    Args:
        values: float (m, S).
        reference: float (n, S).
        moved: columns, and where each of them went.

    Returns:
        float64 (m,): the mean of what each signal is off, in its standard deviations, at most 20
        each: one signal alone should not decide.
    """
    columns = [column for column, _ in moved]
    known = np.asarray(reference[:, columns], np.float64)
    with np.errstate(invalid="ignore"):
        mean = np.array([_mean(known[:, i]) for i in range(len(columns))])
        spread = np.array([_spread(known[:, i]) for i in range(len(columns))])
        off = (np.asarray(values[:, columns], np.float64) - mean) / spread
    for i, (_, direction) in enumerate(moved):
        off[:, i] = _turn(off[:, i], direction)
    return np.asarray(np.clip(np.nan_to_num(off, nan=0.0), -20, 20).mean(axis=1))


def _turn(off: NDArray[np.float64], direction: Direction) -> NDArray[np.float64]:
    """So that what went where the signal went is high."""
    if direction in ("wider", "narrower"):
        off = np.abs(off)
    return off if direction in ("higher", "wider") else -off


def _mean(column: NDArray[np.float64]) -> float:
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else 0.0


def _spread(column: NDArray[np.float64]) -> float:
    known = column[~np.isnan(column)]
    return max(float(known.std()), 1e-6) if len(known) else 1.0
