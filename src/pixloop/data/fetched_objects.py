"""In which versions objects lie in a folder, noted beside it as they come.

A fetch that was killed goes on from there. Without it, an object that has changed and kept its
size would count as fetched, and one that has gone from S3 would stay::

    fetched/            the objects
    fetched.sqlite      name → ETag
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pixloop.data.sqlite_faults import faults_told

# run: the last one that has seen the object, counted from 1.
_TABLE = "CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, etag TEXT, run INTEGER)"
# What a kill may cost, in objects that are then fetched again.
_BATCH = 64


class FetchedObjects:
    """The notes of one folder. Use ``fetched_objects``."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder, self._db = folder, db
        db.execute(_TABLE)
        (last,) = db.execute("SELECT COALESCE(MAX(run), 0) FROM objects").fetchone()
        self._run, self._uncommitted = last + 1, 0

    def has(self, target: Path, size: int, etag: str) -> bool:
        """Whether an object's file is there, in this version.

        Args:
            target: the file, below the folder.
            size: what it must have, in bytes.
            etag: of the object as it is now.
        """
        name = self._name(target)
        noted = self._db.execute("SELECT etag FROM objects WHERE name = ?", (name,)).fetchall()
        return noted == [(etag,)] and target.is_file() and target.stat().st_size == size

    def note(self, target: Path, etag: str) -> None:
        """Note that a file is there in a version, which this run has seen."""
        row = (self._name(target), etag, self._run)
        self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", row)
        self._uncommitted += 1
        if self._uncommitted >= _BATCH:
            self._db.commit()
            self._uncommitted = 0

    def remove_unseen(self) -> None:
        """Delete the files of earlier runs whose objects this one has not seen."""
        unseen = self._db.execute("SELECT name FROM objects WHERE run < ?", (self._run,))
        for (name,) in unseen:
            (self._folder / name).unlink(missing_ok=True)
        self._db.execute("DELETE FROM objects WHERE run < ?", (self._run,))

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()


@contextmanager
def fetched_objects(folder: Path) -> Iterator[FetchedObjects]:
    """The notes of what lies in ``folder``, which may not be there yet.

    Raises:
        DataError: they cannot be kept, turn out to be damaged, or a disk is full.
    """
    file = folder.with_name(folder.name + ".sqlite")
    file.parent.mkdir(parents=True, exist_ok=True)
    with faults_told(file), closing(sqlite3.connect(file)) as db:
        try:
            yield FetchedObjects(folder, db)
        finally:
            db.commit()
