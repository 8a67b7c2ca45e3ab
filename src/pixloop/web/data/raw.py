"""Pictures that no run has looked at yet: what their folders say, as far as that is quick."""

import time
from dataclasses import dataclass
from pathlib import Path

from pixloop.data.formats import class_folders
from pixloop.errors import DataError
from pixloop.web.data.quarantine import local_folder
from pixloop.web.site import Site

#: Looking ends after so long, or so many files.
_PATIENCE_S = 2.0
_MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Raw:
    """Class folders as they lie.

    Attributes:
        folder: where.
        counts: files of each class, by the splits that the folders are named for ("" for none).
        splits: those that there are.
        complete: whether all were counted.
    """

    folder: Path
    counts: dict[str, dict[str, int]]
    splits: tuple[str, ...]
    complete: bool


def look_at_raw(site: Site) -> Raw | None:
    """What lies in ``data.train``; None where it is no folder of class folders here."""
    config = site.project.config
    folder = local_folder(site, config.data.train)
    if config.task != "classification" or folder is None:
        return None
    if config.data.format not in ("auto", class_folders.NAME):
        return None
    try:
        return _count(folder) if class_folders.matches(folder) else None
    except (DataError, OSError):
        return None


def _count(folder: Path) -> Raw:
    counts: dict[str, dict[str, int]] = {}
    until, complete = time.monotonic() + _PATIENCE_S, True
    for seen, sample in enumerate(class_folders.read(folder), start=1):
        if seen > _MOST_FILES or (seen % 256 == 0 and time.monotonic() > until):
            complete = False
            break
        if sample.label is not None:
            by_split = counts.setdefault(sample.label, {})
            split = sample.split or ""
            by_split[split] = by_split.get(split, 0) + 1
    splits = tuple(sorted({split for each in counts.values() for split in each}, reverse=True))
    return Raw(folder, dict(sorted(counts.items())), splits, complete)
