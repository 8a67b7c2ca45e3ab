"""Where a split's shards lie: on disk, or elsewhere and fetched as they are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq


class ShardFiles(Protocol):
    """The shards of one split, by number. Pickles cheaply; threads may share one."""

    streams: bool  #: whether they are fetched as they are read

    def __len__(self) -> int: ...

    @property
    def bytes(self) -> int:
        """How many bytes they have together."""

    def open(self, shard: int) -> Any:
        """A shard as a memory-mapped ``ParquetFile``."""

    def ahead(self, shards: Sequence[int]) -> None:
        """Say which shards are read next; returns at once."""


class LocalShards:
    """Shards that lie on this machine."""

    streams = False

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def bytes(self) -> int:
        """How many bytes they have together."""
        return sum(file.stat().st_size for file in self._files)

    def open(self, shard: int) -> Any:
        """A shard as a memory-mapped ``ParquetFile``."""
        return pq.ParquetFile(self._files[shard], memory_map=True)

    def ahead(self, shards: Sequence[int]) -> None:
        """Nothing is to be done."""
