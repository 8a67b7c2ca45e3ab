"""Boxes that are likely to be wrong: what the model and those who drew them do not agree on.

What the model finds and nobody drew, or drew as another class or elsewhere, where it is as sure as
it is on the average of right boxes of that class; and what was drawn where it sees next to nothing.
It has learned from the training pictures' boxes, so what it contradicts all the same is worth a
look; a wrong box that it has learned by heart is not found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import Objects, Row, Split
from pixloop.data.shard_files import LocalShards
from pixloop.evaluation.detection.causes import Cause, Mistake
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.matching import Floats, box_overlap
from pixloop.records import Decision
from pixloop.serving.detector import Found, read_scores

#: A box is a doubt from this weight on.
LEAST_DOUBT = 0.5
#: Where something was drawn, the model sees something from this score and this overlap on.
SEEN, SEEN_IOU = 0.1, 0.3

#: missing: found and not drawn. class: drawn as another class. place: drawn elsewhere.
#: extra: drawn and not found.
Kind = Literal["missing", "class", "place", "extra"]
_KINDS: dict[Cause, Kind] = {
    "background": "missing",
    "class": "class",
    "localisation": "place",
    "missed": "extra",
}


@dataclass(frozen=True, slots=True)
class BoxDoubt:
    """One doubtful box.

    Attributes:
        kind: what is the matter.
        mistake: as the evaluation would call it, were it the model's.
        label: the class that was drawn; None where nothing was.
        likely: the class that the model sees; None where it sees nothing.
        weight: the model's score; of what it does not find, nothing more than the least doubt:
            detectors miss things that are there.
    """

    kind: Kind
    mistake: Mistake
    label: str | None
    likely: str | None
    weight: float

    @property
    def words(self) -> str:
        """For people."""
        sure = f"{round(100 * self.weight)} %"
        match self.kind:
            case "missing":
                return f"{self.likely} found and not drawn ({sure})"
            case "class":
                return f"drawn as {self.label}, found as {self.likely} ({sure})"
            case "place":
                return f"{self.likely} found a little elsewhere ({sure})"
            case "extra":
                return f"{self.label} drawn and not found"


@dataclass(frozen=True, slots=True)
class PictureDoubt:
    """A picture with doubtful boxes, the most doubtful first; at least one."""

    picture: int
    boxes: tuple[BoxDoubt, ...]

    @property
    def weight(self) -> float:
        """Of its most doubtful box, 0 to 1."""
        return self.boxes[0].weight

    @property
    def words(self) -> str:
        """For people."""
        first = "; ".join(box.words for box in self.boxes[:2])
        more = len(self.boxes) - 2
        return f"{first}; and {more} more" if more > 0 else first


class Part(Split):
    """Some rows of a split."""

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        """Take the rows at ``indices``, which rise."""
        super().__init__(LocalShards([]), [])
        self._split, self._indices = split, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Row]:
        wanted = set(self._indices)
        return (row for i, row in enumerate(self._split) if i in wanted)

    def read(self, index: int) -> Row:
        """As ``Split.read``."""
        return self._split.read(self._indices[index])

    @cached_property
    def objects(self) -> list[Objects]:
        """As ``Split.objects``."""
        everything = self._split.objects
        return [everything[i] for i in self._indices]


def doubt_boxes(detections: Detections) -> list[PictureDoubt]:
    """The pictures with doubtful boxes, the most doubtful first."""
    scores, usual = _scores(detections), _usual(detections)
    of_pictures: dict[int, list[BoxDoubt]] = {}
    for mistake in detections.mistakes:
        doubt = _doubt(mistake, detections, scores, usual)
        if doubt is not None:
            of_pictures.setdefault(mistake.picture, []).append(doubt)
    found = [
        PictureDoubt(picture, tuple(sorted(doubts, key=lambda doubt: -doubt.weight)))
        for picture, doubts in of_pictures.items()
    ]
    return sorted(found, key=lambda doubt: (-doubt.weight, doubt.picture))


def count_found(detections: Detections) -> tuple[int, int]:
    """How many drawn boxes there are, and how many are found as surely as a doubt has to be.

    So many of the boxes that nobody drew would be found as well, if they are as hard.
    """
    enough = detections.scores >= _usual(detections)[detections.matches.label]
    sure = detections.matches.right & detections.shown & enough
    return int(detections.matches.true_boxes.sum()), int(sure.sum())


def answer_of(detections: Detections, picture: int) -> dict[str, Any]:
    """The answered boxes of a picture, as the server's JSON has them."""
    rows = np.flatnonzero((detections.matches.picture == picture) & detections.shown)
    found = detections.found[picture]
    boxes = [
        {
            "label": detections.classes[detections.matches.label[row]],
            "score": float(detections.scores[row]),
            "xyxy": found.boxes[detections.matches.box[row]].tolist(),
            "decision": str(Decision.ACCEPT if detections.accepted[row] else Decision.REFER),
        }
        for row in rows
    ]
    return {"boxes": boxes, "width": found.width, "height": found.height}


def _doubt(
    mistake: Mistake,
    detections: Detections,
    scores: dict[tuple[int, int], float],
    usual: NDArray[np.float64],
) -> BoxDoubt | None:
    kind = _KINDS.get(mistake.cause)
    if kind is None:
        return None
    found, truth = detections.found[mistake.picture], detections.truth[mistake.picture]
    label = None if mistake.truth is None else detections.classes[truth.labels[mistake.truth]]
    if mistake.box is None:
        seen = _is_seen(truth.boxes[mistake.truth, None], found, detections)
        return None if seen else BoxDoubt(kind, mistake, label, None, LEAST_DOUBT)
    weight = scores[mistake.picture, mistake.box]
    if weight < usual[found.labels[mistake.box]]:
        return None
    return BoxDoubt(kind, mistake, label, detections.classes[found.labels[mistake.box]], weight)


def _is_seen(box: Floats, found: Found, detections: Detections) -> bool:
    """Whether anything is found where a box (1, 4) was drawn, unsure as it may be."""
    near = box_overlap(found.boxes, box)[:, 0] >= SEEN_IOU
    return bool((read_scores(found.scores[near], detections.box_scores) >= SEEN).any())


def _usual(detections: Detections) -> NDArray[np.float64]:
    """The mean score of each class's right boxes, (K,), and no less than the least doubt."""
    right = detections.shown & detections.matches.right
    labels, classes = detections.matches.label[right], len(detections.classes)
    sums = np.bincount(labels, detections.scores[right], minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.maximum(sums / np.maximum(counts, 1), LEAST_DOUBT)


def _scores(detections: Detections) -> dict[tuple[int, int], float]:
    """Calibrated scores by picture and found box."""
    places = zip(detections.matches.picture.tolist(), detections.matches.box.tolist(), strict=True)
    return dict(zip(places, detections.scores.tolist(), strict=True))
