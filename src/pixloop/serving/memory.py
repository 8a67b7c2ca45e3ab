"""How much memory this process may still take, and how it gives back what it took."""

import contextlib
import ctypes
import os
from pathlib import Path

#: Where the kernel says what a container may take: control groups of version 2, then of version 1.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: Of the limit, this share is left for requests.
_SHARE = 0.85
#: glibc's parameters of ``mallopt``, and what they are set to: see ``give_back_large_blocks``.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 4 * 2**20
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 16 * 2**20
_M_ARENA_MAX = -8


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
