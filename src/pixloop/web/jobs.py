"""Work that a page starts and that outlives it: a ``pixloop`` command as a process of its own.

::

    .pixloop/web/jobs/<id>/
      job.json     what was started, and when
      log.txt      what it printed
      ended.json   its exit code, written by the process that waits for it
      stopping     that it was asked to stop

The pages' server may end meanwhile: the command goes on, and the next server finds it.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import PipelineError
from pixloop.files import write_text
from pixloop.pipeline.runs import STARTED_BY

RECORD, LOG, ENDED, STOPPING = "job.json", "log.txt", "ended.json", "stopping"
#: Older ones are forgotten.
_KEPT = 200

JobKind = Literal["run", "serve", "watch", "monitor", "collect", "annotate", "deploy", "compare"]
JobStatus = Literal["running", "done", "failed", "interrupted"]


class Job(BaseModel):
    """A command that was started."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    kind: JobKind
    command: tuple[str, ...]  #: what follows ``pixloop``
    started: str  #: ISO 8601, UTC
    pid: int
    born: float  #: when the process began, so that another one of its number is not taken for it
    about: str = ""  #: for people


class Jobs:
    """The jobs of a project.

    Args:
        folder: where they are noted.
        project: the folder that commands run in.
    """

    def __init__(self, folder: Path, project: Path) -> None:
        self._folder, self._project = folder, project
        self._lock = threading.Lock()

    def start(self, kind: JobKind, command: Sequence[str], about: str = "") -> Job:
        """Start ``pixloop <command>`` in the project's folder.

        Raises:
            PipelineError: one of the kind is at work already.
        """
        with self._lock:
            if self.running(kind):
                raise PipelineError(
                    f"'pixloop {kind}' is at work already; wait for it, or stop it."
                )
            identity = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
            folder = self._folder / identity
            folder.mkdir(parents=True)
            process = self._spawn(folder, command)
            job = Job(
                id=identity,
                kind=kind,
                command=tuple(command),
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                pid=process.pid,
                born=_born(process.pid),
                about=about,
            )
            write_text(folder / RECORD, job.model_dump_json(indent=2) + "\n")
            self._forget_old()
        threading.Thread(target=_note_end, args=(process, folder), daemon=True).start()
        return job

    def list(self, kind: JobKind | None = None) -> Sequence[Job]:
        """Every job, or those of a kind, the newest first."""
        found = []
        for file in sorted(self._folder.glob(f"*/{RECORD}"), reverse=True):
            with suppress(OSError, ValidationError):
                found.append(Job.model_validate_json(file.read_text(encoding="utf-8")))
        return [job for job in found if kind in (None, job.kind)]

    def last(self, kind: JobKind) -> Job | None:
        """The newest of a kind."""
        return next(iter(self.list(kind)), None)

    def running(self, kind: JobKind) -> Sequence[Job]:
        """Those of a kind that are at work."""
        return [job for job in self.list(kind) if self.status(job) == "running"]

    def status(self, job: Job) -> JobStatus:
        """How far a job is."""
        code = self.exit_code(job)
        if code is not None:
            return "done" if code == 0 else "interrupted" if code in (-2, -15, 130) else "failed"
        return "running" if _is_alive(job) else "interrupted"

    def exit_code(self, job: Job) -> int | None:
        """What a job ended with; None while it works, or where nobody was there to see it."""
        try:
            found = json.loads((self._folder / job.id / ENDED).read_text(encoding="utf-8"))
            return int(found["code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def log(self, job: Job, most: int = 65_536) -> str:
        """The end of what a job printed."""
        try:
            with (self._folder / job.id / LOG).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - most))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def last_words(self, job: Job, otherwise: str) -> str:
        """The last line that a job printed, as far as it fits; another text where there is none."""
        lines = [line.strip() for line in self.log(job, 4096).splitlines() if line.strip()]
        return lines[-1][:300] if lines else otherwise

    def stop(self, job: Job) -> None:
        """Ask a job to stop, as Ctrl-C does; what it does then is its own matter."""
        if _is_alive(job):
            with suppress(OSError):  # it is to stop, whether that can be noted or not
                (self._folder / job.id / STOPPING).touch()
            with suppress(ProcessLookupError):
                os.kill(job.pid, signal.SIGINT)

    def is_stopping(self, job: Job) -> bool:
        """Whether a job was asked to stop and is still at work."""
        asked = (self._folder / job.id / STOPPING).is_file()
        return asked and self.status(job) == "running"

    def _spawn(self, folder: Path, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (folder / LOG).open("wb") as log:
            return subprocess.Popen(
                # A shell may have started us with Ctrl-C switched off, which is inherited.
                [sys.executable, "-c", _PROGRAM, *command],
                cwd=self._project,
                # What lies in the folder is not imported, whatever its name.
                env={**os.environ, STARTED_BY: "page", "PYTHONSAFEPATH": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _forget_old(self) -> None:
        for job in self.list()[_KEPT:]:
            if self.status(job) != "running":
                for name in (LOG, ENDED, STOPPING, RECORD):
                    (self._folder / job.id / name).unlink(missing_ok=True)
                with suppress(OSError):
                    (self._folder / job.id).rmdir()


_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from pixloop.cli.app import main; sys.argv[0] = 'pixloop'; main()"
)


def _note_end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    code = process.wait()
    with suppress(OSError):
        write_text(folder / ENDED, json.dumps({"code": code}) + "\n")


def _born(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _is_alive(job: Job) -> bool:
    try:
        process = psutil.Process(job.pid)
        same = abs(process.create_time() - job.born) < 1.0
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
