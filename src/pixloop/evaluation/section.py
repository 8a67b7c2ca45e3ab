"""The studies of an evaluation: parts of the report beside the test set's scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.data.dataset import Dataset

Answers = TypeVar("Answers")


@dataclass(frozen=True, slots=True)
class Contender(Generic[Answers]):
    """A model beside the one that is studied, and what it answers to the same test pictures."""

    bundle: Bundle  #: open while the studies run
    answers: Answers


@dataclass(frozen=True, slots=True)
class Subject(Generic[Answers]):
    """What is studied: a model, its data set, and its answers to the test pictures."""

    config: Config
    bundle: Bundle
    data: Dataset
    answers: Answers  #: ``Predictions`` or ``detection.detections.Detections``, by the task
    champion: Contender[Answers] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What a study found, for machines and for people."""

    key: str  #: its key in evaluation.json's ``pixloop`` section, and its anchor in the report
    title: str
    verdict: str  #: one sentence, for the top of the report
    good: bool | None  #: whether that is good news; None where it is neither
    content: Mapping[str, Any]  #: JSON values without NaN
    body: Markup  #: what the report shows below the title
