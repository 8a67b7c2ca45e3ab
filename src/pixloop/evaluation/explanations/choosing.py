"""Which answers are explained in the report, and on which the methods are checked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.predictions import Predictions
from pixloop.records import Xyxy

Indices = NDArray[np.int64]

CHECKED = 12  #: answers that methods are checked on, where there are as many
CHECKED_BOXES = 6  #: likewise of a detector, which is asked more often for a map
MOST_CLASSES = 8  #: the weakest, where there are more


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer to a test picture. Labels are names."""

    index: int  #: of the picture
    kind: str  #: best, worst or unsure
    label: str | None  #: the truth; None for a box on background
    answer: str
    score: float
    right: bool
    box: Xyxy | None = None  #: in pixels of the upright picture


def choose_to_check(predictions: Predictions) -> list[Choice]:
    """Answers to pictures that are spread evenly over the test set."""
    every = np.linspace(0, len(predictions) - 1, min(CHECKED, len(predictions))).astype(int)
    return [_choice(predictions, int(i), "checked") for i in every]


def choose_answers(predictions: Predictions, each: int) -> dict[str, list[Choice]]:
    """Of each true class: the surest right answers, the surest wrong and the least sure ones.

    Args:
        predictions: of the test pictures.
        each: how many of each kind, at most.

    Returns:
        By class, the weakest first; classes without a picture are left out.
    """
    chosen = {}
    for label in _weakest(predictions.targets, predictions.correct):
        of_class = np.flatnonzero(predictions.targets == label)
        rising = of_class[np.argsort(predictions.scores[of_class], kind="stable")]
        kinds = _three_kinds(rising, predictions.correct[rising], each)
        chosen[predictions.classes[label]] = [_choice(predictions, i, k) for i, k in kinds]
    return chosen


def choose_boxes_to_check(detections: Detections) -> list[Choice]:
    """The surest box of each of some pictures, those of the surest ones."""
    falling = np.argsort(-detections.scores, kind="stable")
    pictures = detections.matches.picture[falling]
    _, first = np.unique(pictures, return_index=True)
    surest = falling[np.sort(first)][:CHECKED_BOXES]
    return [_box_choice(detections, int(row), "checked") for row in surest]


def choose_boxes(detections: Detections, each: int) -> dict[str, list[Choice]]:
    """Of each found class, as ``choose_answers``, boxes; at most one of a kind and a picture."""
    matches = detections.matches
    rows = np.flatnonzero(detections.shown & ~matches.ignored)
    labels, right = matches.label[rows], matches.right[rows]
    chosen = {}
    for label in _weakest(labels, right):
        of_class = rows[labels == label]
        rising = of_class[np.argsort(detections.scores[of_class], kind="stable")]
        kinds = _three_kinds(rising, matches.right[rising], each)
        chosen[detections.classes[label]] = [_box_choice(detections, i, k) for i, k in kinds]
    return chosen


def _weakest(labels: Indices, right: NDArray[np.bool_]) -> list[int]:
    """The labels that there are, those with the smallest share of right answers first."""
    there = np.unique(labels).tolist()
    return sorted(there, key=lambda label: float(right[labels == label].mean()))[:MOST_CLASSES]


def _three_kinds(rising: Indices, right: NDArray[np.bool_], each: int) -> Iterator[tuple[int, str]]:
    """Best, worst and unsure of answers in the order of their scores; none twice."""
    best = rising[right][::-1][:each].tolist()
    worst = rising[~right][::-1][:each].tolist()
    unsure = [i for i in rising.tolist() if i not in best and i not in worst][:each]
    for kind, indices in (("best", best), ("worst", worst), ("unsure", unsure)):
        yield from ((i, kind) for i in indices)


def _choice(predictions: Predictions, index: int, kind: str) -> Choice:
    return Choice(
        index=index,
        kind=kind,
        label=predictions.classes[predictions.targets[index]],
        answer=predictions.classes[predictions.predicted[index]],
        score=float(predictions.scores[index]),
        right=bool(predictions.correct[index]),
    )


def _box_choice(detections: Detections, row: int, kind: str) -> Choice:
    matches = detections.matches
    index, box = int(matches.picture[row]), int(matches.box[row])
    answer = detections.classes[matches.label[row]]
    x1, y1, x2, y2 = detections.found[index].boxes[box].tolist()
    return Choice(
        index=index,
        kind=kind,
        label=answer if matches.right[row] else _true_label(detections, index, box),
        answer=answer,
        score=float(detections.scores[row]),
        right=bool(matches.right[row]),
        box=(x1, y1, x2, y2),
    )


def _true_label(detections: Detections, picture: int, box: int) -> str | None:
    """What a wrong box is about, if anything."""
    for mistake in detections.mistakes:
        if (mistake.picture, mistake.box) == (picture, box) and mistake.truth is not None:
            return detections.classes[int(detections.truth[picture].labels[mistake.truth])]
    return None
