"""The data set: Parquet shards, one folder a split, described by ``dataset.json``.

::

    dataset/
      dataset.json                  ``DatasetInfo``, written last
      train/00000.parquet …         shards; a row a picture
      validation/ calibration/ test/

A folder without ``dataset.json`` is no data set, so a kill in the middle leaves nothing that
looks like one. The shards carry the feature metadata of Hugging Face's ``datasets``, and are
plain Parquet to everything else. A data set may lie on S3 too (see ``remote_dataset``).
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Self

from pixloop.bundle import Task
from pixloop.data.dataset_info import (
    MANIFEST,
    SPLITS,
    AnnotationsInfo,
    DatasetInfo,
    Shard,
    SplitName,
    parse_info,
)
from pixloop.data.remote_dataset import (
    RemoteFiles,
    noted_address,
    open_remote,
    remote_address,
)
from pixloop.data.shard_files import LocalShards, ShardFiles
from pixloop.data.shards import Labels, Objects, Row, ShardWriter
from pixloop.data.split_reader import Split
from pixloop.errors import DataError
from pixloop.files import write_text

__all__ = [
    "MANIFEST",
    "SPLITS",
    "AnnotationsInfo",
    "Dataset",
    "DatasetInfo",
    "DatasetWriter",
    "Labels",
    "Objects",
    "Row",
    "Shard",
    "Split",
    "SplitName",
]

SHARD_BYTES = 250_000_000  # the promise is 256 MB; the rest is for Parquet's own words


class Dataset:
    """A data set that is complete, on disk or on S3.

    Attributes:
        folder: where its files are; of one on S3 its address, which is no folder to look into, or
            a note of it (see ``remote_dataset``).
        info: what dataset.json says.
    """

    def __init__(self, folder: Path, info: DatasetInfo, remote: RemoteFiles | None = None) -> None:
        """Use ``Dataset.open``."""
        self.folder = folder
        self.info = info
        self._remote = remote

    @classmethod
    def open(cls, place: Path | str) -> Self:
        """Open a data set; no picture is read.

        Args:
            place: its folder, its address s3://bucket/prefix, or the folder of a note of it. The
                shards of one on S3 are fetched as they are read.

        Raises:
            DataError: there is no complete data set, or one of a newer pixloop.
            SourceError: it is on S3, and cannot be read; or s3fs, an extra, is not installed.
        """
        address = remote_address(place)
        if address is not None:
            return cls(Path(place), *open_remote(address))
        folder = Path(place)
        path = folder / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as e:
            raise DataError(f"{folder} is no data set: it has no {MANIFEST}.") from e
        except ValueError as e:
            raise DataError(f"{path} is not valid JSON: {e}") from e
        info = parse_info(text, str(path))
        if noted_address(folder) is None:
            for shard in info.shards:
                if not (folder / shard.file).is_file():
                    raise DataError(f"{folder} is incomplete: {shard.file} is missing.")
        return cls(folder, info)

    def __str__(self) -> str:
        """Its address on S3, or its folder."""
        return remote_address(self.folder) or noted_address(self.folder) or str(self.folder)

    def split(self, name: str) -> Split:
        """The pictures of one split; ``name`` is one of ``SPLITS``.

        Raises:
            DataError: there is no such split; or a note's data set has changed or gone.
            SourceError: a note's data set cannot be read.
        """
        if name not in SPLITS:
            raise DataError(f"there is no split {name!r}; there are {', '.join(SPLITS)}.")
        shards = [shard for shard in self.info.shards if shard.split == name]
        return Split(self._files(shards), [s.rows for s in shards], self.info.task)

    @property
    def bytes(self) -> int:
        """How many bytes all shards have; raises what ``split`` does."""
        return self._files(list(self.info.shards)).bytes

    def _files(self, shards: list[Shard]) -> ShardFiles:
        if self._remote is None:
            # A note is opened without a look at S3: most who open a data set read no picture.
            address = noted_address(self.folder)
            if address is None:
                return LocalShards([self.folder / shard.file for shard in shards])
            self._remote = open_remote(address, self.info)[1]
        return self._remote.shards(shards)


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
