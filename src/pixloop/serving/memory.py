"""How much memory this process may still take."""

import os
from pathlib import Path

#: Where the kernel says what a container may take: control groups of version 2, then of version 1.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: Of the limit, this share is left for requests.
_SHARE = 0.85


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
