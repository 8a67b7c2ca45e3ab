"""What several people say about one picture, brought to one answer, or to the reason for none.

Of one person the newest answer counts; what is deleted or skipped does not. With one annotator an
answer is taken as it is. With several:

- a class is taken where the share ``agreement`` of them name it, and no other as often;
- boxes of different people are the same where they overlap with an IoU of at least 0.5, whatever
  their classes. A box is taken where the share names its class there, and its edges are the mean of
  theirs: each edge is a measurement, and the mean of n errs less, by the root of n. The picture
  counts where the share of all its boxes is taken; the rest is left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pixloop.data.annotation_records import AnnotatedBox, Annotation, Drawn
from pixloop.records import Xyxy

#: From which overlap on two people's boxes are of the same object, as in evaluation.
SAME_BOX_IOU = 0.5
#: What rounding may take from a share: 3 of 5 are 0.6.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Resolved:
    """What people say about a picture, taken together.

    Attributes:
        sha256: the picture's.
        label: classification: the class that they agree on, else None.
        boxes: detection: those that they agree on; None in classification.
        annotations: those that took part, the newest last.
        drawn: how the picture first came to be asked; what is asked later does not change it, so
            that its split does not move.
        at: when it was first answered, ISO 8601, UTC.
        reason: why it does not count; empty where it does.
    """

    sha256: str
    label: str | None
    boxes: tuple[AnnotatedBox, ...] | None
    annotations: tuple[Annotation, ...]
    drawn: Drawn
    at: str
    reason: str = ""

    @property
    def counts(self) -> bool:
        """Whether there is an answer."""
        return not self.reason

    @property
    def source(self) -> str:
        """What the data set names as the label's source: ``annotation:<id>`` of the newest."""
        return f"annotation:{self.annotations[-1].id}" if self.annotations else ""


def resolve(
    annotations: Iterable[Annotation], annotators: int = 1, agreement: float = 0.6
) -> list[Resolved]:
    """One answer a picture, in the order of their SHA-256.

    Args:
        annotations: of any pictures, in any order.
        annotators: how many people must have answered for a picture.
        agreement: the share of them that must agree, above 0.

    Returns:
        One for each picture with an annotation that is not deleted.
    """
    pictures: dict[str, list[Annotation]] = defaultdict(list)
    for each in annotations:
        pictures[each.sha256].append(each)
    return [
        _resolve_one(sha256, sorted(pictures[sha256], key=_when), annotators, agreement)
        for sha256 in sorted(pictures)
        if not all(each.deleted for each in pictures[sha256])
    ]


def _when(annotation: Annotation) -> tuple[str, str]:
    return annotation.at, annotation.id


def _resolve_one(
    sha256: str, said: Sequence[Annotation], annotators: int, agreement: float
) -> Resolved:
    newest = {a.annotator: a for a in said if _is_answer(a)}
    votes = tuple(sorted(newest.values(), key=_when))
    boxed = tuple(vote for vote in votes if vote.boxes is not None)
    votes = boxed or votes
    none = Resolved(sha256, None, None, votes, said[0].drawn, said[0].at)
    if len(votes) < annotators:
        skipped = sum(a.skipped and not a.deleted for a in said)
        words = f"{len(votes)} of {annotators} annotators have answered"
        return _with(none, reason=words + (f", {skipped} skipped it" if skipped else ""))
    if not votes:
        return _with(none, reason="nobody has answered")
    return _agree_on_boxes(none, agreement) if boxed else _agree_on_label(none, agreement)


def _is_answer(annotation: Annotation) -> bool:
    says = annotation.label is not None or annotation.boxes is not None
    return says and not annotation.deleted and not annotation.skipped


def _agree_on_label(picture: Resolved, agreement: float) -> Resolved:
    votes = Counter(a.label for a in picture.annotations if a.label is not None)
    ranked = votes.most_common()
    label, most = ranked[0]
    total = votes.total()
    if len(ranked) > 1 and ranked[1][1] == most:
        words = " and ".join(repr(name) for name, count in ranked if count == most)
        return _with(picture, reason=f"{words} are named equally often, by {most} of {total}")
    if most < agreement * total - _ROUNDING:
        return _with(
            picture, reason=f"{most} of {total} say {label!r}; a share of {agreement:g} is needed"
        )
    return _with(picture, label=label)


@dataclass(slots=True)
class _Place:
    """The boxes of different people that are of one object."""

    boxes: list[AnnotatedBox] = field(default_factory=list)

    @property
    def xyxy(self) -> Xyxy:
        return _mean(self.boxes)


def _agree_on_boxes(picture: Resolved, agreement: float) -> Resolved:
    people = [a.boxes or () for a in sorted(picture.annotations, key=lambda a: a.annotator)]
    if len(people) == 1:
        return _with(picture, boxes=people[0])
    places: list[_Place] = []
    for boxes in people:
        _assign(places, boxes)
    taken = [box for place in places if (box := _common(place, len(people), agreement))]
    if len(taken) < agreement * len(places) - _ROUNDING:
        return _with(
            picture,
            reason=f"{len(taken)} of {len(places)} boxes are agreed on; "
            f"a share of {agreement:g} is needed",
        )
    return _with(picture, boxes=tuple(sorted(taken, key=lambda box: (box.xyxy, box.label))))


def _assign(places: list[_Place], boxes: Sequence[AnnotatedBox]) -> None:
    """Put a person's boxes to the places where they overlap most, each place one; others are new.

    Boxes of the class that a place has come first, so that two objects that lie close by are not
    mixed up.
    """
    free = set(range(len(boxes)))
    if places and boxes:
        overlaps = np.array([[_iou(p.xyxy, b.xyxy) for b in boxes] for p in places])
        same = np.array([[p.boxes[0].label == b.label for b in boxes] for p in places])
        gains = np.where(overlaps >= SAME_BOX_IOU, overlaps + same, 0.0)
        # It takes half a second to import, and every command knows this module.
        from scipy.optimize import linear_sum_assignment

        for i, j in zip(*(index.tolist() for index in linear_sum_assignment(-gains)), strict=True):
            if gains[i, j] > 0:
                places[i].boxes.append(boxes[j])
                free.remove(j)
    places += [_Place([boxes[j]]) for j in sorted(free)]


def _common(place: _Place, people: int, agreement: float) -> AnnotatedBox | None:
    """The box that enough people have drawn at a place, under one class."""
    ranked = Counter(box.label for box in place.boxes).most_common()
    label, most = ranked[0]
    tied = len(ranked) > 1 and ranked[1][1] == most
    if tied or most < agreement * people - _ROUNDING:
        return None
    return AnnotatedBox(label=label, xyxy=_mean([b for b in place.boxes if b.label == label]))


def _mean(boxes: Sequence[AnnotatedBox]) -> Xyxy:
    x1, y1, x2, y2 = np.mean([box.xyxy for box in boxes], axis=0).tolist()
    return x1, y1, x2, y2


def _iou(a: Xyxy, b: Xyxy) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    united = _area(a) + _area(b) - shared
    return shared / united if united > 0 else 0.0


def _area(box: Xyxy) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _with(
    picture: Resolved,
    label: str | None = None,
    boxes: tuple[AnnotatedBox, ...] | None = None,
    reason: str = "",
) -> Resolved:
    return Resolved(
        picture.sha256, label, boxes, picture.annotations, picture.drawn, picture.at, reason
    )
