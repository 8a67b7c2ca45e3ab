"""Shards that were fetched, kept on this machine within a number of bytes.

::

    ~/.cache/pixloop/shards/           or the folder that PIXLOOP_SHARD_CACHE names
      <address and ETag>-<size>.parquet
      <…>.parquet.part                 while it is fetched, and after a kill until it goes on
      locks/                           one a shard, and one for making room

A name says of which object the file is a copy, in which version, and how many bytes it has when it
is whole. So a part counts whole from its first byte, and a changed object is another file. All
processes of a user share the folder: files are locked, not the cache.

The least recently used go first. A process that has such a file open goes on reading it, as POSIX
keeps a file's content until the last one closes it; until then the disk holds it besides.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pixloop.errors import DataError

FOLDER = "PIXLOOP_SHARD_CACHE"
SIZE = "PIXLOOP_SHARD_CACHE_GB"
_DEFAULT_GB = 20.0
_GB = 1_000_000_000
_NAME = re.compile(r"[0-9a-f]{32}-\d+\.parquet(\.part)?")


@dataclass(frozen=True)
class ShardCache:
    """The cache in ``folder``, of at most ``limit`` bytes."""

    folder: Path
    limit: int

    def place(self, address: str, etag: str, size: int) -> Path:
        """Where the copy of an object in a version is, or will be."""
        identity = hashlib.sha256(f"{address}\0{etag}".encode()).hexdigest()[:32]
        return self.folder / f"{identity}-{size}.parquet"

    def has(self, place: Path) -> bool:
        """Whether a shard is there, which counts as using it."""
        try:
            os.utime(place)
            return place.stat().st_size == _size(place.name)  # not so after a loss of power
        except (FileNotFoundError, NotADirectoryError):
            return False

    def check_room(self, size: int, what: str) -> None:
        """See that so many bytes fit at all.

        Raises:
            DataError: they do not; ``what`` says what they are.
        """
        if size > self.limit:
            raise DataError(
                f"{what} has {size / _GB:.2f} GB, and the cache of shards in {self.folder} may hold"
                f" {self.limit / _GB:.2f}. Set {SIZE} to more, and {FOLDER} to a folder with room."
            )

    @contextmanager
    def fetching(self, place: Path, wait: bool = True) -> Iterator[Path | None]:
        """Be the only one who fetches a shard, with room made for it.

        Yields:
            The file to fetch into, which may hold what came before a kill. None when the shard
            is there by now; or, without ``wait``, while another fetches it.
        """
        try:
            lock = self._lock(place.name).acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield None
            return
        with lock:
            if self.has(place):
                yield None
                return
            part = place.with_name(place.name + ".part")
            self._make_room(part)
            yield part
            part.replace(place)

    def _make_room(self, part: Path) -> None:
        """Let the least recently used go until ``part`` fits; it counts from now on."""
        with self._lock("room"):
            part.touch()
            files = sorted(self._files(), key=lambda file: file[0])
            excess = sum(size for _, size, _ in files) - self.limit
            for _, size, file in files:
                if excess <= 0:
                    break
                if file != part and self._remove(file):
                    excess -= size

    def _remove(self, file: Path) -> bool:
        if file.suffix == ".part":
            try:
                lock = self._lock(file.stem).acquire(timeout=0)
            except Timeout:  # it is being fetched
                return False
            with lock:
                file.unlink(missing_ok=True)
        else:
            file.unlink(missing_ok=True)
        return True

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each was last used, in ns; how many bytes it has when whole; and which it is."""
        for entry in os.scandir(self.folder):
            if _NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # it has become whole
                    yield entry.stat().st_mtime_ns, _size(entry.name), Path(entry.path)

    def _lock(self, name: str) -> FileLock:
        # Lock files stay: whoever waits for one that is deleted would hold a lock of nobody's.
        locks = self.folder / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise DataError(
                f"Shards from S3 cannot be kept in {self.folder}: {e}. Set {FOLDER} to a folder"
                " that can be written to."
            ) from e
        return FileLock(locks / name)


def shard_cache() -> ShardCache:
    """The cache that the environment names.

    Raises:
        DataError: PIXLOOP_SHARD_CACHE_GB is no number above 0.
    """
    text = os.environ.get(SIZE, str(_DEFAULT_GB))
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise DataError(f"{SIZE} is {text!r}: expected a number of gigabytes, such as 20.")
    return ShardCache(_folder().absolute(), int(gigabytes * _GB))


def _folder() -> Path:
    if folder := os.environ.get(FOLDER):
        return Path(folder)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as e:  # a user without a home, as in some containers
        raise DataError(f"{FOLDER} must name a folder for shards from S3: there is no home.") from e
    return home / "pixloop" / "shards"


def _size(name: str) -> int:
    return int(name.partition("-")[2].partition(".")[0])
