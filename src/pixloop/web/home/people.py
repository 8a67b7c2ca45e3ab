"""The rooms of people: pictures that they are asked about, and answers that nobody learned from."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pixloop.annotation.queue import DATABASE, ReviewQueue
from pixloop.errors import PixloopError
from pixloop.pipeline.runs import RunRecord
from pixloop.web.cached import stamp
from pixloop.web.home.times import moment_of
from pixloop.web.review.answers import is_annotation, learned_until
from pixloop.web.site import Site


@dataclass(frozen=True, slots=True)
class ReviewState:
    """The review queue.

    Attributes:
        asked: pictures that people are asked about now.
        waiting: that may be asked later.
        answered: that were.
        skipped: that nobody could say anything about.
        at: when the queue last changed; ISO 8601, UTC; empty without a queue.
        problem: why it cannot be read.
    """

    asked: int = 0
    waiting: int = 0
    answered: int = 0
    skipped: int = 0
    at: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AnnotationsState:
    """What people said.

    Attributes:
        count: annotations in all.
        new: those since the latest run that could learn from them began.
        worth: how many are worth a run (``triggers.annotations``).
        at: when the latest came; ISO 8601, UTC.
        problem: why they cannot be read.
    """

    count: int = 0
    new: int = 0
    worth: int = 20
    at: str = ""
    problem: str = ""


def read_review(site: Site) -> ReviewState:
    """How long the queue is."""
    folder = site.state / "review"
    file = folder / DATABASE
    if not file.is_file():
        return ReviewState()
    seen = stamp(file, file.with_name(f"{DATABASE}-wal"))
    return site.cached.get("loop review", seen, lambda: _read_queue(folder))


def read_annotations(site: Site, runs: Sequence[RunRecord], worth: int) -> AnnotationsState:
    """How many annotations no run has learned from.

    Args:
        site: the project's.
        runs: all, the newest first.
        worth: how many are worth a run.
    """
    folder, since = site.state / "annotations", _taken(runs)
    seen = (stamp(folder), since, worth)
    return site.cached.get("loop annotations", seen, lambda: _count(folder, since, worth))


def _read_queue(folder: Path) -> ReviewState:
    try:
        counts = ReviewQueue(folder).counts()
        at = moment_of((folder / DATABASE).stat().st_mtime)
    except (PixloopError, OSError) as e:
        return ReviewState(problem=str(e))
    return ReviewState(
        counts["asked"], counts["waiting"], counts["answered"], counts["skipped"], at
    )


def _taken(runs: Sequence[RunRecord]) -> float:
    """When the latest run began whose data are all that people had said; 0 without one."""
    began = learned_until(runs)
    return began.timestamp() if began else 0.0


def _count(folder: Path, since: float, worth: int) -> AnnotationsState:
    times: list[float] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_annotation(entry.name):
                    with suppress(FileNotFoundError):
                        times.append(entry.stat().st_mtime)
    except FileNotFoundError:
        return AnnotationsState(worth=worth)
    except OSError as e:
        return AnnotationsState(worth=worth, problem=f"{folder} cannot be read: {e.strerror}")
    new = sum(time > since for time in times)
    return AnnotationsState(len(times), new, worth, moment_of(max(times)) if times else "")
