"""What a version's drift alarm notices, and how often it is wrong: measured at export.

Clean pictures: reference and validation pictures are mixed and cut anew into a reference and a
stream, which makes the two exactly exchangeable. Corrupted ones: each of the 15 corruptions of
ImageNet-C at five severities; ``streams.Shift`` says how streams are made of a few pictures.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.data.corruptions import CORRUPTIONS, SEVERITIES
from pixloop.monitoring.corrupted import Original, in_full_size, open_original
from pixloop.monitoring.signals import Answer, Signal
from pixloop.monitoring.streams import Alarmed, Shift, Values, clean_stream, replay
from pixloop.progress import progress

#: Corrupted streams end here.
MOST_PICTURES = 2000
CLEAN_STREAMS, STREAMS = 200, 15
# Longer ones would take minutes; the benchmark has them.
_LONGEST_CLEAN = 1000
_LEAST_POOL = 20
_THREADS = 2


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CleanOdds(_Part):
    """How often pictures like the reference's raised an alarm."""

    streams: int
    pictures: int  #: in each stream; as many as there are beside its reference
    reference: int  #: pictures in the reference of each
    alarms: int  #: streams with an alarm
    low: float  #: with ``high``, the 95 % interval of the rate (Clopper and Pearson 1934)
    high: float


class CorruptionOdds(_Part):
    """What came of one corruption at one severity."""

    corruption: str
    severity: int
    pictures: int | None  #: median until the alarm; None where half of the streams had none
    noticed: float  #: the share of streams with an alarm
    signal: str | None  #: which moved first, most often
    accuracy: float | None  #: of the answers to corrupted pictures; None where there are none
    score: float | None  #: their mean score
    mix_shift: float  #: how far the answers' mix of classes moved, from 0 to 1


class Odds(_Part):
    """The content of reference/odds.json."""

    false_alarm: float  #: the chance that was asked for
    most_pictures: int  #: streams of corrupted pictures end here
    pictures: int  #: that were corrupted
    accuracy: float | None  #: of the answers to them as they are
    score: float | None  #: their mean score
    clean: CleanOdds | None  #: None where there are too few pictures
    corruptions: tuple[CorruptionOdds, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """A model and what watches it.

    Attributes:
        signals: what is watched.
        predict: from encoded pictures to answers.
        measure: from encoded pictures and answers to values, float32 (N, S).
        judge: from the answers to the pictures that are corrupted, in their order and size, to
            their scores and to whether they are right, float32 (N,) both, NaN where there is none.
    """

    signals: Sequence[Signal]
    predict: Callable[[Sequence[bytes]], Sequence[Answer]]
    measure: Callable[[Sequence[bytes], Sequence[Answer]], Values]
    judge: Callable[[Sequence[Answer]], tuple[NDArray[np.float32], NDArray[np.float32]]]


def measure_odds(
    watched: Watched,
    reference: Values,
    others: Values,
    pictures: Sequence[bytes],
    false_alarm: float,
    seed: int = 0,
) -> Odds:
    """Measure what an alarm notices, and how often it is wrong.

    Args:
        watched: the model, and what watches it.
        reference: float32 (n, S), the reference's values.
        others: float32 (m, S), of further clean pictures: with the reference's they are mixed.
        pictures: held-out ones, to be corrupted; those that are judged.
        false_alarm: the chance of ever a false alarm that is asked for.
        seed: the same one gives the same odds.
    """
    pool = np.concatenate([reference, others])
    originals = [open_original(picture) for picture in pictures]
    total = CLEAN_STREAMS + len(CORRUPTIONS) * len(SEVERITIES) * bool(originals)
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="odds") as threads,
        progress("measuring what the drift alarm notices", total) as advance,
    ):
        clean = _measure_clean(watched, pool, len(reference), false_alarm, seed, threads)
        advance(CLEAN_STREAMS)
        if not originals:
            plain, found = None, []
        else:
            plain = _look(watched, originals, [o.encode(o.pixels) for o in originals])

            def attempt(case: tuple[str, int]) -> CorruptionOdds:
                odds = _measure_case(watched, reference, originals, plain, case, false_alarm, seed)
                advance(1, f"{case[0]} {case[1]}")
                return odds

            cases = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
            found = list(threads.map(attempt, cases))
    return Odds(
        false_alarm=false_alarm,
        most_pictures=MOST_PICTURES,
        pictures=len(originals),
        accuracy=plain.accuracy if plain else None,
        score=plain.score if plain else None,
        clean=clean,
        corruptions=tuple(found),
    )


def rate_interval(count: int, total: int) -> tuple[float, float]:
    """The exact 95 % interval of a rate (Clopper and Pearson 1934).

    >>> low, high = rate_interval(0, 200)
    >>> low, round(high, 4)
    (0.0, 0.0183)
    """
    from scipy.stats import beta  # takes most of a second, and whoever only reads needs none

    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


def _measure_clean(
    watched: Watched,
    pool: Values,
    reference: int,
    false_alarm: float,
    seed: int,
    threads: ThreadPoolExecutor,
) -> CleanOdds | None:
    if len(pool) < _LEAST_POOL:
        return None
    size = min(reference, len(pool) // 2)
    length = min(len(pool) - size, _LONGEST_CLEAN)

    def attempt(number: int) -> Alarmed | None:
        random = np.random.default_rng([seed, number])
        parts = clean_stream(pool, size, length, random)
        return replay(watched.signals, *parts, false_alarm, int(random.integers(2**32)))

    alarms = sum(alarm is not None for alarm in threads.map(attempt, range(CLEAN_STREAMS)))
    low, high = rate_interval(alarms, CLEAN_STREAMS)
    return CleanOdds(
        streams=CLEAN_STREAMS, pictures=length, reference=size, alarms=alarms, low=low, high=high
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the model and what watches it make of pictures."""

    values: Values
    accuracy: float | None
    score: float | None


def _look(watched: Watched, originals: Sequence[Original], pictures: Sequence[bytes]) -> _Seen:
    answers = watched.predict(pictures)
    values = watched.measure(pictures, answers)
    scores, correct = watched.judge(in_full_size(answers, originals))
    return _Seen(values, _mean(correct), _mean(scores))


def _measure_case(
    watched: Watched,
    reference: Values,
    originals: Sequence[Original],
    plain: _Seen,
    case: tuple[str, int],
    false_alarm: float,
    seed: int,
) -> CorruptionOdds:
    name, severity = case
    number = CORRUPTIONS.index(name) * len(SEVERITIES) + severity
    pictures = [o.corrupted(name, severity, seed + place) for place, o in enumerate(originals)]
    seen = _look(watched, originals, pictures)
    shift = Shift(plain.values, seen.values)
    alarms = []
    for repetition in range(STREAMS):
        random = np.random.default_rng([seed, number, repetition])
        stream = shift.stream(reference, MOST_PICTURES, random)
        own = int(random.integers(2**32))
        alarms.append(replay(watched.signals, reference, stream, false_alarm, own))
    noticed = [alarm for alarm in alarms if alarm is not None]
    middle = median_low([alarm.at if alarm else MOST_PICTURES + 1 for alarm in alarms])
    first = Counter(alarm.signal for alarm in noticed).most_common(1)
    classes = [s for s, signal in enumerate(watched.signals) if signal.group == "classes"]
    return CorruptionOdds(
        corruption=name,
        severity=severity,
        pictures=middle if middle <= MOST_PICTURES else None,
        noticed=len(noticed) / len(alarms),
        signal=first[0][0] if first else None,
        accuracy=seen.accuracy,
        score=seen.score,
        mix_shift=_distance(plain.values[:, classes], seen.values[:, classes]),
    )


def complete_mix(classes: NDArray[np.floating]) -> NDArray[np.float64]:
    """How often each picture was answered with each class, and with none of those that are watched.

    >>> complete_mix(np.array([[1, 0], [0, 0], [2, 1]])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    known = np.nan_to_num(classes.astype(np.float64))
    return np.column_stack([known, np.maximum(1 - known.sum(axis=1), 0)])


def _distance(before: Values, after: Values) -> float:
    """Total variation between two mixes of classes of the same pictures."""
    one, other = complete_mix(before).sum(axis=0), complete_mix(after).sum(axis=0)
    return float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)


def _mean(values: NDArray[np.float32]) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values.astype(np.float64)))
