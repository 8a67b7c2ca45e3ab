"""The data set on disk: Parquet shards, one folder a split, described by ``dataset.json``.

::

    dataset/
      dataset.json                  this module's ``DatasetInfo``, written last
      train/00000.parquet …         shards; a row a picture
      validation/ calibration/ test/

A folder without ``dataset.json`` is no data set, so a kill in the middle leaves nothing that
looks like one. The shards carry the feature metadata of Hugging Face's ``datasets``, and are
plain Parquet to everything else.
"""

import hashlib
import json
import shutil
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixloop.bundle import Task
from pixloop.data.shards import (
    OBJECT_COLUMNS,
    ROW_COLUMNS,
    Labels,
    Objects,
    Row,
    ShardWriter,
    read_objects,
    read_row,
)
from pixloop.errors import DataError
from pixloop.files import write_text

__all__ = [
    "SPLITS",
    "Dataset",
    "DatasetInfo",
    "DatasetWriter",
    "Labels",
    "Objects",
    "Row",
    "Split",
    "SplitName",
]

SplitName = Literal["train", "validation", "calibration", "test"]

SPLITS: tuple[SplitName, ...] = ("train", "validation", "calibration", "test")
MANIFEST = "dataset.json"
FORMAT_VERSION = 3

SHARD_BYTES = 250_000_000  # the promise is 256 MB; the rest is for Parquet's own words
_CACHED_GROUPS = 4


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Part):
    """One Parquet file."""

    split: SplitName
    file: str  #: relative to the data set's folder
    rows: int = Field(ge=1)


class AnnotationsInfo(_Part):
    """Which annotations took part: annotations.jsonl lists them."""

    count: int
    pictures: int  #: that they are of
    sha256: str  #: of annotations.jsonl


class DatasetInfo(_Part):
    """The content of dataset.json."""

    format_version: int = FORMAT_VERSION
    task: Task = "classification"
    classes: tuple[str, ...]  #: sorted; a row's label is an index into them
    #: Of each split and class, zeros included: pictures, in detection boxes that are no crowd.
    counts: dict[SplitName, dict[str, int]]
    pictures: dict[SplitName, int] = {}  #: of each split; none in files of format 1
    channel_mean: tuple[float, float, float] | None = None  #: RGB in 0..1, of the training pictures
    channel_std: tuple[float, float, float] | None = None
    #: Over every picture's SHA-256, class or objects, and split, in the order of the rows.
    sha256: str
    annotations: AnnotationsInfo | None = None  #: none in files before format 3
    shards: tuple[Shard, ...]


class Dataset:
    """A data set that is complete on disk."""

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        self.folder = folder
        self.info = info

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a data set's folder; no picture is read.

        Raises:
            DataError: the folder holds no complete data set, or one of a newer pixloop.
        """
        path = folder / MANIFEST
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as e:
            raise DataError(f"{folder} is no data set: it has no {MANIFEST}.") from e
        except ValueError as e:
            raise DataError(f"{path} is not valid JSON: {e}") from e
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise DataError(f"{path} was written by a newer pixloop (format {version}).")
        try:
            info = DatasetInfo.model_validate(raw)
        except ValidationError as e:
            raise DataError(f"{path} is not a data set's description: {e}") from e
        for shard in info.shards:
            if not (folder / shard.file).is_file():
                raise DataError(f"{folder} is incomplete: {shard.file} is missing.")
        return cls(folder, info)

    def split(self, name: str) -> "Split":
        """The pictures of one split; ``name`` is one of ``SPLITS``."""
        if name not in SPLITS:
            raise DataError(f"there is no split {name!r}; there are {', '.join(SPLITS)}.")
        shards = [shard for shard in self.info.shards if shard.split == name]
        files, rows = [self.folder / s.file for s in shards], [s.rows for s in shards]
        return Split(files, rows, self.info.task)


class Split:
    """The pictures of one split, read in order or by index.

    Opens its files on the first read and pickles without them, so that it is cheap to hand to
    worker processes. Threads may share one.
    """

    def __init__(self, files: list[Path], rows: list[int], task: Task = "classification") -> None:
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
        return False

    def ahead(self, shards: Sequence[int]) -> None:
        """Say which shards are read next, so that they are fetched meanwhile; returns at once.

        Does nothing for a data set that is on disk.
        """

    @cached_property
    def labels(self) -> Labels:
        """Every row's label, shape (N,), in classification; reads no picture."""
        columns = [pq.read_table(file, columns=["label"])["label"] for file in self._files]
        return np.concatenate([np.zeros(0, np.int64), *(c.to_numpy() for c in columns)])

    @cached_property
    def sources(self) -> list[str]:
        """Where every row's label was read, ``annotation:<id>`` for one that people gave."""
        tables = (pq.read_table(file, columns=["source"]) for file in self._files)
        return [source for table in tables for source in table["source"].to_pylist()]

    @cached_property
    def objects(self) -> list[Objects]:
        """Every row's objects, in detection; reads no picture."""
        tables = (pq.read_table(file, columns=OBJECT_COLUMNS) for file in self._files)
        return [objects for table in tables for objects in read_objects(table)]

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
        for path in self._files:
            with pq.ParquetFile(path, memory_map=True) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, self._columns, use_threads=False)
                    yield from (read_row(table, i) for i in range(table.num_rows))

    def _open(self, shard: int) -> tuple[Any, list[int]]:
        if shard not in self._open_files:
            file = pq.ParquetFile(self._files[shard], memory_map=True)
            groups = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
            self._open_files[shard] = file, list(accumulate(groups))
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
        self._open_files: dict[int, tuple[Any, list[int]]] = {}
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files, "_ends": self._ends, "_columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._close()


class DatasetWriter:
    """Writes a data set row by row; the folder is one once ``finish`` has returned.

    A data set that was in the folder is gone with the first call. Memory holds one row group a
    split at most.
    """

    def __init__(
        self, folder: Path, classes: tuple[str, ...], task: Task = "classification"
    ) -> None:
        self._folder = folder
        self._classes = classes
        self._task = task
        self._digest = hashlib.sha256()
        self._counts: dict[SplitName, dict[str, int]] = {
            split: dict.fromkeys(classes, 0) for split in SPLITS
        }
        self._pictures: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
        self._shards: list[Shard] = []
        self._open: dict[SplitName, ShardWriter] = {}
        (folder / MANIFEST).unlink(missing_ok=True)
        for split in SPLITS:
            shutil.rmtree(folder / split, ignore_errors=True)

    def add(self, split: SplitName, row: Row, source: str = "") -> None:
        """Add a picture; ``source`` says where its label was read."""
        label = self._count(split, row)
        writer = self._open.get(split)
        if writer is not None and writer.bytes + len(row.image) > SHARD_BYTES:
            self._close(split)
            writer = None
        if writer is None:
            number = sum(shard.split == split for shard in self._shards)
            file = f"{split}/{number:05d}.parquet"
            path = self._folder / file
            writer = self._open[split] = ShardWriter(path, file, self._classes, self._task)
        writer.add(row, split, source)
        self._digest.update(f"{row.sha256}\0{label}\0{split}\n".encode())

    def _count(self, split: SplitName, row: Row) -> str:
        """Count the row's label or objects, and return them in words, for the data set's hash."""
        self._pictures[split] += 1
        counts = self._counts[split]
        if self._task == "classification":
            counts[self._classes[row.label]] += 1
            return self._classes[row.label]
        if row.objects is None:
            raise ValueError(f"{row.path} has no objects, and the data set is one of boxes")
        labels = [self._classes[i] for i in row.objects.labels.tolist()]
        crowd = row.objects.crowd.tolist()
        for label, many in zip(labels, crowd, strict=True):
            counts[label] += not many
        return json.dumps([labels, row.objects.boxes.tolist(), crowd])

    def finish(
        self,
        channel_mean: tuple[float, float, float] | None = None,
        channel_std: tuple[float, float, float] | None = None,
        annotations: AnnotationsInfo | None = None,
    ) -> DatasetInfo:
        """Close the shards and write dataset.json."""
        for split in SPLITS:
            if split in self._open:
                self._close(split)
        info = DatasetInfo(
            task=self._task,
            classes=self._classes,
            counts=self._counts,
            pictures=self._pictures,
            channel_mean=channel_mean,
            channel_std=channel_std,
            sha256=self._digest.hexdigest(),
            annotations=annotations,
            shards=tuple(sorted(self._shards, key=lambda s: (SPLITS.index(s.split), s.file))),
        )
        write_text(self._folder / MANIFEST, info.model_dump_json(indent=2) + "\n")
        return info

    def _close(self, split: SplitName) -> None:
        writer = self._open.pop(split)
        writer.close()
        self._shards.append(Shard(split=split, file=writer.file, rows=writer.rows))
