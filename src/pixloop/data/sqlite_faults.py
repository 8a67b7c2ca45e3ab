"""What goes wrong with a SQLite file of ours, told as what to do about it."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixloop.errors import DataError

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = "Another run uses it: wait for it, or stop it"
_DENIED = "See that its folder can be written to"
#: The machine's troubles, as SQLite numbers them. All others would be mistakes of ours.
_REMEDIES = {
    sqlite3.SQLITE_FULL: "Make room there, and where SQLite sorts (SQLITE_TMPDIR, else /tmp)",
    sqlite3.SQLITE_IOERR: "See to its disk, and to the room on it",
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
}
_ANEW = "Delete it to begin anew"


@contextmanager
def faults_told(path: Path) -> Iterator[None]:
    """Tell what goes wrong with the database at ``path``, or for want of room, in the block.

    A damaged database is deleted, as it only saves time: the next run makes it again. It must be
    closed when the block ends.

    Raises:
        DataError: it is damaged, in use or cannot be written to, or a disk is full.
    """
    try:
        yield
    except sqlite3.DatabaseError as e:
        if is_damaged(e):
            remove(path)
            raise DataError(
                f"{path} was damaged ({e}) and has been deleted. Run again: what it held is found"
                " out anew."
            ) from e
        if _code(e) not in _REMEDIES:
            raise
        raise explained(path, e) from e
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
        raise DataError(f"A disk is full: {e}. Make room, and run again to go on.") from e


def is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, and not its disk or who else uses it."""
    return _code(error) in _DAMAGED


def remove(path: Path) -> None:
    """Delete a database, and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def explained(path: Path, error: sqlite3.DatabaseError) -> DataError:
    """An error of the database at ``path`` with what to do."""
    remedy = _REMEDIES.get(_code(error), _ANEW)
    return DataError(f"{path} cannot be used: {error}. {remedy}, and run again.")


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's number without its details; 0 for what Python's own module raises."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
