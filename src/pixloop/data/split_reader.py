"""Reading the pictures of one split, in order or by index."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from pixloop.bundle import Task
from pixloop.data.shard_files import ShardFiles
from pixloop.data.shards import (
    OBJECT_COLUMNS,
    ROW_COLUMNS,
    Labels,
    Objects,
    Row,
    read_objects,
    read_row,
)

_CACHED_GROUPS = 4
# Training reads at most seven at a time of what streams, and 16 at random of what lies here.
_OPEN_STREAMED = 8
_OPEN_HERE = 32
_AHEAD_SHARDS = 2


class Split:
    """The pictures of one split, read in order or by index.

    Opens its files on the first read and pickles without them, so that it is cheap to hand to
    worker processes. Threads may share one.
    """

    _last_opened: int

    def __init__(
        self, files: ShardFiles, rows: Sequence[int], task: Task = "classification"
    ) -> None:
        self._files = files
        self._columns = ROW_COLUMNS[task]
        self._ends = list(accumulate(rows))  # row i is in the first shard whose end is above i
        self._close()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def shard_rows(self) -> tuple[int, ...]:
        """How many rows each shard has; rows are numbered through the shards in this order."""
        return tuple(end - start for start, end in pairwise([0, *self._ends]))

    @property
    def streams(self) -> bool:
        """Whether shards are fetched as they are read, so that jumping between them is dear."""
        return self._files.streams

    def ahead(self, shards: Sequence[int]) -> None:
        """Say which shards are read next, so that they are fetched meanwhile; returns at once.

        Does nothing for a data set that is on disk.

        Raises:
            DataError: the cache of fetched shards is too small for them.
        """
        self._files.ahead(shards)

    @cached_property
    def labels(self) -> Labels:
        """Every row's label, shape (N,), in classification; reads no picture."""
        columns = [table["label"] for table in self.tables(["label"])]
        return np.concatenate([np.zeros(0, np.int64), *(c.to_numpy() for c in columns)])

    @cached_property
    def sources(self) -> list[str]:
        """Where every row's label was read, ``annotation:<id>`` for one that people gave."""
        tables = self.tables(["source"])
        return [source for table in tables for source in table["source"].to_pylist()]

    @cached_property
    def objects(self) -> list[Objects]:
        """Every row's objects, in detection; reads no picture."""
        tables = self.tables(OBJECT_COLUMNS)
        return [objects for table in tables for objects in read_objects(table)]

    def tables(self, columns: list[str]) -> Iterator[Any]:
        """Columns of every shard, as an Arrow table each, in order; of a nested one ``a.b``."""
        return (file.read(columns) for file in self._in_order())

    def read(self, index: int) -> Row:
        """The row at ``index``, 0 ≤ index < len(self).

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        shard = bisect_right(self._ends, index)
        with self._lock:
            file, group_ends = self._open(shard)
            within = index - (self._ends[shard - 1] if shard else 0)
            group = bisect_right(group_ends, within)
            table = self._group(file, shard, group)
        return read_row(table, within - (group_ends[group - 1] if group else 0))

    def __iter__(self) -> Iterator[Row]:
        for file in self._in_order():
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, self._columns, use_threads=False)
                yield from (read_row(table, i) for i in range(table.num_rows))

    def _in_order(self) -> Iterator[Any]:
        """Every shard, open, while those after it are fetched."""
        for shard in range(len(self._files)):
            self._go_ahead_of(shard)
            with self._files.open(shard) as file:
                yield file

    def _go_ahead_of(self, shard: int) -> None:
        self.ahead(range(shard + 1, min(shard + 1 + _AHEAD_SHARDS, len(self._files))))

    def _open(self, shard: int) -> tuple[Any, list[int]]:
        if shard not in self._open_files:
            if shard == self._last_opened + 1:  # as a reader in order does
                self._go_ahead_of(shard)
            self._last_opened = shard
            file = self._files.open(shard)
            groups = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
            self._open_files[shard] = file, list(accumulate(groups))
            if len(self._open_files) > (_OPEN_STREAMED if self.streams else _OPEN_HERE):
                # So that what the cache has let go does not stay on the disk, and a process may
                # read more shards than it may have files open.
                self._open_files.popitem(last=False)[1][0].close()
        self._open_files.move_to_end(shard)
        return self._open_files[shard]

    def _group(self, file: Any, shard: int, group: int) -> Any:
        key = shard, group
        if key not in self._groups:
            # Threads of Arrow would not survive the fork of a data loader's workers.
            self._groups[key] = file.read_row_group(group, self._columns, use_threads=False)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _close(self) -> None:
        self._open_files: OrderedDict[int, tuple[Any, list[int]]] = OrderedDict()
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._last_opened = -1
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files, "_ends": self._ends, "_columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._close()
