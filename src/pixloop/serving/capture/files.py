"""The files of captures: hidden and locked while they are written, whole once they are seen.

A file is ``{variant}/yyyy/mm/dd/hh/MM-SS-mmm-<uuid>.jsonl`` in its endpoint's folder, named, as
SageMaker's are, by the UTC time at which it was begun. Until it is published its name begins with
a dot and ends with ``.part``, and its writer holds a lock on it, which ends with the process: that
tells what a killed server left behind from what another server is writing.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

_PUBLISHED_NAME = re.compile(r"\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl")
_PART_NAME = re.compile(rf"\.{_PUBLISHED_NAME.pattern}\.part")
_BLOCK = 1_000_000
_NEW = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL


class CaptureFile:
    """A file of captures that is being written.

    Attributes:
        size: bytes written, always whole lines.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._path, self._descriptor = _create(folder)

    def write(self, line: bytes) -> None:
        """Append a line.

        Raises:
            OSError: the disk is full or away; of the line nothing is left in the file.
        """
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(line)

    def publish(self) -> None:
        """Let it be seen; without a line in it, it is removed.

        Raises:
            OSError: the disk is away.
        """
        try:
            _publish(self._path, self._descriptor, self.size)
        finally:
            os.close(self._descriptor)


def recover(folder: Path) -> int:
    """Publish the whole lines of files that killed servers left below ``folder``.

    Files that a running server writes are left alone.

    Returns:
        How many such files there were.
    """
    count = 0
    for part in list(parts(folder)):
        try:
            descriptor = os.open(part, os.O_RDWR)
        except FileNotFoundError:  # its server has published it
            continue
        try:
            if _lock(part, descriptor):
                size = _end_of_last_line(descriptor)
                os.ftruncate(descriptor, size)
                _publish(part, descriptor, size)
                count += 1
        finally:
            os.close(descriptor)
    return count


def published(folder: Path) -> Iterator[Path]:
    """The published files below an endpoint's folder; anything else there is not ours."""
    return _files(folder, _PUBLISHED_NAME)


def parts(folder: Path) -> Iterator[Path]:
    """The files below an endpoint's folder that are being written, or were when a server died."""
    return _files(folder, _PART_NAME)


def remove_empty_folders(folder: Path, above: Path) -> None:
    """Remove ``folder`` and those it is in, up to one that holds something, or is ``above``."""
    with contextlib.suppress(OSError):
        while folder != above:
            folder.rmdir()
            folder = folder.parent


def _files(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    # Unlike rglob, walk does not mind folders that another server removes meanwhile.
    for where, _, names in os.walk(folder):
        yield from (Path(where, each) for each in names if name.fullmatch(each))


def _create(folder: Path) -> tuple[Path, int]:
    while True:
        now = datetime.now(UTC)
        name = f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid4()}.jsonl"
        part = folder / f"{now:%Y/%m/%d/%H}" / f".{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(part, _NEW, 0o644)
        except FileNotFoundError:  # another server has just removed the empty folder
            continue
        if _lock(part, descriptor):
            return part, descriptor
        # Another server started before the lock was held, and took the file for a leftover.
        os.close(descriptor)


def _lock(path: Path, descriptor: int) -> bool:
    """Whether the file is now ours, and still the one at ``path``."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _publish(part: Path, descriptor: int, size: int) -> None:
    if size == 0:
        part.unlink()
        return
    # Else a file could be seen whose content a power cut has taken.
    os.fsync(descriptor)
    part.rename(part.with_name(part.name[1:].removesuffix(".part")))


def _end_of_last_line(descriptor: int) -> int:
    """How many bytes there are up to the last line feed, and with it."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0
