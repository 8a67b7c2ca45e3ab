"""What a detector's scores mean, and from which one on a box is worth showing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from pixloop.bundle import BoxScores
from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import Floats, Matches, match_boxes
from pixloop.serving.detector import Found, read_scores

#: With fewer boxes than this, a fitted scaling is mostly chance.
LEAST_BOXES = 50
#: ``minimum`` lies between these; it is the first of the next where no box is right.
LEAST_MINIMUM, LARGEST_MINIMUM, DEFAULT_MINIMUM = 0.05, 0.9, 0.5

# Slopes and offsets are sought between these; separable scores would drive them to infinity.
_SLOPES, _OFFSETS = (0.05, 20.0), (-20.0, 20.0)


def fit_box_scores(found: Sequence[Found], truth: Sequence[Objects], num_classes: int) -> BoxScores:
    """What the scores mean and which are worth showing, from pictures that chose nothing.

    A box is right where it is a true one at IoU 0.5; those in crowd regions do not count. The
    minimum is the score that gives the best mean F1 over the classes on these pictures, half-way
    to the next lower box, between 0.05 and 0.9. Of scores that do equally well the highest is
    taken, which shows the fewest boxes. Where no box is right, it is 0.5.

    Args:
        found: what the detector found in each picture.
        truth: what is in it.
        num_classes: labels are indices below it.
    """
    matches = match_boxes(found, truth, num_classes)
    counted = ~matches.ignored
    raw, right = matches.score[counted], matches.right[counted]
    slope, offset = fit_platt(raw, right)
    scale = BoxScores(slope=slope, offset=offset)
    return scale.model_copy(update={"minimum": best_minimum(matches, read_scores(raw, scale))})


def fit_platt(raw: ArrayLike, right: ArrayLike) -> tuple[float, float]:
    """Slope and offset that make the outcomes most likely (Platt 1999).

    The score is ``1 / (1 + exp(-(slope * logit(raw) + offset)))``. As Platt does, the targets are
    ``(N₊ + 1) / (N₊ + 2)`` and ``1 / (N₋ + 2)`` rather than 1 and 0. The slope stays above 0, so
    that the order of the boxes remains. Fewer than ``LEAST_BOXES`` boxes, or outcomes that are
    all the same, change nothing: (1, 0).

    Args:
        raw: shape (N,), scores as the detector gives them, 0 to 1.
        right: shape (N,), whether the box is a true one.
    """
    outcome = np.asarray(right, np.bool_)
    hits, misses = int(outcome.sum()), int((~outcome).sum())
    if hits + misses < LEAST_BOXES or not hits or not misses:
        return 1.0, 0.0
    targets = np.where(outcome, (hits + 1) / (hits + 2), 1 / (misses + 2))
    inside = read_scores(np.asarray(raw, np.float64), BoxScores())
    logits = np.log(inside) - np.log1p(-inside)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        answers = parameters[0] * logits + parameters[1]
        value = np.logaddexp(0, answers) - targets * answers
        error = expit(answers) - targets
        return float(value.mean()), np.array([(error * logits).mean(), error.mean()])

    best = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[_SLOPES, _OFFSETS]
    )
    return float(best.x[0]), float(best.x[1])


def best_minimum(matches: Matches, scores: Floats) -> float:
    """The score from which on the boxes give the best macro F1.

    Args:
        matches: of the pictures, at IoU 0.5.
        scores: (B',) calibrated scores of the boxes that are not ignored, in their order.
    """
    rows = np.flatnonzero(~matches.ignored)
    order = np.argsort(-scores, kind="stable")
    score, rows = scores[order], rows[order]
    if not matches.right[rows].any():
        return DEFAULT_MINIMUM
    mean = np.zeros(len(rows))
    for k, true_boxes in enumerate(matches.true_boxes.sum(axis=0)):
        of_class = matches.label[rows] == k
        shown, hits = np.cumsum(of_class), np.cumsum(of_class & matches.right[rows])
        mean += 2 * hits / np.maximum(shown + true_boxes, 1)
    # Boxes with equal scores are shown together or not at all.
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    best = last[mean[last].argmax()]
    below = score[best + 1] if best + 1 < len(score) else 0.0
    return float(np.clip((score[best] + below) / 2, LEAST_MINIMUM, LARGEST_MINIMUM))
