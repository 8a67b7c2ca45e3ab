"""What a watcher has done: ``.pixloop/watch/events.jsonl``, a line an event, the newest last.

An event has an id that follows from the state. After a kill, what is done again is written again,
under the same id, and so only once.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "events.jsonl"
#: What of the file's end is read for the ids of the latest events.
_TAIL_BYTES = 1 << 18


class Event(BaseModel):
    """Something that happened, what it started, and what became of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    time: str  #: ISO 8601, UTC
    trigger: tuple[str, ...]  #: names of triggers; none for what the watcher does unasked
    started: str  #: run, review, rollback, promotion, normal, sync, look, or nothing
    outcome: str  #: began, done, refused, failed, interrupted, waiting, unchanged, …
    detail: str = ""  #: for people
    version: str | None = None  #: the model version that it is about


class EventLog:
    """The events of a project, and whoever is told of them.

    Args:
        folder: where the file is; made where it is missing.
        tell: is told of every new event.
    """

    def __init__(self, folder: Path, tell: Callable[[Event], None] = lambda event: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._tell = folder / FILE, tell
        self._known = {event.id for event in read_events(folder)}

    def add(
        self,
        identity: str,
        trigger: Sequence[str],
        started: str,
        outcome: str,
        detail: str = "",
        version: str | None = None,
    ) -> bool:
        """Append an event, unless it is there already; whether it was not."""
        if identity in self._known:
            return False
        event = Event(
            id=identity,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            trigger=tuple(trigger),
            started=started,
            outcome=outcome,
            detail=detail,
            version=version,
        )
        line = json.dumps(event.model_dump(mode="json"), ensure_ascii=False).encode()
        self._append(line)
        self._known.add(identity)
        self._tell(event)
        return True

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            # A kill may have cut the last line short: that one is lost, not this one as well.
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
        finally:
            os.close(descriptor)


def read_events(folder: Path) -> Iterator[Event]:
    """The latest events of a folder, at least some hundred of them, the oldest first."""
    try:
        with (folder / FILE).open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[1 if start else 0 :]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Event.model_validate_json(line)
        except ValidationError:
            continue  # cut short by a kill
