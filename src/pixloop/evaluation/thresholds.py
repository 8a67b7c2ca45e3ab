"""From which score on a prediction may be accepted without a person, with a promise.

Learn-then-Test (Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052): every candidate
threshold is a hypothesis, "among what it accepts, more than ``max_error`` is wrong", and one is
taken only where an exact binomial test rejects it. Candidates are tested in a fixed order, from
the strictest on, until the first that does not pass (fixed sequence testing, from several starts
that share the error: the paper's algorithm 1), so that looking at many thresholds costs nothing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from pixloop.bundle import Threshold

#: At most so many starts: more reach further on large sets, and cost power on small ones.
MAX_STARTS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """What each threshold accepts and how much of it is wrong, from the strictest on."""

    scores: NDArray[np.float64]  #: (C,) distinct thresholds, falling
    accepted: NDArray[np.int64]  #: (C,) pictures with at least that score
    wrong: NDArray[np.int64]  #: (C,) wrong ones among them


def selective_curve(scores: ArrayLike, correct: ArrayLike) -> Curve:
    """The accepted pictures and the wrong ones among them, at every distinct score.

    >>> curve = selective_curve([0.9, 0.5, 0.9], [True, False, True])
    >>> curve.scores.tolist(), curve.accepted.tolist(), curve.wrong.tolist()
    ([0.9, 0.5], [2, 3], [0, 1])
    """
    score, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    order = np.argsort(-score, kind="stable")
    score, wrong = score[order], np.cumsum(~right[order])
    # Pictures with equal scores are accepted together or not at all.
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else order
    return Curve(score[last], (last + 1).astype(np.int64), wrong[last].astype(np.int64))


def choose_threshold(
    scores: ArrayLike, correct: ArrayLike, max_error: float, confidence: float
) -> Threshold:
    """The lowest threshold whose accepted predictions err at most ``max_error``.

    With probability ``confidence`` over the draw of the calibration pictures the promise holds
    for new pictures like them, provided that surer answers are not wrong more often. At least
    ``log(1 - confidence) / log(1 - max_error)`` pictures are needed, 149 for 2 % and 95 %.

    Args:
        scores: shape (N,), the calibrated probability of each answer, 0 to 1.
        correct: shape (N,), whether the answer is right.
        max_error: the largest share of wrong answers among accepted ones, in (0, 1).
        confidence: how sure the promise is, in (0, 1).

    Returns:
        A threshold whose ``score`` is None where no candidate passes: nothing is accepted then.

    Raises:
        ValueError: the shapes differ, or a number lies outside its range.
    """
    score, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if score.ndim != 1 or score.shape != right.shape:
        raise ValueError(f"scores {score.shape} and correct {right.shape} must both be (N,)")
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError("scores must lie between 0 and 1")
    if not (0 < max_error < 1 and 0 < confidence < 1):
        raise ValueError("max_error and confidence must lie between 0 and 1")
    curve = selective_curve(score, right)
    chosen = _last_that_passes(curve, len(score), max_error, 1 - confidence)
    accepted = 0 if chosen is None else int(curve.accepted[chosen])
    return Threshold(
        score=None if chosen is None else float(curve.scores[chosen]),
        max_error=max_error,
        confidence=confidence,
        accepted_share=accepted / len(score) if len(score) else 0.0,
        error=None if chosen is None else int(curve.wrong[chosen]) / accepted,
        pictures=len(score),
    )


def _last_that_passes(curve: Curve, pictures: int, max_error: float, risk: float) -> int | None:
    """The position of the lowest threshold that passes, or None."""
    starts = sequence_starts(pictures, max_error, risk)
    if not starts:
        return None
    passes = binom.cdf(curve.wrong, curve.accepted, max_error) <= risk / len(starts)
    return last_in_sequences(passes, [int(np.searchsorted(curve.accepted, s)) for s in starts])


def last_in_sequences(passes: NDArray[np.bool_], starts: Iterable[int]) -> int | None:
    """The furthest position that some sequence reaches before its first failure, or None."""
    best = None
    for first in starts:
        failures = np.flatnonzero(~passes[first:])
        end = first + int(failures[0]) if len(failures) else len(passes)
        if end > first:
            best = max(end - 1, best or 0)
    return best


def sequence_starts(pictures: int, max_error: float, risk: float) -> list[int]:
    """How many pictures the first candidate of each sequence accepts.

    They follow from the number of pictures alone, for what is tested must not depend on what is
    found. The first is the least that could pass, with no error at all; each next is twice as
    large, and so forgives some early mistakes.
    """
    for count in range(MAX_STARTS, 0, -1):
        least = math.ceil(math.log(risk / count) / math.log1p(-max_error))
        if least << (count - 1) <= pictures:
            return [least << i for i in range(count)]
    return []
