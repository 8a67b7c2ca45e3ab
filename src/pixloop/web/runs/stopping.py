"""Stopping a run that is at work, whoever started it."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePath
from typing import Literal

import psutil

from pixloop.errors import PipelineError
from pixloop.pipeline.runs import RunRecord
from pixloop.web.runs.known import process_of

#: What a process is, as far as stopping it goes: a run, a watch that runs, or something else.
Worker = Literal["run", "watch", "other"]


def worker_of(run: RunRecord) -> Worker | None:
    """What works on a run; None where nothing does."""
    process = process_of(run)
    if process is None:
        return None
    try:
        return worker_named(process.cmdline())
    except psutil.Error:
        return "other"


def worker_named(words: Sequence[str]) -> Worker:
    """What a command line is.

    >>> worker_named(["/usr/bin/python3", "/usr/bin/pixloop", "run", "--set", "a=1"])
    'run'
    >>> worker_named(["python", "-c", "import pixloop", "watch"]), worker_named(["vi", "run"])
    ('watch', 'other')
    """
    for before, word in pairwise(words):
        if word not in ("run", "watch"):
            continue
        # The page starts it as a program of a line; see ``web.jobs``.
        if PurePath(before).name in ("pixloop", "pixloop.exe") or "import pixloop" in before:
            return "run" if word == "run" else "watch"
        if "from pixloop.cli.app import main" in before:
            return "run" if word == "run" else "watch"
    return "other"


def stop_run(run: RunRecord) -> Worker:
    """Ask what works on a run to stop, as Ctrl-C does.

    Returns:
        What was stopped.

    Raises:
        PipelineError: nothing works on it any more, or it is no command of pixloop's.
    """
    worker = worker_of(run)
    if worker is None:
        raise PipelineError("Nothing works on this run any more.")
    if worker == "other":
        raise PipelineError(
            f"Process {run.pid} works on this run, and it is no 'pixloop run'. Stop it where it "
            "was started."
        )
    with suppress(ProcessLookupError):
        os.kill(run.pid, signal.SIGINT)
    return worker
