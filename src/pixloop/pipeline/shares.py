"""A job on several instances: each one's share of an input, and one output of what all leave."""

import filecmp
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pixloop.errors import PipelineError


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, links followed: its name there and its path, in no order."""
    seen: set[Path] = set()
    for inner, folders, names in os.walk(folder, followlinks=True):
        # A link to a folder above would be walked for ever.
        real = Path(inner).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            file = Path(inner, name)
            # A dangling link has no content.
            if file.exists():
                yield file.relative_to(folder).as_posix(), file


def link_share(source: Path, target: Path, number: int, count: int) -> None:
    """Make ``target`` a folder with one instance's share of an input: every ``count``-th file.

    Args:
        source: a folder, or the one file that there is.
        target: a new folder.
        number: the instance's, from 0; files go round by name, as ShardedByS3Key goes by key.
        count: how many instances there are.
    """
    files = dict(files_below(source)) if source.is_dir() else {source.name: source}
    target.mkdir(parents=True, exist_ok=True)
    for name in sorted(files)[number::count]:
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(files[name].absolute())


def merge(parts: Sequence[Path], target: Path, what: str) -> None:
    """Move what instances left in ``parts`` into one folder, ``target``.

    Raises:
        PipelineError: two of them left different files of one name, of which S3 would keep the
            one that came last; ``what`` names the output.
    """
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for name, file in sorted(files_below(part)):
            place = target / name
            if place.exists() and not filecmp.cmp(place, file, shallow=False):
                raise PipelineError(f"{what}: two instances left different files {name!r}.")
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
