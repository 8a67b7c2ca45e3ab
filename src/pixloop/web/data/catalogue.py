"""What the rows of a data set are, without their pictures: columns, read when they are asked for.

Rows of all splits count on, in the order of ``SPLITS``: a number names a row of any split.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixloop.data.dataset import SPLITS, Dataset, Split, SplitName

Numbers = NDArray[np.int64]


class Place(NamedTuple):
    """Where a row is."""

    split: SplitName
    row: int


class Catalogue:
    """The columns of a data set. Threads may share one."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        shards = {name: [s for s in data.info.shards if s.split == name] for name in SPLITS}
        self._lengths = {name: sum(s.rows for s in shards[name]) for name in SPLITS}
        #: The splits, opened once: what they have read of their files is kept.
        self.splits: dict[SplitName, Split] = {name: data.split(name) for name in SPLITS}

    def __len__(self) -> int:
        return sum(self._lengths.values())

    def count(self, split: SplitName) -> int:
        """How many rows a split has."""
        return self._lengths[split]

    def place(self, number: int) -> Place:
        """Where the row of a number is."""
        for split in SPLITS:
            if number < self._lengths[split]:
                return Place(split, number)
            number -= self._lengths[split]
        raise IndexError(number)

    def numbers(self, split: SplitName | None = None, label: int | None = None) -> Numbers:
        """The rows of a split, and of a class; in detection those that show one of it."""
        start, end = 0, len(self)
        if split is not None:
            before = SPLITS[: SPLITS.index(split)]
            start = sum(self._lengths[name] for name in before)
            end = start + self._lengths[split]
        if label is None:
            return np.arange(start, end, dtype=np.int64)
        rows = self._of_class(label)
        return rows[(rows >= start) & (rows < end)]

    def draw(
        self, most: int, seed: int, split: SplitName | None = None, label: int | None = None
    ) -> list[Place]:
        """Rows drawn at random; the same seed draws the same ones."""
        among = self.numbers(split, label)
        random = np.random.default_rng(seed)
        drawn = random.choice(among, min(most, len(among)), replace=False)
        return [self.place(int(number)) for number in drawn]

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, Place]:
        """Where pictures are, by their SHA-256; what is nowhere is left out."""
        return self._find(hashes, self._hashes)

    def find_paths(self, paths: Sequence[str]) -> dict[str, Place]:
        """Where pictures are, by their paths; what is nowhere is left out."""
        return self._find(paths, self._paths)

    def source(self, place: Place) -> str:
        """Where the label of a row was read."""
        return str(self._sources[int(self.numbers(place.split)[place.row])].as_py() or "")

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """Width and height of every row, shape (N, 2)."""
        table = self._read("width", "height")
        return np.stack([_integers(table["width"]), _integers(table["height"])], axis=1)

    @cached_property
    def pictures_by_class(self) -> NDArray[np.int64]:
        """How many pictures show each class, shape (4, C): a row a split."""
        classes = len(self._data.info.classes)
        rows, labels = self.shown
        counts = np.zeros((len(SPLITS), classes), np.int64)
        np.add.at(counts, (self.splits_of_rows[rows], labels), 1)
        return counts

    @cached_property
    def splits_of_rows(self) -> NDArray[np.int64]:
        """The split of every row, as a place in ``SPLITS``, shape (N,)."""
        return np.repeat(np.arange(len(SPLITS)), [self._lengths[split] for split in SPLITS])

    def rows_in(self, other: "Catalogue") -> Numbers:
        """Each row's number in another data set, -1 where that has no such picture; (N,)."""
        found = pc.index_in(self._hashes, value_set=other._hashes)
        return _integers(pc.fill_null(found, -1))

    @cached_property
    def _paths(self) -> Any:
        return pc.struct_field(self._read("image.path")["image"], "path")

    @cached_property
    def _hashes(self) -> Any:
        return self._read("sha256")["sha256"]

    @cached_property
    def _sources(self) -> Any:
        return self._read("source")["source"]

    @cached_property
    def shown(self) -> tuple[Numbers, Numbers]:
        """Pairs of a row and a class that it shows, each once, by rows; two of shape (M,)."""
        if self._data.info.task == "classification":
            labels = _integers(self._read("label")["label"])
            return np.arange(len(labels), dtype=np.int64), labels
        table = self._read("objects.category", "objects.crowd")["objects"].combine_chunks()
        category, crowd = table.field("category"), table.field("crowd")
        rows = np.repeat(np.arange(len(table)), _integers(category.value_lengths()))
        alone = _integers(crowd.flatten().cast("int8")) == 0
        classes = max(len(self._data.info.classes), 1)
        pairs = np.unique(rows[alone] * classes + _integers(category.flatten())[alone])
        return pairs // classes, pairs % classes

    def _of_class(self, label: int) -> Numbers:
        rows, labels = self.shown
        found: Numbers = rows[labels == label]
        return found

    def _read(self, *columns: str) -> Any:
        if not len(self):
            return pa.table({column.partition(".")[0]: [] for column in columns})
        return pa.concat_tables(
            table.replace_schema_metadata()
            for name in SPLITS
            for table in self.splits[name].tables(list(columns))
        )

    def _find(self, wanted: Sequence[str], column: Any) -> dict[str, Place]:
        if not wanted:
            return {}
        found = pc.index_in(pa.array(wanted, pa.string()), value_set=column).to_pylist()
        return {
            each: self.place(number)
            for each, number in zip(wanted, found, strict=True)
            if number is not None
        }


def _integers(column: Any) -> Numbers:
    """A column without nulls as int64 (n,). ``to_numpy`` would import pandas, for a second."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole).astype(np.int64)
