"""The answer for one picture file, and what many of them come to."""

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from pixloop.records import Decision, DetectedBox, Detection, Prediction


class PicturePrediction(BaseModel):
    """The answer for one picture file: a prediction, or what was found, or why there is neither.

    A classifier gives ``label`` and ``probabilities``, a detector ``boxes`` in pixels of the
    upright picture, whose ``width`` and ``height`` come with them.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    label: str | None = None
    score: float | None = None
    decision: str | None = None
    probabilities: dict[str, float] | None = None
    boxes: tuple[DetectedBox, ...] | None = None
    width: int | None = None
    height: int | None = None
    drawing: str | None = None
    error: str | None = None

    @classmethod
    def of(
        cls, path: str | Path, answer: Prediction | Detection, drawing: Path | None = None
    ) -> Self:
        """The answer of a model as that for a file."""
        drawn = None if drawing is None else file_name(drawing)
        if isinstance(answer, Detection):
            return cls(
                path=file_name(path),
                boxes=answer.boxes,
                width=answer.width,
                height=answer.height,
                drawing=drawn,
            )
        return cls(
            path=file_name(path),
            label=answer.label,
            score=answer.score,
            decision=answer.decision.value,
            probabilities=dict(answer.probabilities),
            drawing=drawn,
        )


class Summary(BaseModel):
    """What the answers for many picture files come to.

    Attributes:
        pictures: how many there are.
        unreadable: how many of them have no answer.
        accepted: predictions, or boxes, that are sure enough to use.
        referred: those that a person should see.
        classes: how many predictions, or boxes, each class has.
        earlier: how many of the pictures an earlier run had answered before it was interrupted.
        output: the file that holds the answers.
    """

    pictures: int = 0
    unreadable: int = 0
    accepted: int = 0
    referred: int = 0
    classes: dict[str, int] = {}
    earlier: int = 0
    output: str | None = None

    def add(self, answer: PicturePrediction) -> None:
        """Count one answer."""
        self.pictures += 1
        self.unreadable += answer.error is not None
        if answer.boxes is not None:
            for box in answer.boxes:
                self._count(box.label, box.decision)
        elif answer.label is not None:
            self._count(answer.label, answer.decision)

    def merge(self, other: "Summary") -> None:
        """Count all that another has counted."""
        for name in ("pictures", "unreadable", "accepted", "referred"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for label, number in other.classes.items():
            self.classes[label] = self.classes.get(label, 0) + number

    def _count(self, label: str, decision: str | None) -> None:
        self.classes[label] = self.classes.get(label, 0) + 1
        self.accepted += decision == Decision.ACCEPT
        self.referred += decision == Decision.REFER


def file_name(path: str | Path) -> str:
    """A path as text that can be written anywhere, whatever bytes the file system holds.

    >>> file_name(Path("cat.jpg"))
    'cat.jpg'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")
