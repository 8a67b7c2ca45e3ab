"""The small frozen records that rooms hand to one another. No behaviour beyond themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Decision(StrEnum):
    """What to do with a prediction."""

    ACCEPT = "accept"  #: sure enough: use it
    REFER = "refer"  #: not sure enough: ask a person


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, as a data format reads it, before anything was checked.

    Attributes:
        path: the picture's file.
        label: its class, or None where the source gives none.
        split: ``"train"`` or ``"test"`` where the source says so, else None.
        source: where the label was read, for messages: ``labels.csv:17``, ``train/cat/1.jpg``.
    """

    path: Path
    label: str | None
    split: str | None = None
    source: str = ""


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
