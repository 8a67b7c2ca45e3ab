"""How much memory this process may still take, and how it gives back what it took."""

import contextlib
import ctypes
import os
import time
from pathlib import Path

#: Where the kernel says what a container may take: control groups of version 2, then of version 1.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: Of the limit, this share is left for requests.
_SHARE = 0.85
#: glibc's parameters of ``mallopt``, and what they are set to: see ``give_back_large_blocks``.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 4 * 2**20
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 16 * 2**20
_M_ARENA_MAX = -8
#: It takes milliseconds, and then the pages of what is used again have to be found.
_TIDY_S = 5.0
#: Linux's advice to ``madvise``.
_DONT_NEED = 4


def give_back_large_blocks(threads: int) -> None:
    """Have the C library return large blocks to the system as soon as they are free.

    glibc does so only until it has seen some: from then on it takes blocks of up to 32 MB from
    heaps of its own, one for each of many threads, and these keep their size. A few large pictures
    would leave a server with a hundred megabytes more, for good. What a common picture takes still
    comes from the heap, where it costs no page faults. Elsewhere than in glibc nothing is done.

    Args:
        threads: that decode at once; as many heaps are enough.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        # Setting one ends glibc's adjusting of the other, which would give back every picture.
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, threads + 1)  # the event loop's thread has one as well


def give_back_free_memory() -> None:
    """Have the C library return what is free between what is not, as after work that is done once.

    Elsewhere than in glibc nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class Tidying:
    """When what is free is to be given back: some time after work began, and again as it goes on.

    Else pictures of odd sizes leave gaps, and a server keeps twice the memory that it uses. For
    one thread at a time.
    """

    def __init__(self) -> None:
        """Nothing was done yet."""
        self._due: float | None = None

    def worked(self) -> None:
        """Tell that something was done."""
        if self._due is None:
            self._due = time.monotonic() + _TIDY_S

    def due_in(self) -> float | None:
        """Seconds until it is time; None where nothing was done since the last time."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def take(self) -> bool:
        """Whether it is time; who is told so is to see to it."""
        due = self.due_in() == 0
        if due:
            self._due = None
        return due


def forget_pages(file: Path) -> None:
    """Take the pages of a file that is mapped for reading out of this process's memory.

    Who looks at one again reads it anew. Elsewhere than on Linux nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
        madvise, name = ctypes.CDLL(None).madvise, str(file.resolve())
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            place, rights, *_, path = line.split(maxsplit=5)
            if path == name and "w" not in rights:
                begin, end = (int(edge, 16) for edge in place.split("-"))
                madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONT_NEED)


def room_bytes() -> int:
    """Bytes that models may still take: what the container, or else the machine, has for them.

    Where the system does not say how much it has, there is no end.
    """
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        most = page * os.sysconf("SC_PHYS_PAGES")
        used = page * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (AttributeError, OSError, ValueError):
        return 2**62
    for file in _LIMITS:
        try:
            most = min(most, int(Path(file).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such control group, or "max": no limit
            continue
    return int(most * _SHARE) - used
