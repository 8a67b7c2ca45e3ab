"""One at a time: a lock on a file that dies with whoever holds it, and says who that is."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixloop.errors import PipelineError


@contextmanager
def exclusive(file: Path, busy: str, wait_s: float = 0.0) -> Iterator[int]:
    """Hold ``file`` for this process, and for every child that is given the file descriptor.

    The kernel lets go when the last of them has ended, however it ended: after a kill -9 of the
    parent, the lock says whether an orphan is still at work.

    Args:
        file: made where it is missing; it stays.
        busy: the message when it is held; ``{pid}`` becomes the holder's process id.
        wait_s: how long to wait for the holder.

    Yields:
        The file descriptor.

    Raises:
        PipelineError: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, busy, time.monotonic() + wait_s)
        sign(descriptor, os.getpid())
        yield descriptor
    finally:
        # Closing, not unlocking: children that share the descriptor keep the lock.
        os.close(descriptor)


def sign(descriptor: int, pid: int) -> None:
    """Write into the lock who is at work."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def _acquire(descriptor: int, busy: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as e:
            if time.monotonic() >= deadline:
                pid = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
                raise PipelineError(busy.format(pid=pid)) from e
            time.sleep(0.05)
