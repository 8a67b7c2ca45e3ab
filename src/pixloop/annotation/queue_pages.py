"""A long review queue, a page at a time: SQL counts and sorts, so that the rest is not read.

Its functions look into the database that ``ReviewQueue.read`` gives them.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pixloop.annotation.items import Item, ReasonKind, Status
from pixloop.annotation.queue_rows import read_items


def read_page(
    db: sqlite3.Connection, status: Status, kind: ReasonKind | None, most: int, skip: int = 0
) -> list[Item]:
    """Some of the pictures of a status.

    Args:
        db: of the queue.
        status: how far they are.
        kind: of the reason that they must have; None for any.
        most: how many at most.
        skip: so many come before them. What waits comes by weight, what is asked in its order,
            and of the others the last first.
    """
    if status == "waiting":
        names = _weightiest(db, kind, most, skip)
    else:
        order = "turn" if status == "asked" else "turn DESC"
        has = "" if kind is None else _HAS_REASON
        found = db.execute(
            f"SELECT sha256 FROM pictures WHERE status = ? {has} "  # noqa: S608
            f"ORDER BY {order}, sha256 LIMIT ? OFFSET ?",
            [status, *([] if kind is None else [kind]), most, skip],
        )
        names = [name for (name,) in found]
    return _items(db, names)


def count_reasons(db: sqlite3.Connection, status: Status) -> dict[ReasonKind, int]:
    """How many pictures of a status have a reason of each kind, where any has."""
    return dict(
        db.execute(
            "SELECT kind, count(*) FROM reasons JOIN pictures USING (sha256) WHERE status = ? "
            "GROUP BY kind ORDER BY 2 DESC, kind",
            [status],
        ).fetchall()
    )


_HAS_REASON = (
    "AND EXISTS (SELECT 1 FROM reasons WHERE reasons.sha256 = pictures.sha256 AND kind = ?)"
)


def _weightiest(db: sqlite3.Connection, kind: ReasonKind | None, most: int, skip: int) -> list[str]:
    """Of what waits; a picture stands where the weightiest of its reasons does."""
    rows = db.execute(
        # By the index of weights, and no further than the page: nothing is sorted.
        "SELECT sha256 FROM reasons CROSS JOIN pictures USING (sha256) WHERE status = 'waiting' "
        "AND (? IS NULL OR kind = ?) ORDER BY weight DESC, sha256",
        [kind, kind],
    )
    return list(islice(_first_times(rows), skip, skip + most))


def _first_times(rows: Iterable[tuple[str]]) -> Iterator[str]:
    seen: set[str] = set()
    for (name,) in rows:
        if name not in seen:
            seen.add(name)
            yield name


def _items(db: sqlite3.Connection, names: Sequence[str]) -> list[Item]:
    marks = ", ".join("?" * len(names))
    found = {i.sha256: i for i in read_items(db, f"WHERE sha256 IN ({marks})", list(names))}
    return [found[name] for name in names]
