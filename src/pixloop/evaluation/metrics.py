"""How good the answers are: accuracy, precision, recall and F, a class and over all.

Everything follows from the confusion matrix, counts of shape (K, K): the true class chooses the
row, the answer the column.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]

_Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class's metrics; each is 0 where its denominator is."""

    pictures: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a whole test set. Macro means weigh all classes equally."""

    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    classes: tuple[ClassMetrics, ...]


def confusion_matrix(targets: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """Counts of shape (K, K) from true and answered indices, both (N,).

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    rows, columns = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def measure(confusion: Counts) -> Metrics:
    """Every metric of a confusion matrix, (K, K).

    A class without a picture counts as 0 in the means: nothing was shown of it, and a gate must
    not pass on classes that were never tested. (scikit-learn does so when ``labels`` names it.)
    """
    precision, recall, f1 = precision_recall_f(confusion, beta=1.0)
    support = confusion.sum(axis=1)

    def mean(values: Values) -> float:
        return float(values.mean()) if len(values) else 0.0

    return Metrics(
        accuracy=float(confusion.trace() / max(confusion.sum(), 1)),
        precision_macro=mean(precision),
        recall_macro=mean(recall),
        f1_macro=mean(f1),
        classes=tuple(
            ClassMetrics(int(support[k]), float(precision[k]), float(recall[k]), float(f1[k]))
            for k in range(len(confusion))
        ),
    )


def precision_recall_f(confusion: Counts, beta: float) -> tuple[Values, Values, Values]:
    """Precision, recall and F-beta of each class, all (K,), 0 where the denominator is 0."""
    right = confusion.diagonal().astype(np.float64)
    answered, true = confusion.sum(axis=0), confusion.sum(axis=1)
    weight = beta * beta
    return (
        right / np.maximum(answered, 1),
        right / np.maximum(true, 1),
        (1 + weight) * right / np.maximum(weight * true + answered, 1e-300),
    )


def wilson_interval(right: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), sound for few and for perfect counts too.

    Where ``right`` is a sum of shares rather than a count, the interval is wider than it need be.

    >>> low, high = wilson_interval(95, 100)
    >>> round(low, 3), round(high, 3)
    (0.888, 0.978)
    >>> wilson_interval(0, 35)[0], wilson_interval(35, 35)[1]
    (0.0, 1.0)
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, _Z_95 * _Z_95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    spread = share * (1 - share) / total + z2 / (4 * total * total)
    half = _Z_95 * math.sqrt(spread) / (1 + z2 / total)
    # Exactly none and exactly all are bounds of their own: the sums miss them by a rounding.
    low = 0.0 if right <= 0 else max(0.0, middle - half)
    return low, 1.0 if right >= total else min(1.0, middle + half)
