"""What a data set holds, in numbers: classes, sizes, and what changed since the one before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import SPLITS, Dataset
from pixloop.errors import DataError
from pixloop.web.data.catalogue import Catalogue
from pixloop.web.data.shown import Shown
from pixloop.web.paging import turn

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
    turned = turn(len(names), PAGE, page)
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
        for name in names[turned.start : turned.end]
    )
    smallest = min(totals.values(), default=0)
    return ClassTable(tuple(rows), len(names), turned.number, turned.last, largest, smallest)


def size_facts(shown: Shown) -> Mapping[str, Any]:
    """The smallest, the middle and the largest picture, and the most frequent sizes."""
    sizes = shown.catalogue.sizes
    if not len(sizes):
        return {"common": [], "kinds": 0, "bytes": 0}
    areas = sizes[:, 0].astype(np.int64) * sizes[:, 1]
    order = np.argsort(areas, kind="stable")
    kinds, counts = np.unique(sizes, axis=0, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:_SIZES]
    return {
        "smallest": sizes[order[0]].tolist(),
        "median": sizes[order[len(order) // 2]].tolist(),
        "largest": sizes[order[-1]].tolist(),
        "kinds": len(kinds),
        "common": [(*kinds[i].tolist(), int(counts[i])) for i in frequent.tolist()],
        "bytes": shown.data.bytes,
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
    was, now = Catalogue(before), shown.catalogue
    names = sorted({*before.info.classes, *shown.data.info.classes})
    there = was.rows_in(now)
    known = there >= 0
    rows, old = was.shown
    stays = known[rows]
    old, new = _codes(old, before, names), _codes(now.shown[1], shown.data, names)
    # A number for every pair of a picture and a class that it shows.
    had = there[rows[stays]] * len(names) + old[stays]
    has = now.shown[0] * len(names) + new
    came, went = np.setdiff1d(has, had), np.setdiff1d(had, has)
    other = np.union1d(came // len(names), went // len(names))
    classes = zip(
        names,
        np.bincount(came % len(names), minlength=len(names)).tolist(),
        np.bincount(np.r_[went % len(names), old[~stays]], minlength=len(names)).tolist(),
        np.bincount(new, minlength=len(names)).tolist(),
        strict=True,
    )
    changed = [row for row in classes if row[1] or row[2]]
    return Changes(
        added=len(now) - int(known.sum()),
        removed=int((~known).sum()),
        relabelled=len(np.intersect1d(other, there[known])),
        moved=int((was.splits_of_rows[known] != now.splits_of_rows[there[known]]).sum()),
        classes=tuple(sorted(changed, key=lambda row: (-row[1] - row[2], row[0]))),
    )


def _codes(labels: NDArray[np.int64], data: Dataset, names: list[str]) -> NDArray[np.int64]:
    """Labels as places in the names of both data sets."""
    places = {name: place for place, name in enumerate(names)}
    table = np.array([places[name] for name in data.info.classes], np.int64)
    found: NDArray[np.int64] = table[labels]
    return found
