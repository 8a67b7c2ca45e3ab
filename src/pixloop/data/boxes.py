"""The boxes of one picture: brought into its upright pixels, and what is wrong with them.

Boxes are ``float64`` arrays of shape (M, 4), xyxy; sizes are (width, height). Nothing here knows
files: what is found comes back as a kind (see ``findings.KINDS``) and a few words.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixloop.imaging import Boxes
from pixloop.records import Finding, Xyxy

Size = tuple[float, float]
BoxFrame = Literal["auto", "upright", "stored"]

#: Of a box, what is thinner than this is nothing.
MIN_SIDE_PX = 0.5
#: Boxes of one class that overlap as much are one box drawn twice.
SAME_IOU = 0.98

_SHARES: Size = (1.0, 1.0)
_ROUNDING_PX = 0.01  # an edge that lies further outside is worth a word
_PIXEL = 1.0


class Shape(NamedTuple):
    """A picture's size once upright, in pixels, and its EXIF orientation, 1 to 8, before."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> Size:
        """Width and height of the upright picture."""
        return self.width, self.height

    @property
    def stored(self) -> Size:
        """Width and height of the picture as its pixels are stored."""
        return (self.height, self.width) if self.orientation >= 5 else self.upright


def to_upright(
    boxes: Boxes,
    size: Size | None,
    shape: Shape,
    frame: BoxFrame = "auto",
    relative: bool = False,
) -> tuple[Boxes, list[Finding]]:
    """Bring a picture's boxes into pixels of the upright picture.

    Args:
        boxes: shape (M, 4), in the frame that ``size`` tells.
        size: width and height of the frame as the labels have it; (1, 1) where boxes are shares
            of the picture; None or 0×0 where the labels do not say.
        shape: of the picture.
        frame: which way up the picture was when the boxes were drawn; ``auto``: as its size says,
            and upright where that does not tell.
        relative: whether the labels have shares of the picture, which hold whatever its size is.

    Returns:
        The boxes, shape (M, 4), which may still lie outside the picture, and what is to be said.
    """
    if size is not None and not (np.isfinite(size).all() and min(size) > 0):
        size = None
    # A size that is not the picture's tells of shares no more than that they are shares.
    telling = _SHARES if relative and size is not None and not _is_of(size, shape) else size
    drawn = _drawn_frame(boxes, telling, shape) if frame == "auto" else frame
    whole = shape.stored if drawn == "stored" else shape.upright
    if frame != "auto" and size and not relative and _lies(size, whole):
        size = size[::-1]  # told which way up it was, a size the other way up says no more
    findings = []
    if size is None:
        findings.append(Finding("size_missing", "boxes were taken as pixels of the picture"))
    elif size == _SHARES:
        boxes = boxes * np.array([*whole, *whole])
    elif size != whole:
        scaled = relative or _same_shape(size, whole)
        if scaled:
            boxes = boxes * np.array([whole[0] / size[0], whole[1] / size[1]] * 2)
        done = "boxes were scaled" if scaled else "boxes were taken as pixels of the picture"
        picture = f"the picture is {_words(shape.upright)}"
        findings.append(Finding("size_mismatch", f"labels say {_words(size)}, {picture}; {done}"))
    if frame == "auto" and len(boxes) and not _is_told(boxes, telling, shape):
        findings.append(Finding("box_frame_unclear", f"EXIF orientation {shape.orientation}"))
    return (turn(boxes, shape) if drawn == "stored" else boxes), findings


def turn(boxes: Boxes, shape: Shape) -> Boxes:
    """Boxes in the stored picture → boxes in the upright picture, as EXIF's orientation says.

    Negative sides stay negative. (EXIF 2.32, tag 0x0112.)

    >>> turn(np.array([[0.0, 0.0, 10.0, 20.0]]), Shape(30, 40, orientation=6)).tolist()
    [[10.0, 0.0, 30.0, 10.0]]
    """
    width, height = shape.stored
    x, y = boxes[:, 0::2], boxes[:, 1::2]
    if shape.orientation in (2, 3, 7, 8):
        x = width - x[:, ::-1]
    if shape.orientation in (3, 4, 6, 7):
        y = height - y[:, ::-1]
    if shape.orientation >= 5:
        x, y = y, x
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def _drawn_frame(boxes: Boxes, size: Size | None, shape: Shape) -> BoxFrame:
    """The frame that the labels' size, or failing that the boxes, speak for."""
    fits_upright, fits_stored = _frames(boxes, size, shape)
    return "stored" if fits_stored and not fits_upright else "upright"


def _is_told(boxes: Boxes, size: Size | None, shape: Shape) -> bool:
    """Whether it is sure which way up the boxes were drawn, or does not matter."""
    fits_upright, fits_stored = _frames(boxes, size, shape)
    return shape.orientation == 1 or fits_upright != fits_stored


def _frames(boxes: Boxes, size: Size | None, shape: Shape) -> tuple[bool, bool]:
    """Whether boxes may have been drawn in the upright and in the stored picture."""
    if size == _SHARES:
        return True, True
    if size is not None:
        alike = _same_shape(size, shape.upright), _same_shape(size, shape.stored)
        if any(alike):
            exact = size == shape.upright, size == shape.stored
            return exact if any(exact) else alike
    return _holds(shape.upright, boxes), _holds(shape.stored, boxes)


def _is_of(size: Size, shape: Shape) -> bool:
    """Whether a size is the picture's, or the picture's scaled."""
    return _same_shape(size, shape.upright) or _same_shape(size, shape.stored)


def _same_shape(size: Size, other: Size) -> bool:
    """Whether one is the other scaled, but for rounding to whole pixels.

    >>> _same_shape((333, 250), (1000, 750)), _same_shape((640, 480), (480, 640))
    (True, False)
    """
    small, large = sorted((size, other))
    scale = (large[0] + large[1]) / (small[0] + small[1])
    return all(abs(a * scale - b) <= max(1.0, scale) for a, b in zip(small, large, strict=True))


def _lies(size: Size, other: Size) -> bool:
    """Whether one is the other turned on its side, rather than upright.

    >>> _lies((4000, 3000), (750, 1000)), _lies((10, 11), (10, 11)), _lies((11, 10), (10, 11))
    (True, False, True)
    """
    if size == other or not _same_shape(size[::-1], other):
        return False
    return size[::-1] == other or not _same_shape(size, other)


def _holds(size: Size, boxes: Boxes) -> bool:
    return bool((boxes >= -_PIXEL).all() and (boxes <= np.array([*size, *size]) + _PIXEL).all())


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one box.

    Attributes:
        xyxy: its edges, inside the picture where it is kept.
        left_out: why it is left out, or None where it is kept.
        notes: what else is to be said of it.
    """

    xyxy: Xyxy
    left_out: Finding | None = None
    notes: tuple[Finding, ...] = ()


def check_boxes(
    boxes: Boxes, labels: list[str], crowd: NDArray[np.bool_], width: int, height: int
) -> list[Checked]:
    """Look at one picture's boxes, in upright pixels: each is kept, clipped or left out.

    Args:
        boxes: shape (M, 4).
        labels: the M classes.
        crowd: shape (M,).
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.

    Returns:
        M verdicts. What is kept is finite, inside the picture, and at least half a pixel wide
        and high; no two kept boxes of a class are (nearly) the same.
    """
    checked = [_check_box((x1, y1, x2, y2), width, height) for x1, y1, x2, y2 in boxes.tolist()]
    kept = [i for i, box in enumerate(checked) if box.left_out is None]
    edges = np.array([checked[i].xyxy for i in kept]).reshape(-1, 4)
    for place, i in enumerate(kept):
        if checked[i].left_out is not None:
            continue
        overlaps = overlap(edges[place], edges[place + 1 :]) >= SAME_IOU
        for j in (kept[place + 1 + k] for k in np.flatnonzero(overlaps)):
            if checked[j].left_out is None and crowd[i] == crowd[j]:
                checked[j] = _repeated(checked[j], labels[j], labels[i], i)
    return checked


def overlap(box: NDArray[np.float64], boxes: Boxes) -> NDArray[np.float64]:
    """Intersection over union of one box, shape (4,), with others, shape (M, 4): shape (M,).

    >>> overlap(np.array([0.0, 0, 2, 2]), np.array([[0.0, 0, 2, 2], [1, 0, 2, 2]])).tolist()
    [1.0, 0.5]
    """
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(shared / (area + areas - shared))


def _check_box(edges: Xyxy, width: int, height: int) -> Checked:
    x1, y1, x2, y2 = edges

    def left_out(kind: str, detail: str) -> Checked:
        return Checked(edges, Finding(kind, detail))

    if not all(map(isfinite, edges)):
        return left_out("invalid_box", "an edge is no number")
    if x2 < x1 or y2 < y1:
        return left_out("invalid_box", f"{x2 - x1:g} wide and {y2 - y1:g} high")
    if min(x2 - x1, y2 - y1) < MIN_SIDE_PX:
        return left_out("empty_box", f"{x2 - x1:g} wide and {y2 - y1:g} high")
    inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if min(inside[2] - inside[0], inside[3] - inside[1]) < MIN_SIDE_PX:
        return left_out("outside_box", f"the picture is {width}×{height}")
    outside_px = max(abs(edge - bound) for edge, bound in zip(edges, inside, strict=True))
    if outside_px <= _ROUNDING_PX:
        return Checked(inside)
    kind = "clipped_box" if outside_px > _PIXEL else "clipped_edge"
    words = f"{outside_px:.4g} px outside, the picture is {width}×{height}"
    return Checked(inside, notes=(Finding(kind, words),))


def _repeated(box: Checked, label: str, other: str, number: int) -> Checked:
    """A box that lies where box ``number`` lies already."""
    if label == other:
        return Checked(box.xyxy, Finding("duplicate_box", f"the same as box {number + 1}"))
    conflict = Finding("conflicting_boxes", f"box {number + 1}, {other!r}, is in the same place")
    return Checked(box.xyxy, notes=(*box.notes, conflict))


def _words(size: Size) -> str:
    return f"{size[0]:g}×{size[1]:g}"
