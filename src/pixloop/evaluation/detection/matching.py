"""Which found box is which true box: COCO's rule, applied picture by picture.

Found boxes have their turn by falling score. Each takes the true box of its class that it
overlaps most, if that one is still free and the overlap (intersection over union, IoU) reaches
the limit: then it is right. One that overlaps no free one but lies in a crowd region of its class
is ignored, neither right nor wrong. Every other is wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import Objects
from pixloop.serving.detector import Found

#: The overlap from which on a box is the true one.
MATCH_IOU = 0.5

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of every found box of N pictures, as B rows: pictures in order, scores falling.

    It depends on the order of the scores alone, so it holds for calibrated ones too, and for the
    boxes above any score as if there were no others.
    """

    picture: Ints  #: (B,) index of the picture
    box: Ints  #: (B,) index among the picture's found boxes
    score: Floats  #: (B,) as it was found
    label: Ints  #: (B,)
    rank: Ints  #: (B,) its place among the picture's boxes of its class, from 0
    truth: Ints  #: (B,) index of the true box that it is, -1 where it is none
    iou: Floats  #: (B,) with that true box; 0 where there is none
    ignored: Bools  #: (B,) lies in a crowd region
    true_boxes: Ints  #: (N, K) true boxes of each picture and class, without crowd

    @property
    def right(self) -> Bools:
        """Whether the box is a true one, (B,)."""
        matched: Bools = self.truth >= 0
        return matched

    @property
    def pictures(self) -> int:
        """How many pictures there are, those without any box included."""
        return len(self.true_boxes)

    def rows_of_pictures(self) -> Iterator[Ints]:
        """The rows of each picture in turn."""
        ends = np.searchsorted(self.picture, np.arange(self.pictures + 1))
        return (np.arange(*each) for each in pairwise(ends))

    def __len__(self) -> int:
        return len(self.picture)


def box_overlap(found: Floats, true: Floats, crowd: Bools | None = None) -> Floats:
    """Intersection over union of boxes (M, 4) and (T, 4), xyxy, as shape (M, T).

    With a ``crowd`` (T,) region, it is the share of the found box that lies in the region.

    >>> box_overlap(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1]])).tolist()
    [[0.5]]
    """
    sides = np.minimum(found[:, None, 2:], true[None, :, 2:]) - np.maximum(
        found[:, None, :2], true[None, :, :2]
    )
    shared = np.clip(sides, 0, None).prod(axis=2)
    own, other = (np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (found, true))
    union = own[:, None] + other[None, :] - shared
    if crowd is not None:
        union = np.where(crowd[None, :], own[:, None], union)
    share: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def match_boxes(
    found: Sequence[Found], truth: Sequence[Objects], num_classes: int, limit: float = MATCH_IOU
) -> Matches:
    """Match the found boxes of N pictures with their true ones.

    Args:
        found: of each picture; the order of equal scores is kept.
        truth: of each picture.
        num_classes: labels are indices below it.
        limit: the overlap from which on a box is the true one.

    Raises:
        ValueError: there are not as many pictures found as true.
    """
    if len(found) != len(truth):
        raise ValueError(f"{len(found)} pictures were searched, {len(truth)} have their truth")
    columns = [_match_one(each, o, limit) for each, o in zip(found, truth, strict=True)]
    counts = [np.bincount(o.labels[~o.crowd], minlength=num_classes) for o in truth]

    def join(name: str, kind: type[np.generic]) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, kind), *(c[name] for c in columns)]).astype(kind)

    return Matches(
        picture=np.repeat(np.arange(len(found)), [len(each.scores) for each in found]),
        box=join("box", np.int64),
        score=join("score", np.float64),
        label=join("label", np.int64),
        rank=join("rank", np.int64),
        truth=join("truth", np.int64),
        iou=join("iou", np.float64),
        ignored=join("ignored", np.bool_),
        true_boxes=np.array(counts, np.int64).reshape(len(truth), num_classes),
    )


def _match_one(found: Found, truth: Objects, limit: float) -> dict[str, NDArray[Any]]:
    """A picture's columns of ``Matches``."""
    order = np.argsort(-found.scores, kind="stable")
    labels = found.labels[order]
    picked, iou, ignored = _take(found.boxes[order], labels, truth, limit)
    return {
        "box": order,
        "score": found.scores[order],
        "label": labels,
        "rank": _places(labels),
        "truth": picked,
        "iou": iou,
        "ignored": ignored,
    }


def _take(boxes: Floats, labels: Ints, truth: Objects, limit: float) -> tuple[Ints, Floats, Bools]:
    """The true box of each found one, its overlap, and whether it is ignored; scores falling."""
    picked = np.full(len(boxes), -1)
    iou, ignored = np.zeros(len(boxes)), np.zeros(len(boxes), np.bool_)
    overlap = box_overlap(boxes, truth.boxes, truth.crowd)
    reaches = (overlap >= limit) & (labels[:, None] == truth.labels[None, :])
    free = ~truth.crowd
    for i in np.flatnonzero(reaches.any(axis=1)):
        candidates = np.flatnonzero(reaches[i] & free)
        if len(candidates):
            # Of equal ones the last, as in COCO.
            best = candidates[::-1][overlap[i, candidates[::-1]].argmax()]
            picked[i], iou[i], free[best] = best, overlap[i, best], False
        else:
            ignored[i] = (reaches[i] & truth.crowd).any()
    return picked, iou, ignored


def _places(labels: Ints) -> Ints:
    """How many of the same label stand before each.

    >>> _places(np.array([3, 1, 3, 3])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    places = np.empty(len(labels), np.int64)
    places[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return places
