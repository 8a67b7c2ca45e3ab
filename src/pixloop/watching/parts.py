"""What a watcher is made of: whatever it looks at and starts, given to it as one object.

``assembly.ProjectParts`` is a project's. A watcher knows nothing else of models, pictures or
people, so that its own promises can be tested without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

#: What a run is made of. Where none of them has changed, it would give the same version again.
SOURCES = ("raw_data", "annotations", "commit", "settings")


@dataclass(frozen=True, slots=True)
class Mark:
    """The state that a source is in.

    Attributes:
        signature: another one where anything has changed; empty where there is nothing.
        number: of annotations, how many are new or have changed since a time.
    """

    signature: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that nobody has acknowledged.

    Attributes:
        id: unique to it.
        kind: what is no longer as it was: the pictures that are asked, or the answers' quality.
        version: the model version that it is about.
        words: what it says, for people.
        since: when the change began, ISO 8601; empty where that is not known.
        matters: whether it is believed to cost accuracy.
    """

    id: str
    kind: Literal["drift", "quality"]
    version: str
    words: str
    since: str = ""
    matters: bool = True


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave.

    Attributes:
        version: the one that it registered, or found registered.
        promotable: whether the evidence suffices to make it the champion.
        reason: why, or why not.
        seconds: how long it took.
        work: whether any step had to run; else all was as before.
    """

    version: str
    promotable: bool
    reason: str = ""
    seconds: float = 0.0
    work: bool = True


class Parts(Protocol):
    """What a watcher looks at, and what it starts.

    Whatever starts something may be called again after a kill, and then does only what is not done
    yet. All may raise ``PixloopError``; the watcher notes it and goes on.
    """

    def mark(self, source: str, since: float) -> Mark:
        """The state of one of ``SOURCES``; annotations are counted from ``since`` (epoch) on."""

    def look(self) -> Sequence[OpenAlarm]:
        """Judge what was captured since the last look; every open alarm, old ones too."""

    def sync(self) -> int:
        """Fetch annotations, and hand out what is to be annotated; how many came."""

    def collect(self) -> int:
        """Choose pictures for review; how many are asked now that were not before."""

    def busy(self) -> str:
        """The process of another run of the project that is at work; empty without one."""

    def run(self, triggers: Sequence[str]) -> Ran:
        """Run the pipeline, for the triggers of these names.

        Raises:
            GateRefused: the model is not good enough.
        """

    def champion(self) -> str | None:
        """The version that serves."""

    def promote(self, version: str) -> None:
        """Make a version the champion."""

    def roll_back(self, version: str, reason: str) -> str | None:
        """Make the champion before ``version`` the champion again, and reject ``version``.

        Where another version is the champion already, nothing but the rejection is left to do.

        Returns:
            The champion now; None where there was none before, and ``version`` goes on.
        """

    def take_as_normal(self, version: str, since: str) -> bool:
        """Let a version take the pictures since a time for normal; False: too few are there yet."""
