"""What a monitor raises: the records, and the words that people read."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.errors import MonitoringError
from pixloop.files import write_text
from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.drift import DriftAlarm
from pixloop.monitoring.martingale import Direction
from pixloop.monitoring.quality import Checked, Quality
from pixloop.monitoring.signals import Signal

#: Signals that are named beside the first.
_NAMED = 5
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
    number: int = 0  #: the number of the observation with which it was sure
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


def drift_alarm(
    name: str,
    model: str,
    moved: Sequence[DriftAlarm],
    signals: Sequence[Signal],
    first: int,
    at: Callable[[int], datetime | None],
) -> Alarm:
    """What is told of signals that moved.

    Args:
        name: the alarm's id.
        model: what answers call it.
        moved: the first that moved, and those after it.
        signals: of the test.
        first: the number of the test's first observation.
        at: when the observation of a number was asked.
    """
    by_name = {signal.name: signal for signal in signals}
    found = moved[0]
    clause = describe(by_name[found.signal], found.direction)
    others = [by_name[each.signal].words for each in moved[1:]]
    return Alarm(
        id=name,
        kind="drift",
        model=model,
        signal=found.signal,
        direction=found.direction,
        words=f"{clause[0].upper()}{clause[1:]}.",
        at=at(first + found.at - 1) or datetime.now(UTC),
        since=at(first + found.since),
        first=first + found.since,
        number=first + found.at - 1,
        detail=_list_others(others),
    )


def quality_alarm(name: str, model: str, quality: Quality, checked: Sequence[Checked]) -> Alarm:
    """What is told where too many answers were wrong.

    Args:
        name: the alarm's id.
        model: what answers call it.
        quality: with its ``alarm``.
        checked: the answers that the test looked at.
    """
    known = [each for each in checked if each.value is not None]
    words = (
        f"Of what people checked, {quality.value:.1%} is right; it was {quality.expected:.1%} in "
        "the evaluation."
    )
    return Alarm(
        id=name,
        kind="quality",
        model=model,
        signal=quality.metric,
        direction="lower",
        words=words.replace("%", " %"),
        at=known[(quality.alarm or 1) - 1].at,
        since=known[0].at,
        detail=f"{quality.labels} pictures drawn at random were checked.",
    )


def _list_others(words: Sequence[str]) -> str:
    if not words:
        return ""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"Moved as well: {', '.join(words[:_NAMED])}{more}."


def publish(file: Path, known: Sequence[Alarm]) -> None:
    """Write alarms for other programs, if they have changed."""
    plain = [alarm.model_dump(mode="json") for alarm in known]
    text = json.dumps({"alarms": plain}, indent=2, ensure_ascii=False) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def are_open(known: Sequence[Alarm], seen: Collection[str] | None) -> bool:
    """Whether closing alarms would close any that were meant.

    Args:
        known: all alarms.
        seen: the ids of those that are meant; None for whatever is open.

    Raises:
        MonitoringError: one is open that was not seen, and would be closed with the others.
    """
    found = {alarm.id for alarm in known if not alarm.acknowledged}
    if seen is None:
        return True
    if found.isdisjoint(seen):
        return False
    if unseen := [alarm.words for alarm in known if alarm.id in found - set(seen)]:
        raise MonitoringError(f"another alarm was raised meanwhile; look at it first: {unseen[0]}")
    return True


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
