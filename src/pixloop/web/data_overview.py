"""What a data set holds, in numbers: classes, sizes, and what changed since the one before."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixloop.data.dataset import SPLITS, Dataset
from pixloop.errors import DataError
from pixloop.web.data_catalogue import Catalogue
from pixloop.web.data_shown import Shown

#: Classes a page of the table.
PAGE = 50
_SIZES = 5


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the table: in detection its boxes, and pictures that show it."""

    name: str
    number: int
    splits: tuple[int, ...]
    total: int
    pictures: int
    share: float  #: of the largest class


@dataclass(frozen=True, slots=True)
class ClassTable:
    """A page of the classes."""

    rows: tuple[ClassRow, ...]
    found: int  #: classes that the filter leaves
    page: int
    pages: int
    largest: int
    smallest: int


@dataclass(frozen=True, slots=True)
class Changes:
    """How a data set differs from another before it.

    Attributes:
        added: pictures that are new.
        removed: pictures that are gone.
        relabelled: pictures with another class, or other classes of boxes.
        moved: pictures in another split.
        classes: of each class that changed, what came, what went, and what there is now.
    """

    added: int
    removed: int
    relabelled: int
    moved: int
    classes: tuple[tuple[str, int, int, int], ...]

    @property
    def none(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.relabelled or self.moved)


def pictures_by_split(shown: Shown) -> dict[str, int]:
    """How many pictures each split has."""
    return {split: shown.catalogue.count(split) for split in SPLITS}


def class_table(shown: Shown, find: str, order: str, page: int) -> ClassTable:
    """A page of the classes.

    Args:
        shown: the data set.
        find: letters that a class's name holds, in any case.
        order: "name", "most" or "fewest".
        page: from 1.
    """
    info = shown.data.info
    totals = {name: sum(info.counts[s].get(name, 0) for s in info.counts) for name in info.classes}
    names = [name for name in info.classes if find.casefold() in name.casefold()]
    if order != "name":
        names.sort(key=lambda name: totals[name], reverse=order == "most")
    pages = max(1, math.ceil(len(names) / PAGE))
    page = min(max(page, 1), pages)
    largest = max(totals.values(), default=0)
    numbers = {name: number for number, name in enumerate(info.classes)}
    pictures = shown.catalogue.pictures_by_class.sum(axis=0)
    rows = (
        ClassRow(
            name,
            numbers[name],
            tuple(info.counts.get(split, {}).get(name, 0) for split in SPLITS),
            totals[name],
            int(pictures[numbers[name]]),
            totals[name] / max(largest, 1),
        )
        for name in names[(page - 1) * PAGE : page * PAGE]
    )
    smallest = min(totals.values(), default=0)
    return ClassTable(tuple(rows), len(names), page, pages, largest, smallest)


def size_facts(shown: Shown) -> Mapping[str, Any]:
    """The smallest, the middle and the largest picture, and the most frequent sizes."""
    sizes = shown.catalogue.sizes
    if not len(sizes):
        return {"common": [], "kinds": 0, "bytes": 0}
    areas = sizes[:, 0].astype(np.int64) * sizes[:, 1]
    order = np.argsort(areas, kind="stable")
    kinds, counts = np.unique(sizes, axis=0, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:_SIZES]
    files = (shown.data.folder / shard.file for shard in shown.data.info.shards)
    return {
        "smallest": sizes[order[0]].tolist(),
        "median": sizes[order[len(order) // 2]].tolist(),
        "largest": sizes[order[-1]].tolist(),
        "kinds": len(kinds),
        "common": [(*kinds[i].tolist(), int(counts[i])) for i in frequent.tolist()],
        "bytes": sum(file.stat().st_size for file in files),
    }


def changes_since(shown: Shown) -> Changes | None:
    """What differs from the data set before; None where there is none that can be compared."""
    if shown.before is None:
        return None
    try:
        before = Dataset.open(shown.before)
    except DataError:
        return None
    if before.info.task != shown.data.info.task:
        return None
    return _compare(before, shown)


def _compare(before: Dataset, shown: Shown) -> Changes:
    was, now = Catalogue(before).answers, shown.catalogue.answers
    old, new = before.info.classes, shown.data.info.classes

    def names(answers: Any, classes: tuple[str, ...]) -> tuple[str, ...]:
        each = answers if isinstance(answers, tuple) else (answers,)
        return tuple(classes[i] for i in each)

    came: dict[str, int] = {}
    went: dict[str, int] = {}
    relabelled = moved = 0
    for sha256, (split, answer) in now.items():
        earlier = was.get(sha256)
        labels = names(answer, new)
        before_labels = () if earlier is None else names(earlier[1], old)
        if earlier is not None:
            relabelled += labels != before_labels
            moved += earlier[0] != split
        if labels != before_labels:
            _count(came, set(labels) - set(before_labels))
            _count(went, set(before_labels) - set(labels))
    for sha256 in was.keys() - now.keys():
        _count(went, set(names(was[sha256][1], old)))
    totals = dict(zip(new, shown.catalogue.pictures_by_class.sum(axis=0).tolist(), strict=True))
    changed = ((n, came.get(n, 0), went.get(n, 0), totals.get(n, 0)) for n in {*came, *went})
    return Changes(
        added=len(now.keys() - was.keys()),
        removed=len(was.keys() - now.keys()),
        relabelled=relabelled,
        moved=moved,
        classes=tuple(sorted(changed, key=lambda row: (-row[1] - row[2], row[0]))),
    )


def _count(counts: dict[str, int], labels: set[str]) -> None:
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
