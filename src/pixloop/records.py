"""The small frozen records that rooms hand to one another. No behaviour beyond themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Decision(StrEnum):
    """What to do with a prediction."""

    ACCEPT = "accept"  #: sure enough: use it
    REFER = "refer"  #: not sure enough: ask a person


#: Left, top, right and bottom edge, in pixels unless said otherwise: x to the right, y down, from
#: the upper left corner of the first pixel, so that a whole picture is (0, 0, width, height).
Xyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to report about a picture or a box: its kind, and a few words.

    The kinds, and what is done about each, are in ``data.findings.KINDS``.
    """

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """One labelled box, as a data format reads it, before anything was checked.

    Attributes:
        label: the class of what is in it.
        xyxy: its edges, in the frame of the sample's ``size``; NaN where they cannot be read.
        crowd: a region of many objects (COCO's ``iscrowd``, VOC's ``difficult``): it is neither
            learned, nor is finding or missing something there an error.
        findings: what the format has to say of it, such as why it cannot be read.
    """

    label: str
    xyxy: Xyxy
    crowd: bool = False
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, as a data format reads it, before anything was checked.

    Attributes:
        path: the picture's file.
        label: its class, or None where the source gives none, as in detection.
        split: ``"train"`` or ``"test"`` where the source says so, else None.
        source: where the label was read, for messages: ``labels.csv:17``, ``train/cat/1.jpg``.
        boxes: what is in the picture; empty where it is known that nothing is, None where the
            source says nothing about boxes.
        size: width and height of the frame that the boxes are in, as the source has it; (1, 1)
            where they are shares of the picture, None where the source does not say.
        relative: whether the source has the boxes as shares of the picture, so that they fit it
            even where ``size`` is not its size.
        findings: what the format has to say of it, such as why its labels cannot be read.
    """

    path: Path
    label: str | None
    split: str | None = None
    source: str = ""
    boxes: tuple[Box, ...] | None = None
    size: tuple[float, float] | None = None
    relative: bool = False
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """A classifier's answer for one picture.

    Attributes:
        label: the most probable class.
        score: its calibrated probability, 0 to 1.
        probabilities: every class's calibrated probability; they sum to 1.
        decision: accept, or refer to a person.
    """

    label: str
    score: float
    probabilities: Mapping[str, float] = field(repr=False)
    decision: Decision = Decision.REFER


@dataclass(frozen=True, slots=True)
class DetectedBox:
    """One thing that a detector found.

    Attributes:
        label: its class.
        score: how sure the detector is, calibrated: the share of right ones among such boxes.
        xyxy: its edges in pixels of the upright picture.
        decision: accept, or refer to a person.
    """

    label: str
    score: float
    xyxy: Xyxy
    decision: Decision = Decision.REFER


@dataclass(frozen=True, slots=True)
class Detection:
    """A detector's answer for one picture.

    Attributes:
        boxes: what it found, the surest first; empty where it found nothing.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
    """

    boxes: tuple[DetectedBox, ...]
    width: int
    height: int
