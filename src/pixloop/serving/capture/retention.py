"""How much disk an endpoint's captures take, and which of them go first."""

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pixloop.serving.capture.files import parts, published

#: After writing this share of what is allowed, it is looked what other servers wrote meanwhile.
_LOOK_AFTER = 1 / 20
#: Files are removed until so much is used: not for every capture anew.
_REMOVE_TO = 0.9


class Retention:
    """Keeps the files below an endpoint's folder within ``max_bytes``.

    Files that are being written count, but only published ones are given up.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._used = 0
        self._written_since_look = max_bytes  # nothing is known yet
        self._oldest: deque[tuple[Path, int]] = deque()

    def add(self, size: int) -> None:
        """Tell that so many bytes were written."""
        self._used += size
        self._written_since_look += size

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be written: never more than half of all at once."""
        return size <= self._max_bytes / 2 and self._used + size <= self._max_bytes

    def surplus(self, size: int) -> Iterator[Path]:
        """The published files, oldest first, that must go so that ``size`` bytes may be written.

        What is given out counts as removed.
        """
        if size > self._max_bytes / 2:
            return  # nearly all would go for one
        if not self.has_room(size) or self._written_since_look >= self._max_bytes * _LOOK_AFTER:
            self._look()
        if self.has_room(size):
            return
        while self._oldest and self._used + size > self._max_bytes * _REMOVE_TO:
            path, bytes_ = self._oldest.popleft()
            self._used -= bytes_
            yield path

    def _look(self) -> None:
        # yyyy/mm/dd/hh/MM-SS-mmm-…: of all variants, in the order of time.
        found = sorted(_sizes(published(self._folder)), key=lambda each: each[0].parts[-5:])
        self._oldest = deque(found)
        self._used = sum(size for _, size in found)
        self._used += sum(size for _, size in _sizes(parts(self._folder)))
        self._written_since_look = 0


def _sizes(files: Iterator[Path]) -> Iterator[tuple[Path, int]]:
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # another server, or who sends it, was here
            yield path, path.stat().st_size
