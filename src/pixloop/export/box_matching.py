"""Matching what a graph finds with what the trained model finds, picture by picture.

A picture's boxes of both sides are matched one to one, the model's surest first: labels are equal,
intersection over union is at least ``Limits.box_iou``, scores differ by no more than
``Limits.difference``; of several such boxes the one that overlaps most is taken.
What is left over on either side is unmatched, with one exception: where the other side leaves out
boxes from some score on, be it the model's score threshold or the last of its places, a box whose
score lies above that by no more than the allowed difference is a cut-off tie, as rounding decides
whether it is given. It is not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixloop.export.limits import Limits


class Boxes(NamedTuple):
    """What one side found in one picture."""

    boxes: NDArray[np.floating]  #: (M, 4) xyxy in pixels of the input
    scores: NDArray[np.floating]  #: (M,), falling
    labels: NDArray[np.integer]  #: (M,)
    cut_off: float  #: boxes of a lower score may have been left out


@dataclass(slots=True)
class Tally:
    """What the pictures of one condition have shown so far."""

    pictures: int = 0
    empty_pictures: int = 0
    ghosts: int = 0  #: boxes on empty pictures
    expected: int = 0
    answered: int = 0
    matched: int = 0
    cut_off: int = 0
    smallest_iou: float = 1.0
    largest_difference: float = 0.0

    def add(self, expected: Boxes, answered: Boxes, limits: Limits) -> None:
        """Match one picture's boxes."""
        here, there, overlaps = match_boxes(expected, answered, limits)
        margin = limits.difference
        ties = int((np.delete(expected.scores, here) <= answered.cut_off + margin).sum())
        extra = int((np.delete(answered.scores, there) <= expected.cut_off + margin).sum())
        self.pictures += 1
        self.empty_pictures += not len(expected.scores)
        self.expected += len(expected.scores) - ties
        self.answered += len(answered.scores) - extra
        if not len(expected.scores):
            self.ghosts += len(answered.scores) - extra
        self.matched += len(here)
        self.cut_off += ties + extra
        if len(here):
            difference = np.abs(expected.scores[here] - answered.scores[there])
            self.smallest_iou = min(self.smallest_iou, float(overlaps.min()))
            self.largest_difference = max(self.largest_difference, float(difference.max()))

    @property
    def unmatched(self) -> int:
        """On either side."""
        return self.expected + self.answered - 2 * self.matched

    @property
    def matched_share(self) -> float:
        """Of the boxes of both sides; 1 where there are none."""
        total = self.expected + self.answered
        return 2 * self.matched / total if total else 1.0


def match_boxes(
    expected: Boxes, answered: Boxes, limits: Limits
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Match the boxes of one picture, as described above.

    Returns:
        Indices into ``expected``, the matching ones into ``answered``, and how they overlap.
    """
    overlaps = intersection_over_union(expected.boxes, answered.boxes)
    difference = np.abs(expected.scores[:, None] - answered.scores[None])
    possible = (
        (expected.labels[:, None] == answered.labels[None])
        & (overlaps >= limits.box_iou)
        & (difference <= limits.difference)
    )
    free = np.where(possible, overlaps, -1.0)
    here, there = [], []
    for i in np.argsort(-expected.scores, kind="stable"):
        best = int(free[i].argmax()) if free.shape[1] else 0
        if free.shape[1] and free[i, best] >= 0:
            here.append(i)
            there.append(best)
            free[:, best] = -1.0
    rows, columns = np.array(here, np.intp), np.array(there, np.intp)
    return rows, columns, overlaps[rows, columns]


def intersection_over_union(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Of every box of (A, 4) with every box of (B, 4), xyxy: (A, B), 0 to 1."""
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(-1)
    united = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    shares: NDArray[np.float64] = np.divide(
        shared, united, out=np.zeros_like(shared), where=united > 0
    )
    return shares


def add_up(tallies: Iterable[Tally]) -> Tally:
    """What several conditions have shown together."""
    total = Tally()
    for each in tallies:
        total.pictures += each.pictures
        total.empty_pictures += each.empty_pictures
        total.ghosts += each.ghosts
        total.expected += each.expected
        total.answered += each.answered
        total.matched += each.matched
        total.cut_off += each.cut_off
        total.smallest_iou = min(total.smallest_iou, each.smallest_iou)
        total.largest_difference = max(total.largest_difference, each.largest_difference)
    return total
