"""What a task's ``meta`` says of its picture, so that an answer needs nothing else to be read."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Mark(BaseModel):
    """Which picture a task asks about, and why. Label Studio keeps ``meta`` and shows it not."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")  #: of the picture as it was sent to the server
    width: int = Field(ge=1)  #: of the upright picture, in pixels
    height: int = Field(ge=1)
    drawn: Literal["random", "chosen"] = "chosen"
    reasons: tuple[str, ...] = ()
    origin: dict[str, str] = {}
    model: str = ""  #: the version that had answered


def read_mark(task: dict[str, Any]) -> Mark | None:
    """A task's mark; None where the task is not ours."""
    try:
        return Mark.model_validate(task.get("meta"))
    except ValidationError:
        return None
