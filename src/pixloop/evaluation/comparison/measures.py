"""What two models are compared by, and how sure each difference is: the paired bootstrap.

Pictures are drawn with replacement (Efron 1979), the same ones for both models, so that what is
hard about a picture cancels out. Each measure is computed anew from what was drawn; the interval is
that of the percentiles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.precision import rank_classes, weighted_averages
from pixloop.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: From how often each picture counts, (R, N), to values (R,); NaN where one does not exist.
Value = Callable[[Ints], Floats]

RESAMPLES = 1000
_AT_ONCE = 100
_BINS = 15  # of scores, as in ``calibration``
# No test picture can show that a probability is exactly 0; the loss would be infinite.
_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about a model's answers."""

    name: str
    title: str
    more_is_better: bool | None  #: None where neither is
    share: bool  #: whether it is one, and differences are percentage points
    value: Value


@dataclass(frozen=True, slots=True)
class Difference:
    """A measure of both models.

    Attributes:
        measure: which.
        champion: its value; None where there is none, as the error where nothing is accepted.
        challenger: its value.
        difference: challenger minus champion.
        low: bounds of the difference, each with half of the error that the confidence leaves; None
            where nothing is known of them, as by the bootstrap where no picture differs.
        high: see ``low``.
    """

    measure: Measure
    champion: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def better(self) -> bool | None:
        """Whether the challenger is shown better; False for worse, None where it is neither."""
        if self.low is None or self.high is None or self.measure.more_is_better is None:
            return None
        if self.low <= 0 <= self.high:
            return None
        return (self.low > 0) == self.measure.more_is_better


def measures_of(answers: Any) -> list[Measure]:
    """Everything a model is measured by; the first is the mean of what each picture is worth.

    Args:
        answers: ``Predictions`` or ``Detections``.
    """
    if isinstance(answers, Predictions):
        return _of_classifier(answers)
    return _of_detector(answers)


def compare_measures(
    challenger: Any, champion: Any, confidence: float = 0.95, seed: int = 0
) -> list[Difference]:
    """Every measure of both models' answers to the same pictures."""
    ours, theirs = measures_of(challenger), measures_of(champion)
    return compare_values(ours, theirs, len(challenger), confidence, seed)


def compare_values(
    challenger: Sequence[Measure],
    champion: Sequence[Measure],
    pictures: int,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """Every measure of both models, each the same for both, on N pictures."""
    rng = np.random.default_rng(seed)
    once = np.ones((1, pictures), np.int64)
    drawn: list[list[Floats]] = [[] for _ in challenger]
    for _ in range(0, RESAMPLES, _AT_ONCE):
        times = rng.multinomial(pictures, np.full(pictures, 1 / pictures), _AT_ONCE)
        for each, ours, theirs in zip(drawn, challenger, champion, strict=True):
            each.append(ours.value(times) - theirs.value(times))
    found = []
    for each, ours, theirs in zip(drawn, challenger, champion, strict=True):
        a, b = float(theirs.value(once)[0]), float(ours.value(once)[0])
        known = np.concatenate(each)
        known = known[np.isfinite(known)]
        both = np.isfinite(a) and np.isfinite(b)
        # Where no picture differs, the bootstrap knows of no difference at all, which is no bound.
        moved = both and len(known) > 0 and np.ptp(known) > 0
        tails = (1 - confidence) / 2, (1 + confidence) / 2
        low, high = np.quantile(known, tails) if moved else (None, None)
        found.append(
            Difference(
                measure=ours,
                champion=a if np.isfinite(a) else None,
                challenger=b if np.isfinite(b) else None,
                difference=b - a if both else None,
                low=None if low is None else float(low),
                high=None if high is None else float(high),
            )
        )
    return found


# ---- classification


def _of_classifier(answers: Predictions) -> list[Measure]:
    right = answers.correct.astype(np.float64)
    accepted = answers.accepted.astype(np.float64)
    given = answers.probabilities[np.arange(len(answers)), answers.targets]
    # Brier 1950, over all classes: from 0 to 2.
    brier = ((answers.probabilities - np.eye(len(answers.classes))[answers.targets]) ** 2).sum(1)
    return [
        Measure("accuracy", "accuracy", True, True, mean(right)),
        Measure("f1_macro", "macro F1", True, True, _macro_f1(answers)),
        Measure(
            "log_loss",
            "log loss",
            False,
            False,
            mean(-np.log(np.maximum(given, _LEAST_PROBABILITY))),
        ),
        Measure("brier", "Brier score", False, False, mean(brier)),
        Measure("ece", "calibration error", False, True, _ece(answers.scores, right)),
        Measure("accepted_share", "accepted", None, True, mean(accepted)),
        Measure(
            "accepted_error",
            "wrong among accepted",
            False,
            True,
            ratio(accepted * (1 - right), accepted),
        ),
    ]


def mean(values: Floats) -> Value:
    """The mean of values of N pictures, (N,)."""
    return lambda times: np.asarray(times @ values / times.sum(axis=1))


def ratio(over: Floats, under: Floats) -> Value:
    """The sum of some values (N,) over that of others, NaN where that is 0."""

    def value(times: Ints) -> Floats:
        below, missing = times @ under, np.full(len(times), np.nan)
        return np.asarray(np.divide(times @ over, below, out=missing, where=below > 0))

    return value


def _macro_f1(answers: Predictions) -> Value:
    """As ``metrics.measure`` has it: a class without a picture counts as 0."""
    columns = np.arange(len(answers.classes))
    true = (answers.targets[:, None] == columns).astype(np.float64)
    said = (answers.predicted[:, None] == columns).astype(np.float64)

    def value(times: Ints) -> Floats:
        f1: Floats = 2 * (times @ (true * said)) / np.maximum(times @ (true + said), 1e-300)
        return np.asarray(f1.mean(axis=1))

    return value


def _ece(scores: Floats, right: Floats) -> Value:
    """The expected calibration error, as ``calibration.calibration_error`` has it."""
    bins = np.clip(np.ceil(scores * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    gaps = (right - scores)[:, None] * (bins[:, None] == np.arange(_BINS))
    return lambda times: np.asarray(np.abs(times @ gaps).sum(axis=1) / times.sum(axis=1))


# ---- detection


def _of_detector(answers: Detections) -> list[Measure]:
    matches, pictures = answers.matches, len(answers)
    judged = answers.shown & ~matches.ignored
    picture, right = matches.picture[judged], matches.right[judged].astype(np.float64)
    accepted = answers.accepted[judged].astype(np.float64)

    def count(values: Floats) -> Floats:
        return np.asarray(np.bincount(picture, values, minlength=pictures), np.float64)

    taken, wrong = count(accepted), count(accepted * (1 - right))
    # What the threshold promises: the mean, over pictures with accepted boxes, of the wrong share.
    with_boxes = (taken > 0).astype(np.float64)
    share = wrong / np.maximum(taken, 1)
    return [
        Measure("f1", "F1 of the pictures", True, True, mean(answers.picture_f1)),
        Measure("map_50", "mean AP50", True, True, _mean_ap50(answers)),
        Measure("f1_macro", "macro F1 of the boxes", True, True, _box_f1(answers)),
        Measure("ece", "calibration error", False, True, _box_ece(answers)),
        Measure(
            "accepted_share", "boxes accepted", None, True, ratio(taken, count(np.ones(len(right))))
        ),
        Measure(
            "accepted_error",
            "wrong among a picture’s accepted",
            False,
            True,
            ratio(share * with_boxes, with_boxes),
        ),
    ]


def _mean_ap50(answers: Detections) -> Value:
    matches, ranked = answers.matches, rank_classes(answers.matches)

    def one(times: Ints) -> float:
        averages = weighted_averages(matches, ranked, times)
        return float(np.mean(averages)) if averages else float("nan")

    return lambda times: np.array([one(row) for row in times])


def _box_f1(answers: Detections) -> Value:
    """As ``detection.summary.operating_point`` has it."""
    matches, shape = answers.matches, answers.matches.true_boxes.shape
    judged = answers.shown & ~matches.ignored
    said, hit = np.zeros(shape), np.zeros(shape)
    np.add.at(said, (matches.picture[judged], matches.label[judged]), 1)
    right = judged & matches.right
    np.add.at(hit, (matches.picture[right], matches.label[right]), 1)
    both = said + matches.true_boxes

    def value(times: Ints) -> Floats:
        f1: Floats = 2 * (times @ hit) / np.maximum(times @ both, 1)
        return np.asarray(f1.mean(axis=1))

    return value


def _box_ece(answers: Detections) -> Value:
    matches = answers.matches
    judged = answers.shown & ~matches.ignored
    scores = answers.scores[judged]
    bins = np.clip(np.ceil(scores * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    gaps, boxes = np.zeros((len(answers), _BINS)), np.zeros(len(answers))
    np.add.at(gaps, (matches.picture[judged], bins), matches.right[judged] - scores)
    np.add.at(boxes, matches.picture[judged], 1)

    def value(times: Ints) -> Floats:
        total, off = times @ boxes, np.abs(times @ gaps).sum(axis=1)
        return np.asarray(np.divide(off, total, out=np.zeros(len(times)), where=total > 0))

    return value
