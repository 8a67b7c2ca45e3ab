"""The pictures that people may be asked about, and why."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pixloop.data.annotation_records import Drawn

__all__ = ["STATUSES", "Candidate", "Drawn", "Item", "Reason", "ReasonKind", "Status"]

#: Why a picture is asked.
ReasonKind = Literal["unsure", "drifted", "disagreement", "label_error", "random", "reported"]
Status = Literal["waiting", "asked", "answered", "skipped"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a picture is asked.

    Attributes:
        kind: what is the matter with it.
        detail: for people: "bus 0.51, below 0.93".
        weight: how much of it there is, from 0 to 1: the higher, the sooner it is asked.
    """

    kind: ReasonKind
    detail: str
    weight: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that might be asked.

    Attributes:
        sha256: of its bytes, which names it everywhere.
        picture: its bytes, as they were sent.
        reasons: why; at least one.
        answer: the model's answer, as the server's JSON has it for a picture.
        model: the version that gave it, ``vehicles:3``.
        at: when, ISO 8601, UTC.
        embedding: what the model saw in it, for telling alike pictures; float32 (E,).
        origin: where it comes from: {"event": …} or {"dataset": …, "path": …, "label": …}.
    """

    sha256: str
    picture: bytes
    reasons: tuple[Reason, ...]
    answer: dict[str, Any]
    model: str
    at: str
    embedding: tuple[float, ...] = ()
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """A picture in the queue.

    Attributes:
        sha256: of the picture, as ``Candidate``'s; so are the next six.
        reasons: all that it was offered for, the weightiest first.
        answer: the model's.
        model: the version that gave it.
        at: when.
        embedding: float32 (E,).
        origin: where it comes from.
        status: how far it is.
        drawn: how it came to be asked; None while it waits.
    """

    sha256: str
    reasons: tuple[Reason, ...]
    answer: dict[str, Any]
    model: str
    at: str
    embedding: tuple[float, ...] = ()
    origin: dict[str, str] = field(default_factory=dict)
    status: Status = "waiting"
    drawn: Drawn | None = None

    @property
    def weight(self) -> float:
        """Of its weightiest reason but chance, 0 to 1."""
        return max((r.weight for r in self.reasons if r.kind != "random"), default=0.0)

    @property
    def ticket(self) -> float | None:
        """Its place in the draw, where it takes part: the highest are asked first."""
        if self.drawn is not None:
            return None  # its turn was
        return next((r.weight for r in self.reasons if r.kind == "random"), None)
