"""Every run's record, read anew only where it has changed, and whether its process still lives."""

import os
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil

from pixloop.pipeline.runs import RECORD, RunRecord, read_run

#: A process that began so much after a run's record is another one with its number.
_SLACK_S = 2.0


class KnownRuns:
    """The runs of a project; threads may share it.

    Args:
        folder: ``.pixloop/runs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._records: dict[str, tuple[tuple[int, int], RunRecord]] = {}

    def list(self) -> Sequence[RunRecord]:
        """The newest first. One that says "running" while nobody works on it is interrupted."""
        with self._lock:
            self._look()
            records = [record for _, record in self._records.values()]
        records.sort(key=lambda each: (each.started, each.id), reverse=True)
        return [_as_it_is(record) for record in records]

    def _look(self) -> None:
        before, self._records = self._records, {}
        try:
            with os.scandir(self._folder) as entries:
                folders = [entry.path for entry in entries]
        except OSError:
            return
        for folder in folders:
            file = Path(folder, RECORD)
            try:
                stat = file.stat()
            except OSError:
                continue
            seen = stat.st_mtime_ns, stat.st_size
            known = before.get(folder)
            if known is not None and known[0] == seen:
                self._records[folder] = known
            elif (record := read_run(file)) is not None:
                self._records[folder] = seen, record


def process_of(run: RunRecord) -> psutil.Process | None:
    """The process that is at work on a run; None where there is none any more."""
    if run.status != "running":
        return None
    try:
        process = psutil.Process(run.pid)
        began = process.create_time()
        noted = datetime.fromisoformat(run.started).timestamp()
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (psutil.Error, ValueError, OverflowError):
        return None
    return process if began <= noted + _SLACK_S else None


def _as_it_is(run: RunRecord) -> RunRecord:
    if run.status != "running" or process_of(run) is not None:
        return run
    steps = {
        name: step.model_copy(update={"status": "interrupted"})
        if step.status == "running"
        else step
        for name, step in run.steps.items()
    }
    return run.model_copy(update={"status": "interrupted", "steps": steps})
