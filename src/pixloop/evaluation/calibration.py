"""Do the probabilities mean what they say? Temperature scaling, and how far off they are.

Guo et al. 2017, "On Calibration of Modern Neural Networks": one number, the temperature, divides
the logits so that among answers given with 90 % about 90 % are right. It changes no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# The server's own, so that what is calibrated is what is served.


#: Temperatures are sought between these; random answers would drive it to infinity.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of a reliability diagram: answers whose score lies in (low, high]."""

    low: float
    high: float
    pictures: int  #: how many answers; in detection, boxes
    confidence: float  #: the mean score
    accuracy: float  #: the share that is right


def negative_log_likelihood(
    logits: ArrayLike, targets: ArrayLike, temperature: float = 1.0
) -> float:
    """The mean of -log p(target): logits (N, K), targets (N,) indices; never infinite.

    >>> round(negative_log_likelihood([[0.0, 0.0]], [1]), 4)
    0.6931
    """
    index = np.asarray(targets, dtype=np.int64)
    return float(-_log_softmax(logits, temperature)[np.arange(len(index)), index].mean())


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """The temperature that makes held-out answers most likely (Guo et al. 2017, section 4.2).

    The negative log-likelihood is minimised over the logarithm of the temperature, between
    ``MIN_TEMPERATURE`` and ``MAX_TEMPERATURE``. As in Platt 1999, 1 / (N + 2) of each target's
    weight goes to the other classes: where all N answers are right, the likelihood alone would
    make every probability 0 or 1, which N pictures cannot show. On many pictures it changes
    nothing. Where every picture ties, or there is none, the temperature is 1.

    Args:
        logits: shape (N, K), of pictures that chose nothing about the model.
        targets: shape (N,), the index of the true class.

    Raises:
        ValueError: the shapes do not belong together, or a logit is not finite.
    """
    scores, index = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.int64)
    if scores.ndim != 2 or index.shape != scores.shape[:1]:
        raise ValueError(f"logits {scores.shape} and targets {index.shape} do not match (N, K)")
    if not np.isfinite(scores).all():
        raise ValueError("the logits are not all finite")
    if scores.size == 0 or np.ptp(scores, axis=1).max() == 0:
        return 1.0
    doubt = 1.0 / (len(scores) + 2)
    weights = np.full(scores.shape, doubt / (scores.shape[1] - 1))
    weights[np.arange(len(index)), index] = 1.0 - doubt
    found = minimize_scalar(
        lambda x: -float((weights * _log_softmax(scores, np.exp(x))).sum(axis=1).mean()),
        bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def reliability(
    probabilities: ArrayLike, targets: ArrayLike, bins: int = 15
) -> list[ReliabilityBin]:
    """The bins of a reliability diagram, equally wide, empty ones left out.

    Args:
        probabilities: shape (N, K), each row summing to 1.
        targets: shape (N,), the index of the true class.
        bins: how many equal parts the range 0 to 1 is cut into.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    if len(table) == 0:
        return []
    return score_reliability(table.max(axis=1), table.argmax(axis=1) == np.asarray(targets), bins)


def score_reliability(scores: ArrayLike, right: ArrayLike, bins: int = 15) -> list[ReliabilityBin]:
    """The same of scores (N,), 0 to 1, that come with whether the answer is right (N,)."""
    score, correct = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    # (low, high]: a score of exactly 1 belongs to the last bin.
    place = np.clip(np.ceil(score * bins).astype(np.int64) - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            pictures=int((place == b).sum()),
            confidence=float(score[place == b].mean()),
            accuracy=float(correct[place == b].mean()),
        )
        for b in np.unique(place)
    ]


def expected_calibration_error(
    probabilities: ArrayLike, targets: ArrayLike, bins: int = 15
) -> float:
    """The mean distance between score and accuracy over the bins, weighted by their pictures.

    Naeini et al. 2015, with equally wide bins of the top score. 0 is perfect, 1 the worst; 0
    where there are no pictures.

    >>> round(expected_calibration_error([[0.8, 0.2]] * 4, [0, 0, 0, 1]), 3)
    0.05
    """
    return calibration_error(reliability(probabilities, targets, bins))


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The expected calibration error of a reliability diagram; 0 without any bin."""
    total = sum(b.pictures for b in bins)
    return sum(b.pictures / total * abs(b.accuracy - b.confidence) for b in bins)


def _log_softmax(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(log_softmax(scaled, axis=1), dtype=np.float64)
