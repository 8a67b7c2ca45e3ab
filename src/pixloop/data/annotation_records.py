"""What one person said about one picture, as it is kept."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pixloop.records import Xyxy

#: How a picture came to be asked. Only what was drawn at random is a fair sample.
Drawn = Literal["random", "chosen"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnnotatedBox(_Part):
    """A box that a person drew, or left as the model drew it."""

    label: str
    xyxy: Xyxy  #: in pixels of the upright picture
    rotation: float = 0.0  #: degrees, as it was drawn; ``xyxy`` is the upright box around it


class Annotation(_Part):
    """What one person said about one picture.

    Where it is deleted at its source, ``deleted`` is set and it counts no more.
    """

    id: str  #: unique: where it was made and its number there, ``label-studio-1-17``
    sha256: str  #: of the picture, as it was asked and is kept
    label: str | None = None  #: classification: the class; None where there is none to give
    boxes: tuple[AnnotatedBox, ...] | None = None  #: detection: all that is to be seen
    annotator: str = ""
    at: str = ""  #: ISO 8601, UTC
    #: ``random``: the picture was drawn from all that was asked, and may judge a model;
    #: ``chosen``: because it was hard, and may only teach.
    drawn: Drawn = "chosen"
    reasons: tuple[str, ...] = ()  #: why it was asked: kinds of annotation.items.Reason
    origin: dict[str, str] = {}  #: the capture's event id, the version that had answered, ...
    skipped: bool = False  #: the person could not or would not say
    deleted: bool = False
