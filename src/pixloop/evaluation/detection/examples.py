"""Test pictures worth looking at, with the true boxes and the found ones."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from pixloop.data.dataset import Split
from pixloop.decoding import RgbArray, decode_image
from pixloop.evaluation.detection.causes import Cause, Mistake
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.matching import Floats
from pixloop.records import Xyxy

WRONG, MISSED, WHOLE = 12, 8, 4

_OF_ONE_PICTURE = 2  # at most so many of the mistakes shown
_CROP_PX, _WHOLE_PX = 320, 720  # the longest side of what is shown
_MARGIN = 0.9  # around a box, in sides of it
_LEAST_SHARE = 0.12  # of the picture's longer side that a crop shows
_SHARP_PX = 64  # up to here, pixels are shown as they are


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box on a view: ``xyxy`` in its units."""

    xyxy: Xyxy
    kind: str  #: right, wrong, true, missed or crowd
    title: str
    focus: bool  #: whether the view is about it


@dataclass(frozen=True, slots=True)
class View:
    """A picture or a part of one, with boxes to be drawn over it."""

    path: str
    image: str  #: a data: address
    width: float  #: of the part, in pixels of the upright picture
    height: float
    boxes: tuple[DrawnBox, ...]
    sharp: bool  #: to be scaled up without smoothing


@dataclass(frozen=True, slots=True)
class MistakeView:
    """A mistake, close up."""

    view: View
    cause: Cause
    answer: str | None  #: the found class; None for what is missed
    label: str | None  #: the true class that it is about; None on background
    score: float | None
    iou: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class PictureView:
    """A whole picture, and how many of its boxes are what."""

    view: View
    right: int
    wrong: int
    missed: int


@dataclass(frozen=True, slots=True)
class BoxExamples:
    """The three groups, each in the order in which it is to be shown."""

    wrong: tuple[MistakeView, ...]  #: the surest first, at most two of one picture
    missed: tuple[MistakeView, ...]  #: the largest first, at most two of one picture
    pictures: tuple[PictureView, ...]  #: those with the most mistakes


def choose_box_examples(detections: Detections, pictures: Split) -> BoxExamples:
    """Pick what is shown, and read it; ``pictures`` are in the detections' order."""
    album = Album(detections, pictures)
    found = [m for m in detections.mistakes if m.box is not None]
    missed = [m for m in detections.mistakes if m.box is None]
    found.sort(key=lambda m: -album.score(m))
    missed.sort(key=lambda m: -album.area(m))
    counts = Counter(m.picture for m in detections.mistakes)
    return BoxExamples(
        wrong=tuple(album.close_up(m) for m in _varied(found, WRONG)),
        missed=tuple(album.close_up(m) for m in _varied(missed, MISSED)),
        pictures=tuple(album.whole(i) for i, _ in counts.most_common(WHOLE)),
    )


def _varied(mistakes: Iterable[Mistake], most: int) -> list[Mistake]:
    """The first ones, with few of any one picture."""
    seen: Counter[int] = Counter()
    chosen: list[Mistake] = []
    for mistake in mistakes:
        if len(chosen) < most and seen[mistake.picture] < _OF_ONE_PICTURE:
            seen[mistake.picture] += 1
            chosen.append(mistake)
    return chosen


class Album:
    """Reads the pictures, and knows what is drawn on each."""

    def __init__(self, detections: Detections, pictures: Split) -> None:
        self._of, self._pictures = detections, pictures
        self._rows = list(detections.matches.rows_of_pictures())
        self._decoded = lru_cache(maxsize=4)(self._decode)

    def score(self, mistake: Mistake) -> float:
        """The calibrated score of a wrong box."""
        rows = self._rows[mistake.picture]
        return float(self._of.scores[rows[self._of.matches.box[rows] == mistake.box]][0])

    def area(self, mistake: Mistake) -> float:
        """The share of its picture that a missed box takes."""
        x1, y1, x2, y2 = self._true(mistake.picture)[mistake.truth]
        found = self._of.found[mistake.picture]
        return float((x2 - x1) * (y2 - y1)) / (found.width * found.height)

    def close_up(self, mistake: Mistake) -> MistakeView:
        """The surroundings of a mistake."""
        found, truth = self._of.found[mistake.picture], self._of.truth[mistake.picture]
        about = [] if mistake.box is None else [found.boxes[mistake.box]]
        about += [] if mistake.truth is None else [truth.boxes[mistake.truth]]
        area = _around(np.array(about), found.width, found.height)
        sure = None if mistake.box is None else self.score(mistake)
        answer = None if mistake.box is None else self._of.classes[found.labels[mistake.box]]
        return MistakeView(
            view=self._view(mistake.picture, area, _CROP_PX, mistake),
            cause=mistake.cause,
            answer=answer,
            label=None if mistake.truth is None else self._of.classes[truth.labels[mistake.truth]],
            score=sure,
            iou=mistake.iou,
            accepted=answer is not None
            and sure is not None
            and self._of.threshold.accepts(answer, sure),
        )

    def whole(self, picture: int) -> PictureView:
        """All of a picture."""
        found = self._of.found[picture]
        mistakes = [m for m in self._of.mistakes if m.picture == picture]
        return PictureView(
            view=self._view(picture, (0, 0, found.width, found.height), _WHOLE_PX, None),
            right=len(self._of.hits[picture]),
            wrong=sum(m.box is not None for m in mistakes),
            missed=int((~self._of.truth[picture].crowd).sum()) - len(self._of.hits[picture]),
        )

    def _view(self, picture: int, area: Xyxy, most: int, about: Mistake | None) -> View:
        left, top, right, bottom = area
        boxes = [
            DrawnBox((x1 - left, y1 - top, x2 - left, y2 - top), kind, title, focus)
            for (x1, y1, x2, y2), kind, title, focus in self._boxes(picture, about)
            if x1 < right and x2 > left and y1 < bottom and y2 > top
        ]
        image, sharp = _encode(self._decoded(picture), area, most)
        return View(
            path=self._of.paths[picture],
            image=image,
            width=right - left,
            height=bottom - top,
            # What the view is about lies on top.
            boxes=tuple(sorted(boxes, key=lambda b: b.focus)),
            sharp=sharp,
        )

    def _boxes(
        self, picture: int, about: Mistake | None
    ) -> Iterable[tuple[Sequence[float], str, str, bool]]:
        """True boxes, then found ones: edges, kind, words, and whether the view is about it."""
        d, truth, hits = self._of, self._of.truth[picture], self._of.hits[picture]
        for i, box in enumerate(truth.boxes.tolist()):
            name = d.classes[truth.labels[i]]
            focus = about is None or i == about.truth
            if truth.crowd[i]:
                yield box, "crowd", f"{name}: a crowd region, not scored", focus
            elif i in hits:
                yield box, "true", f"{name}: found", focus
            else:
                yield box, "missed", f"{name}: not found", focus
        for row in self._rows[picture][d.shown[self._rows[picture]]]:
            index = int(d.matches.box[row])
            kind = "wrong"
            if d.matches.right[row] or d.matches.ignored[row]:
                kind = "right" if d.matches.right[row] else "crowd"
            title = f"answered {d.classes[d.matches.label[row]]}, score {d.scores[row]:.2f}: {kind}"
            focus = about is None or index == about.box
            yield d.found[picture].boxes[index].tolist(), kind, title, focus

    def _true(self, picture: int) -> Floats:
        return self._of.truth[picture].boxes

    def _decode(self, picture: int) -> RgbArray:
        return decode_image(self._pictures.read(picture).image)


def _around(boxes: Floats, width: int, height: int) -> Xyxy:
    """A part of the picture, in whole pixels and square where it fits, with the boxes in it."""
    left, top = np.floor(boxes[:, :2].min(axis=0))
    right, bottom = np.ceil(boxes[:, 2:].max(axis=0))
    side = max(
        (max(right - left, bottom - top)) * (1 + _MARGIN),
        max(width, height) * _LEAST_SHARE,
    )
    x1, x2 = _place((left + right) / 2, side, width)
    y1, y2 = _place((top + bottom) / 2, side, height)
    return x1, y1, x2, y2


def _place(middle: float, side: float, length: int) -> tuple[float, float]:
    """A stretch of ``side`` around the middle, moved and cut so that it lies in 0 to length."""
    size = min(max(int(np.ceil(side)), 1), length)
    start = int(np.clip(round(middle - size / 2), 0, length - size))
    return float(start), float(start + size)


def _encode(rgb: RgbArray, area: Xyxy, most: int) -> tuple[str, bool]:
    """A part of a picture as a small ``data:`` address, and whether it is tiny."""
    left, top, right, bottom = (round(edge) for edge in area)
    image = Image.fromarray(rgb[top:bottom, left:right])
    sharp = max(image.size) <= _SHARP_PX
    buffer = io.BytesIO()
    if sharp:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.thumbnail((most, most))
        image.save(buffer, "JPEG", quality=80, optimize=True)
    kind = "png" if sharp else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", sharp
