"""A threshold for each class of boxes, as ``evaluation/class_thresholds.py`` has it for pictures.

The promise of a class: of the boxes of it that are accepted in a picture, the share that is wrong,
averaged over the pictures with accepted boxes of it, is at most ``max_error``. What counts for a
class is in how many calibration pictures a box of it is answered; whether those are right matters
only through ``BoxScores.minimum``, one number that was fitted to all classes together.
"""

from collections.abc import Sequence

import numpy as np

from pixloop.bundle import BoxScores, Threshold
from pixloop.config import ThresholdsConfig
from pixloop.data.dataset import Objects
from pixloop.evaluation.class_thresholds import choose_by_group, group_classes, join_groups
from pixloop.evaluation.detection.matching import Bools, match_boxes
from pixloop.evaluation.detection.thresholds import (
    JudgedBoxes,
    accept_boxes,
    choose_among,
    judge_boxes,
)
from pixloop.serving.detector import Found


def choose_box_thresholds(
    found: Sequence[Found],
    truth: Sequence[Objects],
    box_scores: BoxScores,
    classes: Sequence[str],
    promise: ThresholdsConfig,
) -> Threshold:
    """The lowest threshold of each group of classes, or of all classes together.

    Args:
        found: what the detector found in each calibration picture.
        truth: what is in it.
        box_scores: what the scores mean; no threshold lies below its minimum.
        classes: labels are indices into it.
        promise: what is promised, and of what.

    Returns:
        Where all classes share one threshold, the same as ``choose_box_threshold``. Otherwise a
        group's ``pictures`` are those in which a box of its classes is answered.

    Raises:
        ValueError: there are not as many pictures found as true.
    """
    boxes = judge_boxes(match_boxes(found, truth, len(classes)), box_scores)
    together = choose_among(boxes, box_scores, promise.max_error, promise.confidence)
    if promise.by == "all":
        return together
    index = {label: k for k, label in enumerate(classes)}

    def of(group: Sequence[str]) -> JudgedBoxes:
        return boxes.of(np.array([index[label] for label in group], np.int64))

    counts = {label: count_answered(of([label]), box_scores) for label in classes}
    groups = group_classes(counts, promise.max_error, promise.confidence)

    def choose(group: tuple[str, ...]) -> Threshold:
        mine = of(group)
        chosen = choose_among(mine, box_scores, promise.max_error, promise.confidence)
        return chosen.model_copy(update={"pictures": count_answered(mine, box_scores)})

    chosen = choose_by_group(groups, choose)
    return _count(join_groups(together, chosen), boxes, box_scores, classes) if chosen else together


def count_answered(boxes: JudgedBoxes, box_scores: BoxScores) -> int:
    """In how many pictures one of the boxes is answered."""
    return len(np.unique(boxes.picture[boxes.score >= box_scores.minimum]))


def _count(
    threshold: Threshold, boxes: JudgedBoxes, box_scores: BoxScores, classes: Sequence[str]
) -> Threshold:
    """The threshold, with what all groups accept together."""
    acceptance = threshold.acceptance
    rows = zip(boxes.label.tolist(), boxes.score.tolist(), strict=True)
    taken: Bools = np.array([acceptance.accepts(classes[k], score) for k, score in rows], np.bool_)
    # As if there were one candidate: everything that is accepted has the same score.
    curve = accept_boxes(
        boxes.picture[taken], np.ones(int(taken.sum())), boxes.right[taken], np.ones(1)
    )
    answered = max(int((boxes.score >= box_scores.minimum).sum()), 1)
    return threshold.model_copy(
        update={
            "accepted_share": int(curve.boxes[0]) / answered,
            "error": float(curve.error[0]) if curve.pictures[0] else None,
        }
    )
