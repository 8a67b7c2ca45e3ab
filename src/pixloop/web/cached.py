"""Values that are expensive to read, kept while what they were read from looks the same."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def stamp(*files: Path) -> tuple[tuple[int, int] | None, ...]:
    """How files look: their times and sizes, None where one is missing.

    >>> stamp(Path("/no/such/file"))
    (None,)
    """
    return tuple(_look(file) for file in files)


class Cached:
    """A value a name, replaced when its stamp changes. Threads may share one."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[Hashable, Any]] = {}
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, name: Hashable, seen: Hashable, read: Callable[[], T]) -> T:
        """The value of a name.

        Args:
            name: which.
            seen: how its sources look now; see ``stamp``. Looked at before reading, so that what
                changes meanwhile is seen the next time.
            read: reads it; whoever else asks for the name meanwhile waits. What it raises is not
                kept.
        """
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            known = self._values.get(name)
            if known is not None and known[0] == seen:
                value: T = known[1]
                return value
            value = read()
            self._values[name] = (seen, value)
            return value


def _look(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
