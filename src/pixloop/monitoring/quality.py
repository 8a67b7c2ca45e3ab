"""How right the answers were that people checked, and whether that is too rarely.

Only pictures that were drawn at random judge a model. An answer's value is 1 where it was right and
0 where not; a detection's is the share of its boxes that were right (pictures without any box tell
nothing of it). While the mean of values is at least m = expected - drop, each of::

    K_t = Π_i (1 + λ (m - x_i)),    0 < λ < 1 / (1 - m)

is a supermartingale, and so is their mean over a fixed grid of λ: the chance that it ever reaches
1/α is at most α, however often one looks (I. Waudby-Smith and A. Ramdas, Estimating means of
bounded random variables by betting, 2024, section 4).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Task

_BETS = np.linspace(0.02, 0.95, 24)
#: Of a standard normal: 95 % lie within.
_Z = 1.959964
#: Labels in a point of a curve over time.
WINDOW = 100


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Checked(_Part):
    """An answer that a person checked."""

    sha256: str
    at: datetime  #: when the picture was asked
    value: float | None  #: 0 to 1; None where the answer says nothing that could be right
    #: classification: (what is true, what was answered)
    pair: tuple[str, str] | None = None
    found: int = 0  #: detection: boxes that were right
    answered: int = 0  #: … that were answered
    present: int = 0  #: … that people see
    #: detection: (label, score, right) of each answered box
    boxes: tuple[tuple[str, float, bool], ...] = ()
    #: detection: the labels that people see
    true: tuple[str, ...] = ()


class QualityWindow(_Part):
    """The quality of some labels that follow one another."""

    start: datetime
    end: datetime
    labels: int
    value: float
    low: float  #: with ``high``, an interval of 95 %
    high: float


class Quality(_Part):
    """How right the answers were that people checked."""

    metric: Literal["accuracy", "share of right boxes"]
    value: float
    low: float  #: with ``high``, an interval of 95 %
    high: float
    expected: float  #: the evaluation's, or where it is not known the reference's
    least: float  #: below which it is an alarm
    labels: int  #: pictures that judge it
    figures: dict[str, float]  #: macro F1; detection: precision, recall, F1, AP50
    evidence: float  #: the logarithm of the capital over its limit; 0 and above is an alarm
    alarm: int | None  #: the number of labels with which it was sure enough
    windows: tuple[QualityWindow, ...]


def summarise(
    checked: Sequence[Checked], expected: float, drop: float, false_alarm: float, start: int = 0
) -> Quality | None:
    """The quality of checked answers, in the order in which they became known.

    Args:
        checked: all of them.
        expected: the evaluation's value.
        drop: how far below that is an alarm.
        false_alarm: the chance of ever an alarm while there is no such drop.
        start: the first that the test looks at: those before it were acknowledged.

    Returns:
        None where nothing was checked that tells anything.
    """
    known = [each for each in checked if each.value is not None]
    if not known:
        return None
    values = np.array([each.value for each in known], np.float64)
    fresh = np.array([e.value for e in checked[start:] if e.value is not None], np.float64)
    least = max(expected - drop, 0.0)
    evidence = bet_below(fresh, least) + np.log(false_alarm)
    crossed = np.flatnonzero(evidence >= 0)
    boxes = known[0].pair is None
    low, high = interval(values, not boxes)
    return Quality(
        metric="share of right boxes" if boxes else "accuracy",
        value=float(values.mean()),
        low=low,
        high=high,
        expected=expected,
        least=least,
        labels=len(known),
        figures=_box_figures(checked) if boxes else {"f1_macro": _macro_f1(known)},
        evidence=float(evidence[-1]) if len(evidence) else float(np.log(false_alarm)),
        alarm=int(crossed[0]) + 1 if len(crossed) else None,
        windows=_windows(sorted(known, key=lambda e: e.at), not boxes),
    )


def expected_value(
    task: Task, metrics: Mapping[str, float], correct: NDArray[np.floating]
) -> float:
    """What the mean of checked answers' values should be.

    Args:
        task: of the model.
        metrics: of its evaluation; may be empty.
        correct: the reference's values, NaN where one is not known.
    """
    if task == "classification" and "accuracy" in metrics:
        return metrics["accuracy"]
    known = np.asarray(correct, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else 1.0


def bet_below(values: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """The logarithm of the capital of bets that the mean lies below ``least``, after each value.

    Args:
        values: float64 (n,), from 0 to 1.
        least: from 0 to 1.
    """
    if not len(values):
        return np.empty(0)
    bets = _BETS / max(1.0 - least, 1e-3)
    steps = np.log1p(bets * (least - values[:, None]))
    return np.asarray(np.logaddexp.reduce(np.cumsum(steps, axis=0), axis=1) - np.log(len(bets)))


def interval(values: NDArray[np.float64], binary: bool) -> tuple[float, float]:
    """A mean's 95 % interval: Wilson's (1927) for zeros and ones, else the normal one."""
    n, mean = len(values), float(values.mean())
    if binary:
        z2 = _Z * _Z / n
        middle = (mean + z2 / 2) / (1 + z2)
        half = _Z / (1 + z2) * np.sqrt(mean * (1 - mean) / n + z2 / (4 * n))
    else:
        middle, half = mean, _Z * values.std() / np.sqrt(n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _windows(known: Sequence[Checked], binary: bool) -> tuple[QualityWindow, ...]:
    found = []
    for start in range(0, len(known), WINDOW):
        part = known[start : start + WINDOW]
        values = np.array([each.value for each in part], np.float64)
        low, high = interval(values, binary)
        found.append(
            QualityWindow(
                start=part[0].at,
                end=part[-1].at,
                labels=len(part),
                value=float(values.mean()),
                low=low,
                high=high,
            )
        )
    return tuple(found)


def _macro_f1(known: Sequence[Checked]) -> float:
    pairs = [each.pair for each in known if each.pair is not None]
    scores = []
    for label in sorted({true for true, _ in pairs}):
        right = sum(true == said == label for true, said in pairs)
        either = sum((true == label) + (said == label) for true, said in pairs)
        scores.append(2 * right / either)
    return float(np.mean(scores)) if scores else 0.0


def _box_figures(checked: Sequence[Checked]) -> dict[str, float]:
    found, answered, present = (
        sum(getattr(each, name) for each in checked) for name in ("found", "answered", "present")
    )
    return {
        "precision": found / answered if answered else 0.0,
        "recall": found / present if present else 0.0,
        "f1": 2 * found / (answered + present) if answered + present else 0.0,
        "ap50": _mean_ap(checked),
    }


def _mean_ap(checked: Sequence[Checked]) -> float:
    """Mean over classes of the area below precision over recall, at IoU 0.5."""
    precisions = []
    for label in sorted({label for each in checked for label in each.true}):
        present = sum(each.true.count(label) for each in checked)
        boxes = [(s, right) for each in checked for (of, s, right) in each.boxes if of == label]
        boxes.sort(key=lambda box: -box[0])
        right = np.array([r for _, r in boxes], np.float64)
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        # What counts at a recall is the best precision there or beyond (as in VOC from 2010 on).
        best = np.maximum.accumulate(precision[::-1])[::-1]
        precisions.append(float((best * right).sum() / present))
    return float(np.mean(precisions)) if precisions else 0.0
