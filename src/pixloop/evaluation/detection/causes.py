"""Why boxes are wrong and what was missed, after Hoiem et al. 2012 and TIDE (Bolya et al. 2020).

Looked at are the boxes that are answered. A wrong one has the first cause that fits:

- ``duplicate``: it overlaps a true box of its class, which a surer one has taken.
- ``class``: it overlaps a true box of another class: right place, wrong class.
- ``localisation``: it overlaps one of its class, but too little: right class, wrong place.
- ``both``: it overlaps one of another class, and too little.
- ``background``: there is nothing where it is.

To overlap is to reach an IoU of 0.5; too little is 0.1 to 0.5. A true box is ``missed`` where no
box takes it and none has it for its ``class`` or ``localisation``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import (
    MATCH_IOU,
    Bools,
    Floats,
    Ints,
    Matches,
    box_overlap,
)
from pixloop.evaluation.metrics import Counts
from pixloop.serving.detector import Found

#: Below this overlap, a box has nothing to do with a true one.
NEAR_IOU = 0.1

Cause = Literal["class", "localisation", "both", "duplicate", "background", "missed"]
CAUSES: tuple[Cause, ...] = (
    "class",
    "localisation",
    "both",
    "duplicate",
    "background",
    "missed",
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong box, or one true box that is missed.

    Attributes:
        cause: why it is one.
        picture: index of the picture.
        box: index among the picture's found boxes; None for what is missed.
        truth: index of the true box that it is about; None for ``background``.
        iou: the overlap of the two; 0 where there are not two.
    """

    cause: Cause
    picture: int
    box: int | None
    truth: int | None
    iou: float = 0.0


def find_mistakes(
    matches: Matches, shown: Bools, found: Sequence[Found], truth: Sequence[Objects]
) -> list[Mistake]:
    """Every mistake, picture by picture: wrong boxes by falling score, then what is missed.

    Args:
        matches: of all boxes, at IoU 0.5.
        shown: (B,) which of them are answered.
        found: of each picture.
        truth: of each picture.
    """
    mistakes: list[Mistake] = []
    right, wrong_rows = shown & matches.right, shown & ~matches.right & ~matches.ignored
    each = zip(matches.rows_of_pictures(), found, truth, strict=True)
    for picture, (rows, boxes, objects) in enumerate(each):
        taken = np.zeros(len(objects), np.bool_)
        taken[matches.truth[rows[right[rows]]]] = True
        wrong = matches.box[rows[wrong_rows[rows]]]
        here = _explain(picture, wrong, boxes, objects)
        explained = {m.truth for m in here if m.cause in ("class", "localisation")}
        missed = np.flatnonzero(~taken & ~objects.crowd)
        mistakes += here
        mistakes += [
            Mistake("missed", picture, None, int(i)) for i in missed if int(i) not in explained
        ]
    return mistakes


def _explain(picture: int, wrong: Ints, boxes: Found, objects: Objects) -> list[Mistake]:
    """The cause of each wrong box of a picture."""
    overlap = np.where(objects.crowd, 0.0, box_overlap(boxes.boxes[wrong], objects.boxes))
    mistakes = []
    for shares, box in zip(overlap, wrong, strict=True):
        same = objects.labels == boxes.labels[box]
        cause, truth = _cause(shares, same)
        iou = float(shares[truth]) if truth is not None else 0.0
        mistakes.append(Mistake(cause, picture, int(box), truth, iou))
    return mistakes


def _cause(shares: Floats, same: Bools) -> tuple[Cause, int | None]:
    """The first cause that fits, and the true box that it is about."""
    reasons: tuple[tuple[Cause, Bools], ...] = (
        # A surer box has it: otherwise this one would have taken it.
        ("duplicate", same & (shares >= MATCH_IOU)),
        ("class", ~same & (shares >= MATCH_IOU)),
        ("localisation", same & (shares >= NEAR_IOU)),
        ("both", ~same & (shares >= NEAR_IOU)),
    )
    for cause, fits in reasons:
        if fits.any():
            return cause, int(np.where(fits, shares, -1.0).argmax())
    return "background", None


def count_causes(mistakes: Sequence[Mistake]) -> dict[Cause, int]:
    """How many mistakes each cause has, in the order of ``CAUSES``."""
    return {cause: sum(m.cause == cause for m in mistakes) for cause in CAUSES}


def confusion_with_background(
    matches: Matches, shown: Bools, found: Sequence[Found], truth: Sequence[Objects]
) -> Counts:
    """Counts of shape (K + 1, K + 1): the true class chooses the row, the answer the column.

    The last row and column are the background. Boxes that are right stand on the diagonal. The
    others then take, by falling score and whatever their class, the true box that is left and
    that they overlap most, from IoU 0.5 on; what remains on either side belongs to the background.
    So rows sum to the true boxes, columns to the answered ones that are in no crowd region.

    Args:
        matches: of all boxes, at IoU 0.5.
        shown: (B,) which of them are answered.
        found: of each picture.
        truth: of each picture.
    """
    background = matches.true_boxes.shape[1]
    counts = np.zeros((background + 1, background + 1), np.int64)
    right, wrong = shown & matches.right, shown & ~matches.right & ~matches.ignored
    np.add.at(counts, (matches.label[right], matches.label[right]), 1)
    for rows, boxes, objects in zip(matches.rows_of_pictures(), found, truth, strict=True):
        free = ~objects.crowd
        free[matches.truth[rows[right[rows]]]] = False
        wrong_here = rows[wrong[rows]]
        overlap = box_overlap(boxes.boxes[matches.box[wrong_here]], objects.boxes)
        for shares, label in zip(overlap, matches.label[wrong_here], strict=True):
            left = np.where(free, shares, -1.0)
            best = int(left.argmax()) if len(left) else -1
            if best >= 0 and left[best] >= MATCH_IOU:
                free[best] = False
                counts[objects.labels[best], label] += 1
            else:
                counts[background, label] += 1
        np.add.at(counts, (objects.labels[free], background), 1)
    return counts
