"""A threshold for each predicted class, so that no class hides behind the others.

With one threshold for all, the promise is about all accepted answers together; of those that name a
rare class, any share may be wrong. Here each *predicted* class with enough calibration pictures has
its own threshold, and with it its own promise: of its accepted answers at most ``max_error`` are
wrong, with ``confidence``. Classes with fewer share one: their promise is about their answers
together. Which class is where follows from what is predicted and how often, never from whether it
is right, so that grouping costs the promises nothing.

Each promise is as sure as ``confidence`` by itself. That all G of them hold at once is at least
``1 - G * (1 - confidence)`` sure, and where they do, at most ``max_error`` of all accepted answers
together are wrong; of many thresholds, a share of ``1 - confidence`` may be expected to fail.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pixloop.bundle import Threshold, ThresholdGroup
from pixloop.config import ThresholdsConfig
from pixloop.evaluation.thresholds import choose_threshold

#: A class has its own threshold from so many times the least pictures that could ever pass on:
#: with the least alone, one mistake among them and nothing is accepted.
ENOUGH = 2


def least_pictures(max_error: float, confidence: float) -> int:
    """How many pictures could keep a promise, were none of them wrong.

    >>> least_pictures(0.02, 0.95), least_pictures(0.1, 0.95)
    (149, 29)
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error))


def group_classes(
    pictures: Mapping[str, int], max_error: float, confidence: float
) -> list[tuple[str, ...]]:
    """Which classes share a threshold: first those with their own, then the pool of the others.

    Args:
        pictures: of each class, how many calibration pictures have a prediction of it.
        max_error: as promised.
        confidence: of the promise.

    >>> group_classes({"cat": 300, "dog": 400, "eel": 9, "fox": 0}, 0.02, 0.95)
    [('cat',), ('dog',), ('eel', 'fox')]
    """
    enough = ENOUGH * least_pictures(max_error, confidence)
    own = [(label,) for label, count in pictures.items() if count >= enough]
    pool = tuple(label for label, count in pictures.items() if count < enough)
    return [*own, pool] if pool else list(own)


def choose_thresholds(
    scores: ArrayLike,
    answers: Sequence[str],
    correct: ArrayLike,
    classes: Sequence[str],
    promise: ThresholdsConfig,
) -> Threshold:
    """The lowest threshold of each group of classes, or of all classes together.

    Args:
        scores: (N,) the calibrated probability of each answer, 0 to 1.
        answers: (N,) the predicted classes; others than ``classes`` are in no group.
        correct: (N,) whether the answer is right.
        classes: all that can be predicted.
        promise: what is promised, and of what.

    Returns:
        Where all classes share one threshold, the same as ``choose_threshold``.
    """
    score, right = np.asarray(scores, np.float64), np.asarray(correct, np.bool_)
    together = choose_threshold(score, right, promise.max_error, promise.confidence)
    if promise.by == "all":
        return together
    counts = Counter(answers)
    groups = group_classes(
        {label: counts[label] for label in classes}, promise.max_error, promise.confidence
    )

    def choose(group: tuple[str, ...]) -> Threshold:
        of = np.array([answer in group for answer in answers], np.bool_)
        return choose_threshold(score[of], right[of], promise.max_error, promise.confidence)

    found = choose_by_group(groups, choose)
    if not found:
        return together
    threshold = join_groups(together, found)
    acceptance = threshold.acceptance
    taken = np.array([acceptance.accepts(*each) for each in zip(answers, score, strict=True)])
    return threshold.model_copy(
        update={
            "accepted_share": float(taken.mean()),
            "error": float((~right[taken]).mean()) if taken.any() else None,
        }
    )


def choose_by_group(
    groups: Sequence[tuple[str, ...]], choose: Callable[[tuple[str, ...]], Threshold]
) -> list[ThresholdGroup]:
    """The threshold of each group; of none where all classes are in one."""
    if len(groups) < 2:
        return []
    return [
        ThresholdGroup(
            classes=group,
            **choose(group).model_dump(include={"score", "accepted_share", "error", "pictures"}),
        )
        for group in groups
    ]


def join_groups(together: Threshold, groups: Sequence[ThresholdGroup]) -> Threshold:
    """The threshold of all classes, taken apart; what is accepted is still to be counted."""
    return Threshold.model_validate(
        {**together.model_dump(), "score": None, "groups": tuple(g.model_dump() for g in groups)}
    )
