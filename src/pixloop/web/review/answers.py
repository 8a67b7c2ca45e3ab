"""What people have answered so far, held in memory: a file an annotation is read once."""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pixloop.data.annotations import NO_ANNOTATIONS, Annotation, AnnotationStore
from pixloop.errors import DataError
from pixloop.pipeline.runs import RunRecord

#: Two changes of a folder that are nearer than this may look like one.
_TICK_NS = 50_000_000


class KnownAnswers:
    """The annotations of a folder; threads may share it.

    Args:
        folder: the project's annotations.
    """

    def __init__(self, folder: Path) -> None:
        self._store = AnnotationStore(folder)
        self._lock = threading.Lock()
        self._seen = (0, 0)
        #: By the file's name: when it was written, and what it says.
        self._files: dict[str, tuple[int, Annotation]] = {}
        self._of: dict[str, set[str]] = {}

    def of(self, sha256: str) -> list[Annotation]:
        """What people said of a picture, the last last; what was taken back is left out."""
        with self._lock:
            self._look()
            found = sorted(
                (self._files[name] for name in self._of.get(sha256, ())), key=lambda each: each[0]
            )
        return [annotation for _, annotation in found if not annotation.deleted]

    def last_of(self, annotator: str) -> Annotation | None:
        """The last answer that a person gave on these pages or in the terminal, and holds by."""
        with self._lock:
            self._look()
            own = [
                (at, annotation.at, annotation.id, annotation)
                for name, (at, annotation) in self._files.items()
                if name.startswith("review-")
                and annotation.annotator == annotator
                and not annotation.deleted
            ]
        return max(own, key=lambda each: each[:3])[-1] if own else None

    def count_since(self, when: datetime | None) -> int:
        """How many answers came after a time, or changed; skipped pictures teach nothing."""
        since = 0.0 if when is None else when.timestamp()
        with self._lock:
            self._look()
            return sum(
                at / 1e9 > since and not (annotation.skipped or annotation.deleted)
                for at, annotation in self._files.values()
            )

    def _look(self) -> None:
        """Read what is new. The lock is held."""
        folder = self._store.folder
        try:
            changed = folder.stat().st_mtime_ns
        except OSError:
            self._files, self._of = {}, {}
            return
        looked = time.time_ns()
        before, when = self._seen
        if changed == before and when - changed > _TICK_NS:
            return
        self._seen = changed, looked
        with os.scandir(folder) as entries:
            there = {e.name: e.stat().st_mtime_ns for e in entries if is_annotation(e.name)}
        for name in self._files.keys() - there.keys():
            self._forget(name)
        for name, at in there.items():
            if name not in self._files or self._files[name][0] != at:
                self._read(name, at)

    def _read(self, name: str, at: int) -> None:
        self._forget(name)
        # A run says what is wrong with a damaged file; it does not stand in the way here.
        with suppress(DataError):
            annotation = self._store.get(name.removesuffix(".json"))
            if annotation is not None:
                self._files[name] = at, annotation
                self._of.setdefault(annotation.sha256, set()).add(name)

    def _forget(self, name: str) -> None:
        known = self._files.pop(name, None)
        if known is not None:
            self._of[known[1].sha256].discard(name)


def learned_until(runs: Sequence[RunRecord]) -> datetime | None:
    """When the last run took the annotations that there were; None before there was one.

    Args:
        runs: the newest first.
    """
    for run in runs:
        step = run.steps.get("Prepare")
        if step is not None and step.status in ("done", "cached"):
            return run.began
    return None


def is_annotation(name: str) -> bool:
    """Whether a file of the annotations' folder holds one."""
    return name.endswith(".json") and not name.startswith(".") and name != NO_ANNOTATIONS
