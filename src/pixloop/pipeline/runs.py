"""The record of a run: ``.pixloop/runs/<id>/run.json``, always whole, always current."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixloop.files import write_text

RECORD = "run.json"
#: The environment variable by which a page says to what it starts that it did.
STARTED_BY = "PIXLOOP_STARTED_BY"

StepStatus = Literal["waiting", "running", "done", "cached", "failed", "refused", "interrupted"]
RunStatus = Literal["running", "done", "failed", "refused", "interrupted"]


class StepRecord(BaseModel):
    """How far one step of a run is."""

    model_config = ConfigDict(extra="forbid")

    status: StepStatus = "waiting"
    started: str | None = None  #: ISO 8601, UTC
    seconds: float | None = None
    folder: str | None = None  #: relative to .pixloop/
    failure: str | None = None


class Cause(BaseModel):
    """Why there is a run: who started it, and what for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: A person at a terminal or in Python, a person on the web pages, or 'pixloop watch'; what
    #: older records do not say is unknown.
    by: Literal["unknown", "person", "page", "watch"] = "unknown"
    triggers: tuple[str, ...] = ()  #: of the watch, as ``config_loop.TRIGGERS`` names them
    detail: str = ""  #: for people
    settings: tuple[str, ...] = ()  #: ``key=value`` that were set for this run alone


class RunRecord(BaseModel):
    """The content of run.json."""

    model_config = ConfigDict(extra="forbid")

    id: str
    status: RunStatus = "running"
    pid: int
    started: str  #: ISO 8601, UTC
    seconds: float | None = None
    parameters: dict[str, Any] = {}
    steps: dict[str, StepRecord] = {}
    registered: dict[str, Any] | None = None  #: what the registry answered
    failure: str | None = None
    cause: Cause = Cause()
    folder: Path = Field(exclude=True, default=Path())

    @property
    def began(self) -> datetime | None:
        """When it began, to the millisecond where it ran here; None where the record is damaged."""
        with suppress(ValueError):
            # As ``new_run_id`` names it; ``started`` has no parts of a second.
            return datetime.strptime(f"{self.id[:18]}000+0000", "%Y%m%dT%H%M%S%f%z")
        with suppress(ValueError):
            return datetime.fromisoformat(self.started)
        return None

    def save(self) -> None:
        """Write run.json."""
        write_text(self.folder / RECORD, self.model_dump_json(indent=2) + "\n")


def new_run_id() -> str:
    """A name that sorts by time, in milliseconds, and does not repeat."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"[:-3] + f"-{secrets.token_hex(2)}"


def list_runs(state: Path) -> list[RunRecord]:
    """The runs of a project, the newest first; ``state`` is its ``.pixloop`` folder."""
    records = []
    for file in (state / "runs").glob(f"*/{RECORD}"):
        record = read_run(file)
        if record is not None:
            records.append(record)
    return sorted(records, key=lambda each: (each.started, each.id), reverse=True)


def read_run(file: Path) -> RunRecord | None:
    """The record in a run.json; None where there is none, or another version's."""
    try:
        record = RunRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    record.folder = file.parent
    return record


def mark_interrupted(record: RunRecord) -> None:
    """Say of a run whose process is gone that it was interrupted."""
    record.status = "interrupted"
    for step in record.steps.values():
        if step.status == "running":
            step.status = "interrupted"
    record.save()
