"""How far the step at work is: ``.pixloop/runs/<id>/progress.json``, for whoever looks on.

It is there while a step tells of its progress, always whole, and gone when the step has ended::

    {"step": "Train", "description": "training", "done": 120, "total": 400,
     "note": "epoch 3/10 loss 0.31", "at": "2026-03-01T12:30:00+00:00",
     "since": "2026-03-01T12:29:00+00:00", "first": 0}
"""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.files import write_text

FILE = "progress.json"
_EVERY_S = 0.5


class StepProgress(BaseModel):
    """The content of progress.json."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: str
    description: str = ""
    done: int = 0
    total: int | None = None
    note: str = ""
    at: datetime
    since: datetime | None = None  #: when this piece of work was first told of
    first: int = 0  #: how many units were done then; a step that goes on has done some before


class ProgressNote:
    """Writes a run's progress.json, at most twice a second.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._written = float("-inf")
        self._piece: tuple[str, datetime, int] | None = None

    def write(self, step: str, description: str, done: int, total: int | None, note: str) -> None:
        """Note how far a step is, unless that was done just now."""
        if self._piece is None or self._piece[0] != description:
            self._piece = description, datetime.now(UTC), done
        if time.monotonic() - self._written < _EVERY_S:
            return
        self._written = time.monotonic()
        progress = StepProgress(
            step=step,
            description=description,
            done=done,
            total=total,
            note=note,
            at=datetime.now(UTC),
            since=self._piece[1],
            first=self._piece[2],
        )
        # Whoever looks on sees less where the disk is full; the work itself goes on.
        with suppress(OSError):
            write_text(self._file, progress.model_dump_json() + "\n")

    def remove(self) -> None:
        """Say that no step is at work; the next one is noted at once."""
        self._written, self._piece = float("-inf"), None
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def read_step_progress(folder: Path) -> StepProgress | None:
    """What a run's progress.json says; None where there is none."""
    try:
        return StepProgress.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
