"""From which score on a box may be accepted without a person, with a promise about pictures.

The boxes of one picture are not independent, so the promise is about pictures: of the boxes that
are accepted in a picture, the share that is wrong, averaged over the pictures with accepted
boxes, is at most ``max_error``. Learn-then-Test as in ``evaluation/thresholds.py``, with a
test for a mean of losses between 0 and 1 that bets on them (Waudby-Smith and Ramdas 2024,
"Estimating means of bounded random variables by betting", https://arxiv.org/abs/2010.09686).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixloop.bundle import BoxScores, Threshold
from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import Bools, Floats, Ints, Matches, match_boxes
from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.thresholds import last_in_sequences, sequence_starts
from pixloop.serving.detector import Found, read_scores

#: Candidates: raw scores with these logits, from 0.999994 to 0.0025. They are fixed before any
#: picture is seen; scaling keeps their order, so that its fit does not touch the promise.
CANDIDATES: Floats = np.round(np.arange(12.0, -6.05, -0.1), 6)


@dataclass(frozen=True, slots=True)
class BoxCurve:
    """What each threshold accepts and how much of it is wrong, from the strictest on."""

    scores: Floats  #: (C,) thresholds, falling
    boxes: Ints  #: (C,) accepted boxes
    wrong: Ints  #: (C,) wrong ones among them
    pictures: Ints  #: (C,) pictures with accepted boxes
    shares: Floats  #: (N, C) of wrong ones among each picture's accepted boxes, NaN without any
    error: Floats  #: (C,) the mean of the shares, 0 without any
    variance: Floats  #: (C,) of the shares

    def interval(self, index: int) -> tuple[float, float]:
        """The 95 % interval of an error.

        Wilson's, as if of so many independent boxes as would make the mean vary as much (the
        effective sample size of Korn and Graubard 1998), at least as many as there are pictures
        and at most as there are boxes.
        """
        error, pictures = float(self.error[index]), int(self.pictures[index])
        alike = pictures * error * (1 - error) / max(float(self.variance[index]), 1e-12)
        size = int(min(max(alike, pictures), int(self.boxes[index])))
        return wilson_interval(error * size, size)


def accept_boxes(picture: Ints, scores: Floats, right: Bools, thresholds: Floats) -> BoxCurve:
    """What thresholds do to boxes, of which none lies in a crowd region.

    Args:
        picture: (B,) index of each box's picture.
        scores: (B,) 0 to 1.
        right: (B,) whether it is a true box.
        thresholds: (C,) falling.
    """
    pictures = int(picture.max()) + 1 if len(picture) else 0
    # A box is accepted from its own column on; sums along a row give each threshold's counts.
    column = np.searchsorted(-thresholds, -scores, side="left")
    shape = (pictures, len(thresholds) + 1)
    accepted, wrong = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(accepted, (picture, column), 1)
    np.add.at(wrong, (picture, column), ~right)
    accepted = accepted.cumsum(axis=1, out=accepted)[:, :-1]
    wrong = wrong.cumsum(axis=1, out=wrong)[:, :-1]
    shares = np.divide(wrong, accepted, out=np.full(accepted.shape, np.nan), where=accepted > 0)
    with_boxes = (accepted > 0).sum(axis=0)
    count = np.maximum(with_boxes, 1)
    error = np.nansum(shares, axis=0) / count
    return BoxCurve(
        scores=thresholds,
        boxes=accepted.sum(axis=0),
        wrong=wrong.sum(axis=0),
        pictures=with_boxes,
        shares=shares,
        error=error,
        variance=np.nansum((shares - error) ** 2, axis=0) / count,
    )


def choose_box_threshold(
    found: Sequence[Found],
    truth: Sequence[Objects],
    box_scores: BoxScores,
    max_error: float,
    confidence: float,
) -> Threshold:
    """The lowest threshold that keeps the mean share of wrong accepted boxes at ``max_error``.

    With probability ``confidence`` over the draw of the calibration pictures the promise holds
    for new pictures like them. At least ``log(1 - confidence) / log(1 - max_error)`` pictures
    with accepted boxes are needed: 149 for 2 % and 95 %, 29 for 10 % and 95 %.

    A box is right where it is a true one at IoU 0.5. Boxes in crowd regions are neither right nor
    wrong, and a picture with no other accepted box does not count.

    Args:
        found: what the detector found in each calibration picture.
        truth: what is in it.
        box_scores: what the scores mean; no threshold lies below its minimum.
        max_error: the largest mean share of wrong boxes among a picture's accepted ones, in (0, 1).
        confidence: how sure the promise is, in (0, 1).

    Returns:
        A threshold whose ``score`` is None where no candidate passes: nothing is accepted then.
        ``accepted_share`` is of all boxes that are answered.

    Raises:
        ValueError: there are not as many pictures found as true, or a number is out of range.
    """
    if not (0 < max_error < 1 and 0 < confidence < 1):
        raise ValueError("max_error and confidence must lie between 0 and 1")
    classes = 1 + max((int(o.labels.max()) for o in truth if len(o.labels)), default=0)
    boxes = judge_boxes(match_boxes(found, truth, classes), box_scores)
    return choose_among(boxes, box_scores, max_error, confidence)


@dataclass(frozen=True, slots=True)
class JudgedBoxes:
    """The found boxes of some classes in N pictures that lie in no crowd region, (B,) each."""

    picture: Ints  #: index of the picture
    label: Ints
    score: Floats  #: calibrated, 0 to 1
    right: Bools  #: whether it is a true box
    pictures: int  #: N

    def of(self, labels: Ints) -> "JudgedBoxes":
        """Only those of some classes."""
        rows = np.isin(self.label, labels)
        return JudgedBoxes(
            self.picture[rows], self.label[rows], self.score[rows], self.right[rows], self.pictures
        )


def judge_boxes(matches: Matches, box_scores: BoxScores) -> JudgedBoxes:
    """What is known of found boxes that a promise counts."""
    counted = ~matches.ignored
    return JudgedBoxes(
        picture=matches.picture[counted],
        label=matches.label[counted],
        score=read_scores(matches.score[counted], box_scores),
        right=matches.right[counted],
        pictures=matches.pictures,
    )


def choose_among(
    boxes: JudgedBoxes, box_scores: BoxScores, max_error: float, confidence: float
) -> Threshold:
    """The same as ``choose_box_threshold`` for boxes that are already matched.

    ``pictures`` counts all, also those without a box.
    """
    candidates = read_scores(1 / (1 + np.exp(-CANDIDATES)), box_scores)
    candidates = candidates[candidates >= box_scores.minimum]
    curve = accept_boxes(boxes.picture, boxes.score, boxes.right, candidates)
    chosen = last_that_passes(curve, max_error, 1 - confidence)
    answered = int((boxes.score >= box_scores.minimum).sum())
    return Threshold(
        score=None if chosen is None else float(curve.scores[chosen]),
        max_error=max_error,
        confidence=confidence,
        accepted_share=0.0 if chosen is None else int(curve.boxes[chosen]) / answered,
        error=None if chosen is None else float(curve.error[chosen]),
        pictures=boxes.pictures,
    )


def last_that_passes(curve: BoxCurve, max_error: float, risk: float) -> int | None:
    """The position of the lowest threshold that passes, or None.

    Sequences start where enough pictures have accepted boxes, which does not depend on whether
    those are right.
    """
    most = int(curve.pictures[-1]) if len(curve.pictures) else 0
    starts = sequence_starts(most, max_error, risk)
    if not starts:
        return None
    passes = rule_out(curve.shares, max_error, risk / len(starts))
    return last_in_sequences(passes, [int(np.searchsorted(curve.pictures, s)) for s in starts])


def rule_out(losses: Floats, max_error: float, risk: float) -> Bools:
    """For which columns a mean loss over ``max_error`` can be ruled out, with error ``risk``.

    A capital of 1 bets on each loss in turn, and becomes ``1 + bet * (max_error - loss)`` times as
    large. Were the mean over ``max_error``, it could not be expected to grow, and would ever reach
    ``1 / risk`` with probability at most ``risk`` (Ville's inequality). This holds for any bets
    from 0 to ``1 / (1 - max_error)`` that are made before the loss is seen.

    These aim at reaching ``1 / risk`` with the last loss (the principle of Voráček and Orabona
    2025, https://arxiv.org/abs/2505.22422). The pace is how fast the capital must grow from now
    on, as a share of the fastest there is. The best bet for losses of 0 or 1 follows from it as
    ``pace = bet + (1 - bet) * log(1 - bet)`` for a small ``max_error``, with the bet as a share of
    the largest; a quarter of a circle is close to that and a little bolder. Without any loss it
    always keeps the pace, so ``log(risk) / log(1 - max_error)`` losses of 0 suffice.

    Args:
        losses: (N, C), 0 to 1, NaN where a picture does not count. In a column those that count
            are independent draws; the order of the rows may have any reason.
        max_error: the mean that is to be ruled out, in (0, 1).
        risk: how likely it may be ruled out wrongly, in (0, 1).

    Returns:
        (C,) True where it is ruled out.

    >>> rule_out(np.zeros((29, 1)), 0.1, 0.05), rule_out(np.zeros((28, 1)), 0.1, 0.05)
    (array([ True]), array([False]))
    """
    counts = ~np.isnan(losses)
    left, capital = counts.sum(axis=0), np.ones(losses.shape[1])
    fastest = -math.log1p(-max_error)
    # Rows sorted by what is in them would be no independent draws in turn. Shuffled they are.
    for i in np.random.default_rng(0).permutation(len(losses)):
        missing = -np.log(np.maximum(capital * risk, np.finfo(np.float64).tiny))
        # Where nothing is missing any more, the bet is 0 and the capital stays.
        pace = np.clip(missing / (fastest * np.maximum(left, 1)), 0.0, 1.0)
        bet = np.sqrt(pace * (2 - pace)) / (1 - max_error)
        capital *= 1 + bet * (max_error - np.where(counts[i], losses[i], max_error))
        left -= counts[i]
    reached: Bools = capital * risk >= 1 - 1e-9  # what rounding takes away
    return reached
