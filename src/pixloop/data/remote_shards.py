"""The shards of a split on S3: each is fetched whole, ahead of its reading where that is known."""

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.data.buckets import open_filesystem
from pixloop.data.shard_cache import ShardCache
from pixloop.errors import DataError, SourceError

_AT_ONCE = 4  # of each process
_BLOCK = 16_000_000
_WAITS_S = (1.0, 5.0, 15.0, 30.0)  # besides s3fs's own five tries, which take two seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """One shard as it was listed.

    Attributes:
        address: s3://bucket/key.
        size: in bytes.
        etag: of the version that was listed.
        rows: as dataset.json says.
    """

    address: str
    size: int
    etag: str
    rows: int


class RemoteShards:
    """The shards of one split, fetched into a cache that all processes of this machine share.

    Pickles as a list of addresses. Threads may share one, and a forked process begins anew.
    """

    streams = True

    def __init__(self, shards: Sequence[RemoteShard], cache: ShardCache) -> None:
        self._shards, self._cache = tuple(shards), cache
        self._own = _Own()

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def bytes(self) -> int:
        """How many bytes they have together."""
        return sum(shard.size for shard in self._shards)

    def path(self, shard: int) -> Path:
        """A shard's file, once it is there. It may go again; who opened it can read on.

        Raises:
            DataError: there is no such object, it has changed since the data set was opened, or it
                does not hold what dataset.json says.
            SourceError: it cannot be fetched.
        """
        return self._fetched(self._shards[shard], wait=True)

    def open(self, shard: int) -> Any:
        """A shard as a memory-mapped ``ParquetFile``; raises what ``path`` does."""
        while True:
            try:
                return pq.ParquetFile(self.path(shard), memory_map=True)
            except FileNotFoundError:  # another process has just made room
                continue

    def ahead(self, shards: Sequence[int]) -> None:
        """Fetch shards in the background, some at once, in this order.

        What goes wrong there is told by whoever reads the shard.

        Raises:
            DataError: the cache is too small for them.
        """
        named = [self._shards[shard] for shard in shards]
        size = sum(shard.size for shard in named)
        self._cache.check_room(size, f"What is read next ({len(named)} shards)")
        self._mine().fetch_later(named, lambda shard: self._fetched(shard, wait=False))

    def _fetched(self, shard: RemoteShard, wait: bool) -> Path:
        place = self._cache.place(shard.address, shard.etag, shard.size)
        if not self._cache.has(place):
            self._cache.check_room(shard.size, shard.address)
            with self._cache.fetching(place, wait) as part:
                if part is not None:
                    self._fetch(shard, part)
        return place

    def _fetch(self, shard: RemoteShard, part: Path) -> None:
        """Fetch what is missing of a part; a break is waited out, and what has come is kept."""
        waits = iter(_WAITS_S)
        while True:
            try:
                _go_on(self._mine().filesystem(), shard, part)
                break
            except (FileNotFoundError, PermissionError, DataError) as e:
                raise _explained(shard, e) from e
            except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
                full = isinstance(e, OSError) and e.errno == errno.ENOSPC
                wait = None if full else next(waits, None)
                if wait is None:
                    raise _explained(shard, e) from e
                _log.info("%s: %s; trying again in %g s", shard.address, e, wait)
                time.sleep(wait)
        _check(shard, part)

    def _mine(self) -> "_Own":
        if self._own.process != os.getpid():
            self._own = _Own()
        return self._own

    def __getstate__(self) -> dict[str, Any]:
        return {"_shards": self._shards, "_cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._own = _Own()


class _Own:
    """What a process has of its own: its connection, and threads that live while there is work."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._files: Any = None
        self._waiting: deque[RemoteShard] = deque()
        self._threads = 0

    def filesystem(self) -> Any:
        with self._lock:
            if self._files is None:
                self._files = open_filesystem()
            return self._files

    def fetch_later(self, shards: Sequence[RemoteShard], fetch: Any) -> None:
        with self._lock:
            self._waiting.extend(shard for shard in shards if shard not in self._waiting)
            for _ in range(min(_AT_ONCE - self._threads, len(self._waiting))):
                self._threads += 1
                # Daemons: an end of the process waits for no download, which is taken up later.
                threading.Thread(target=self._work, args=(fetch,), daemon=True).start()

    def _work(self, fetch: Any) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                shard = self._waiting.popleft()
            try:
                fetch(shard)
            except Exception as e:  # whoever reads the shard meets it again
                _log.info("reading ahead: %s", e)


def _go_on(files: Any, shard: RemoteShard, part: Path) -> None:
    with files.open(shard.address, "rb", cache_type="none") as remote, part.open("ab") as file:
        # From here on s3fs asks for this very version.
        if remote.details["ETag"] != shard.etag:
            raise DataError(f"{shard.address} has changed since the data set was opened.")
        remote.seek(file.tell())
        while block := remote.read(_BLOCK):
            file.write(block)
            file.flush()


def _check(shard: RemoteShard, part: Path) -> None:
    """See that a whole part is the shard that dataset.json means; else it is thrown away."""
    try:
        rows = pq.read_metadata(part).num_rows if part.stat().st_size == shard.size else None
    except pa.ArrowException:
        rows = None
    if rows != shard.rows:
        part.unlink()
        found = "cannot be read" if rows is None else f"has {rows} rows"
        raise DataError(
            f"{shard.address} {found}; dataset.json promises a Parquet file of {shard.rows} rows."
            " Copy the data set there again."
        )


def _explained(shard: RemoteShard, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{shard.address} is missing: the data set there is incomplete.")
    if isinstance(error, PermissionError):
        return SourceError(f"{shard.address}: no access ({error}). It needs s3:GetObject.")
    if isinstance(error, DataError):
        return error
    return SourceError(f"{shard.address} cannot be fetched: {error}")
