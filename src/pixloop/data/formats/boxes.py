"""What formats with boxes share: numbers, classes, and the frame that a box is in."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pixloop.data.formats.layout import fold_validation
from pixloop.data.formats.pictures import upright_size
from pixloop.errors import DataError
from pixloop.records import Box, Finding, Sample, Xyxy

Size = tuple[float, float]

#: A box whose class the source does not name. Preparation reports it.
UNKNOWN_CLASS = ""
#: The size of a sample whose boxes are shares of the upright picture.
SHARES: Size = (1.0, 1.0)
#: The edges of a box that cannot be read.
NO_EDGES: Xyxy = (math.nan, math.nan, math.nan, math.nan)


def read_number(value: Any, where: str) -> float:
    """A finite number, written as one or as text.

    Raises:
        DataError: it is none; the message begins with ``where``.
    """
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a number, got {value!r}.")
    return number


def read_corner_box(written: Iterable[Any], where: str) -> Xyxy:
    """The edges of a box that is written as left, top, width and height.

    Raises:
        DataError: a value is no number; the message begins with ``where``.
    """
    x, y, width, height = (read_number(value, where) for value in written)
    return x, y, x + width, y + height


def unreadable_box(reason: DataError) -> Box:
    """What stands for a box that cannot be read: preparation leaves it out and says why."""
    return Box(UNKNOWN_CLASS, NO_EDGES, findings=(Finding("unreadable_box", str(reason)),))


def unreadable_sample(path: Path, source: str, reason: DataError) -> Sample:
    """What stands for a picture whose labels cannot be read: nothing is known of it.

    Args:
        path: the picture, or the label file where that does not tell the picture.
        source: where the labels are.
        reason: why they cannot be read.
    """
    return Sample(path, None, None, source, findings=(Finding("unreadable_label", str(reason)),))


def named_box(
    label: str,
    xyxy: Xyxy,
    unnamed: str,
    crowd: bool = False,
    findings: tuple[Finding, ...] = (),
) -> Box:
    """A box; where its class has no name, ``unnamed`` says which class that is."""
    if label == UNKNOWN_CLASS:
        findings = (*findings, Finding("unnamed_class", unnamed))
    return Box(label, xyxy, crowd, findings)


def read_size(width: Any, height: Any) -> Size | None:
    """The frame that a source states; None where it states none, or one without area."""
    try:
        size = read_number(width, ""), read_number(height, "")
    except DataError:
        return None
    return size if min(size) > 0 else None


def class_name(value: Any) -> str:
    """A class as text without space around it; ``UNKNOWN_CLASS`` for None."""
    return UNKNOWN_CLASS if value is None else str(value).strip()


def fold(samples: Iterable[Sample], has_test: bool) -> Iterable[Sample]:
    """Samples whose split may be ``"validation"``, with that folded into train or test."""
    for sample in samples:
        split = fold_validation(sample.split, has_test)
        yield sample if split == sample.split else replace(sample, split=split)


def in_pixels(sample: Sample) -> Sample:
    """The sample with its boxes in pixels, for formats that have no other unit.

    Shares of the picture (a size of (1, 1)) become pixels of the upright picture. Every other
    frame, also one that is not known, stays.

    Raises:
        DataError: the picture must be read, and cannot be.
    """
    if sample.size != SHARES or sample.boxes is None:
        return sample
    try:
        width, height = upright_size(sample.path)
    except DataError:
        if sample.boxes:
            raise
        return replace(sample, size=None)
    boxes = tuple(replace(box, xyxy=scale(box.xyxy, width, height)) for box in sample.boxes)
    return replace(sample, boxes=boxes, size=(width, height))


def sized(sample: Sample) -> Sample:
    """The sample with its boxes in pixels of a known frame, for formats that divide by it.

    Where the frame is not known it is taken to be the upright picture.

    Raises:
        DataError: the picture must be read, and cannot be.
    """
    sample = in_pixels(sample)
    if frame(sample) is not None or not sample.boxes:
        return sample
    return replace(sample, size=upright_size(sample.path))


def frame(sample: Sample) -> Size | None:
    """The sample's size, or None where it has no area and so says nothing."""
    return sample.size if sample.size is not None and min(sample.size) > 0 else None


def scale(xyxy: Xyxy, x: float, y: float) -> Xyxy:
    """A box with its edges multiplied by ``x`` and ``y``."""
    return xyxy[0] * x, xyxy[1] * y, xyxy[2] * x, xyxy[3] * y


def plain(value: float) -> float:
    """A number as files show it best: a whole one without a point."""
    return int(value) if float(value).is_integer() else float(value)
