"""The review queue on disk: pictures that may be asked, are asked, or were.

::

    review/
      review.db            SQLite: a row a picture, a row a reason
      pictures/<sha256>    the pictures, as they were sent

A picture's file is written whole before its row, and rows change in transactions, so that a kill at
any point leaves nothing half, and several processes may use one queue. A status only ever moves
forward: waiting → asked → answered or skipped. What was answered is asked once more only where its
label turns out to be doubtful.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pixloop.annotation.items import STATUSES, Candidate, Drawn, Item, Status
from pixloop.annotation.queue_rows import (
    COLUMNS,
    SCHEMA,
    merge_reason,
    read_items,
    to_row,
    weightiest,
)
from pixloop.annotation.selection import select
from pixloop.errors import AnnotationError
from pixloop.files import atomic_path

DATABASE, PICTURES = "review.db", "pictures"
#: So long one process waits for another that writes.
_PATIENCE_S = 60.0
#: Waiting pictures that are held against one another; of more, those with the most to tell.
MOST_COMPARED = 20_000
#: Pictures of one transaction.
_BATCH = 32
#: Pictures that were asked before, from which the next ones are to differ.
MOST_HELD = 2_000

_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


class ReviewQueue:
    """The queue in a folder; threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made until something is offered."""
        self.folder = folder

    # ---- what may be asked

    def offer(self, candidates: Iterable[Candidate]) -> int:
        """Take pictures into the queue; one that is known gets what reasons are new.

        Args:
            candidates: taken a few at a time, so that few pictures are in memory.

        Returns:
            How many wait that did not before.
        """
        each, new = iter(candidates), 0
        while batch := list(islice(each, _BATCH)):
            for candidate in batch:
                _check(candidate)
                self._keep_picture(candidate)
            with self._writing() as db:
                new += sum(self._offer(db, candidate) for candidate in batch)
        return new

    def _keep_picture(self, candidate: Candidate) -> None:
        file = self.folder / PICTURES / candidate.sha256
        if not file.is_file():
            with atomic_path(file) as temporary:
                temporary.write_bytes(candidate.picture)

    def _offer(self, db: sqlite3.Connection, candidate: Candidate) -> bool:
        known = db.execute(
            "SELECT status FROM pictures WHERE sha256 = ?", [candidate.sha256]
        ).fetchone()
        if known is not None and known[0] != "waiting":
            return self._doubt(db, candidate, known[0])
        if known is None:
            db.execute(
                f"INSERT INTO pictures ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 'waiting', NULL)",  # noqa: S608
                to_row(candidate),
            )
        for reason in candidate.reasons:
            merge_reason(db, candidate.sha256, reason)
        return known is None

    @staticmethod
    def _doubt(db: sqlite3.Connection, candidate: Candidate, status: str) -> bool:
        """What was asked is asked again only where its label is doubtful, and that only once."""
        doubts = [reason for reason in candidate.reasons if reason.kind == "label_error"]
        asked = db.execute(
            "SELECT 1 FROM reasons WHERE sha256 = ? AND kind = 'label_error'", [candidate.sha256]
        ).fetchone()
        if not doubts or asked or status == "asked":
            return False
        merge_reason(db, candidate.sha256, doubts[0])
        db.execute(
            "UPDATE pictures SET status = 'waiting', origin = ? WHERE sha256 = ?",
            [json.dumps(candidate.origin), candidate.sha256],
        )
        return True

    # ---- what is asked

    def choose(self, budget: int, random_share: float, seed: int = 0) -> list[Item]:
        """Ask pictures: a share drawn at random, the rest such that they differ.

        Args:
            budget: how many at most.
            random_share: of the budget, 0 to 1; see ``selection.select``.
            seed: of what chance decides; equal queues and seeds give equal choices.

        Returns:
            The pictures, now ``asked``, in the order in which they are best asked.
        """
        if not (self.folder / DATABASE).is_file():
            return []
        with self._writing() as db:
            waiting = list(read_items(db, "WHERE status = 'waiting'", []))
            held = read_items(
                db,
                f"WHERE status <> 'waiting' ORDER BY turn DESC, sha256 LIMIT {MOST_HELD}",
                [],
            )
            waiting = weightiest(waiting, MOST_COMPARED)
            chosen = select(waiting, budget, random_share, seed, list(held))
            turn = db.execute("SELECT coalesce(max(turn), 0) FROM pictures").fetchone()[0]
            for place, (item, drawn) in enumerate(chosen, start=turn + 1):
                # Once drawn at random always so: being asked again does not undo the draw.
                db.execute(
                    "UPDATE pictures SET status = 'asked', drawn = CASE drawn WHEN 'random' THEN "
                    "'random' ELSE ? END, turn = ? WHERE sha256 = ?",
                    [drawn, place, item.sha256],
                )
        return [self.get(item.sha256) for item, _ in chosen]

    def mark(self, sha256: str, status: Status, drawn: Drawn | None = None) -> None:
        """Note how far a picture is.

        Args:
            sha256: the picture's.
            status: ``asked`` once more undoes an answer.
            drawn: how it came to be asked, where that is not known yet.

        Raises:
            AnnotationError: there is no such picture.
        """
        with self._writing() as db:
            done = db.execute(
                "UPDATE pictures SET status = ?, drawn = coalesce(drawn, ?) WHERE sha256 = ?",
                [status, drawn or (None if status == "waiting" else "chosen"), sha256],
            )
            if not done.rowcount:
                raise self._unknown(sha256)

    def note(self, sha256: str, origin: Mapping[str, str]) -> None:
        """Add to what is known of where a picture comes from; what has the same key is replaced.

        Raises:
            AnnotationError: there is no such picture.
        """
        with self._writing() as db:
            row = db.execute("SELECT origin FROM pictures WHERE sha256 = ?", [sha256]).fetchone()
            if row is None:
                raise self._unknown(sha256)
            db.execute(
                "UPDATE pictures SET origin = ? WHERE sha256 = ?",
                [json.dumps(json.loads(row[0]) | dict(origin)), sha256],
            )

    # ---- looking

    def items(self, status: Status | None = None) -> Iterator[Item]:
        """The pictures of a status, or all: what is asked in its order, then what weighs most."""
        where = "" if status is None else "WHERE status = ?"
        values = [] if status is None else [status]
        with self._reading() as db:
            found = (
                [] if db is None else list(read_items(db, where + " ORDER BY turn, sha256", values))
            )
        if status == "waiting":
            found = weightiest(found, len(found))
        yield from found

    def read(self, look: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        """What one of ``queue_pages`` finds; ``nothing`` before anything was offered."""
        with self._reading() as db:
            return nothing if db is None else look(db)

    def get(self, sha256: str) -> Item:
        """A picture's item.

        Args:
            sha256: of the picture, or its first digits where they name no other.

        Raises:
            AnnotationError: there is no such picture, or there are several.
        """
        with self._reading() as db:
            where = "WHERE sha256 >= ? AND sha256 < ? ORDER BY sha256 LIMIT 2"
            found = [] if db is None else list(read_items(db, where, [sha256, sha256 + "g"]))
        if not found or not sha256:
            raise self._unknown(sha256)
        if len(found) > 1:
            raise AnnotationError(
                f"several pictures in the queue begin with {sha256!r}. Give more of its digits."
            )
        return found[0]

    def knows(self, sha256: str) -> bool:
        """Whether a picture was asked before, or is."""
        with self._reading() as db:
            return db is not None and bool(
                db.execute(
                    "SELECT 1 FROM pictures WHERE sha256 = ? AND status <> 'waiting'", [sha256]
                ).fetchone()
            )

    def picture(self, sha256: str) -> bytes:
        """A picture's bytes.

        Raises:
            AnnotationError: there is no such picture.
        """
        file = self.picture_file(sha256)
        try:
            return file.read_bytes()
        except FileNotFoundError as e:
            raise self._unknown(sha256) from e

    def picture_file(self, sha256: str) -> Path:
        """Where a picture lies.

        Raises:
            AnnotationError: that is no picture's name.
        """
        if not _SHA256.fullmatch(sha256):
            raise self._unknown(sha256)
        return self.folder / PICTURES / sha256

    def counts(self) -> dict[Status, int]:
        """How many pictures there are of each status."""
        grouped = "SELECT status, count(*) FROM pictures GROUP BY status"
        rows: list[tuple[str, int]] = self.read(lambda db: db.execute(grouped).fetchall(), [])
        return {status: dict(rows).get(status, 0) for status in STATUSES}

    # ---- how far sources were read

    def collected(self, source: str) -> int:
        """How many rows of a source were offered; 0 where none were."""
        with self._reading() as db:
            row = (
                db
                and db.execute("SELECT rows FROM collected WHERE source = ?", [source]).fetchone()
            )
        return int(row[0]) if row else 0

    def set_collected(self, source: str, rows: int) -> None:
        """Note how many rows of a source were offered."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO collected VALUES (?, ?)", [source, rows])

    # ---- inside

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._translated(), closing(self._connect()) as db:
            db.executescript(SCHEMA)
            db.execute("BEGIN IMMEDIATE")
            with db:
                yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where nothing was offered yet."""
        if not (self.folder / DATABASE).is_file():
            yield None
            return
        with self._translated(), closing(self._connect()) as db:
            db.executescript(SCHEMA)
            yield db

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / DATABASE, _PATIENCE_S, isolation_level=None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise AnnotationError(
                f"{self.folder / DATABASE} cannot be used: {e}. If it is damaged, move it away: "
                "annotations are kept elsewhere, and 'pixloop review collect' fills a new queue."
            ) from e

    def _unknown(self, sha256: str) -> AnnotationError:
        return AnnotationError(
            f"the review queue in {self.folder} has no picture {sha256!r}. "
            "'pixloop review list' shows those that it has."
        )


def _check(candidate: Candidate) -> None:
    if not _SHA256.fullmatch(candidate.sha256) or not candidate.reasons:
        raise AnnotationError(
            f"a picture {candidate.sha256!r} was offered for review; expected a SHA-256 of 64 "
            "lower-case hexadecimal digits, and at least one reason."
        )
