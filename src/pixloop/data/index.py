"""The index that ``prepare`` keeps of the pictures it has seen: SQLite, in the work folder.

What was learned of a file is kept until its size, its time or the inspection changes, so that a
run that was killed goes on where it was. Labels are read anew each time; that is cheap.
"""

import itertools
import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

from pixloop.data.check import Inspection
from pixloop.data.sqlite_faults import explained, is_damaged, remove
from pixloop.records import Box, Finding

_SETTINGS = "CREATE TABLE IF NOT EXISTS settings (value TEXT)"
_FILES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, usable INTEGER,
    width INTEGER, height INTEGER, format TEXT, mode TEXT, orientation INTEGER,
    dhash BLOB, thumbnail BLOB, colours BLOB, findings TEXT);
"""
# given: train or test, as the source says. asked and drawn: of an annotation, the SHA-256 of its
# picture and how it was drawn; without a drawn it is the source's own.
# key: what decides the split, a group's smallest SHA-256.
# reason: why it is left out. In detection, label says in words what is in the picture, and answer
# tells one labelling of a picture from another. Once settled, a box that is kept is in pixels of
# the upright picture. remarks: the formats' findings; number is a box's, or 0 where one is about
# the picture. shows: which classes a kept picture shows.
_SAMPLES = """
DROP VIEW IF EXISTS kept;
DROP VIEW IF EXISTS kept_boxes;
DROP TABLE IF EXISTS samples;
DROP TABLE IF EXISTS boxes;
DROP TABLE IF EXISTS notes;
DROP TABLE IF EXISTS remarks;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY, name TEXT, path TEXT, label TEXT, answer TEXT, given TEXT, source TEXT,
    frame_width REAL, frame_height REAL, relative INTEGER, asked TEXT, drawn TEXT,
    box_count INTEGER, reason TEXT, detail TEXT, key TEXT, split TEXT);
CREATE TABLE boxes (
    id INTEGER PRIMARY KEY, sample INTEGER, number INTEGER, label TEXT,
    x1 REAL, y1 REAL, x2 REAL, y2 REAL, crowd INTEGER, reason TEXT, detail TEXT);
CREATE TABLE notes (kind TEXT, name TEXT, detail TEXT);
CREATE TABLE remarks (sample INTEGER, number INTEGER, kind TEXT, detail TEXT);
CREATE VIEW kept AS SELECT * FROM samples JOIN files USING (path) WHERE reason IS NULL;
CREATE VIEW kept_boxes AS
    SELECT b.*, s.name, s.key, s.split FROM boxes b JOIN samples s ON s.id = b.sample
    WHERE b.reason IS NULL AND s.reason IS NULL;
CREATE TEMP TABLE shows (sample INTEGER, label TEXT);
CREATE TEMP TABLE pending (path TEXT, size INTEGER, mtime_ns INTEGER);
CREATE TEMP TABLE decided (id INTEGER PRIMARY KEY, detail TEXT);
"""
_BATCH = 1000
# In kB, and as much for what SQLite sorts. All that is larger is on disk.
_CACHE_KB = 32_000
# What the log of changes may take on disk between two runs.
_LOG_BYTES = 64_000_000
_COLOURS = struct.Struct("<6d")


#: Sorts what is kept by its hash. The + keeps SQLite from going along the index, which would fetch
#: every row from somewhere else: much slower than a sort, once the rows are more than its cache.
BY_HASH = "ORDER BY +sha256"


class Entry(NamedTuple):
    """A sample as it goes into the index."""

    name: str  #: relative to the source, for messages and for the data set
    path: str
    label: str | None
    given: str  #: train or test
    source: str
    boxes: tuple[Box, ...] | None = None
    size: tuple[float, float] | None = None  #: of the frame that the boxes are in
    relative: bool = False  #: whether the boxes fit the picture whatever its size is
    findings: tuple[Finding, ...] = ()
    asked: str | None = None  #: an annotation: the SHA-256 of its picture
    drawn: str | None = None  #: an annotation: random or chosen


class FileState(NamedTuple):
    """A file and what would show that it has changed."""

    path: str
    size: int
    mtime_ns: int


class Index:
    """Files, samples and notes, in SQLite. ``db`` is for ``rules``, which are written in SQL."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    @classmethod
    def open(cls, path: Path, settings: str) -> Self:
        """Open or make the index. What was learned under other ``settings`` is forgotten.

        Raises:
            DataError: it is in use, or cannot be read or written to.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return cls._open(path, settings)
        except sqlite3.DatabaseError as e:
            if not is_damaged(e):
                raise explained(path, e) from e
            # It only saves time, so a damaged one is simply made again.
            remove(path)
            return cls._open(path, settings)

    @classmethod
    def _open(cls, path: Path, settings: str) -> Self:
        db = sqlite3.connect(path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            db.execute(_SETTINGS)
            if db.execute("SELECT value FROM settings").fetchall() != [(settings,)]:
                db.execute("DROP TABLE IF EXISTS files")
                db.execute("DELETE FROM settings")
                db.execute("INSERT INTO settings VALUES (?)", (settings,))
            db.executescript(_FILES + _SAMPLES)
            db.commit()
        except sqlite3.DatabaseError:
            db.close()
            raise
        return cls(db)

    def close(self) -> None:
        """Close the database."""
        with closing(self.db):
            self.db.commit()

    def add_samples(self, entries: Iterable[Entry]) -> None:
        """Add what a format has read."""
        numbered = enumerate(entries)
        while batch := list(itertools.islice(numbered, _BATCH)):
            self.db.executemany(
                "INSERT INTO samples"
                " (id, name, path, label, given, source, frame_width, frame_height, relative,"
                " asked, drawn, box_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_sample_row(id_, entry) for id_, entry in batch),
            )
            self.db.executemany(
                "INSERT INTO boxes (sample, number, label, x1, y1, x2, y2, crowd)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (id_, number, box.label, *box.xyxy, int(box.crowd))
                    for id_, entry in batch
                    for number, box in enumerate(entry.boxes or (), start=1)
                ),
            )
            self.db.executemany(
                "INSERT INTO remarks VALUES (?, ?, ?, ?)",
                (remark for id_, entry in batch for remark in _remarks(id_, entry)),
            )
            self.db.commit()
        for table, column in (("samples", "path"), ("boxes", "sample")):
            self.db.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
        self.db.commit()

    def count(self) -> int:
        """How many samples there are."""
        return int(self.db.execute("SELECT COUNT(*) FROM samples").fetchone()[0])

    def files(self) -> Iterator[tuple[str, FileState | None, str | None]]:
        """Each file that a sample names: path, state when inspected, SHA-256 if turned upright.

        Without those whose labels cannot be read: they are left out, and may not be pictures.
        """
        for path, size, mtime_ns, turned in self.db.execute(
            "SELECT DISTINCT s.path, f.size, f.mtime_ns, IIF(f.orientation != 1, f.sha256, NULL)"
            " FROM samples s LEFT JOIN files f USING (path)"
            " WHERE s.id NOT IN (SELECT sample FROM remarks WHERE kind = 'unreadable_label')"
        ):
            yield path, None if size is None else FileState(path, size, mtime_ns), turned

    def queue(self, files: Iterable[FileState]) -> None:
        """Remember, on disk, which files are to be inspected; forget what they were before.

        Those of size -1 are gone: nothing is to be inspected, and nothing is known of them.
        """
        self.db.executemany("INSERT INTO pending VALUES (?, ?, ?)", files)
        self.db.execute("DELETE FROM files WHERE path IN (SELECT path FROM pending)")
        self.db.execute("DELETE FROM pending WHERE size < 0")
        if self.count_queued() > _BATCH:
            # Hashes come in no order: kept while files come, it would be written again and again.
            self.db.execute("DROP INDEX IF EXISTS files_sha256")
        self.db.commit()

    def count_queued(self) -> int:
        """How many files are to be inspected."""
        return int(self.db.execute("SELECT COUNT(*) FROM pending").fetchone()[0])

    def queued(self) -> Iterator[FileState]:
        """The files that are to be inspected.

        Read in blocks: while a statement is open the log of changes cannot be taken in, and it
        would grow by what is recorded meanwhile.
        """
        query = "SELECT rowid, path, size, mtime_ns FROM pending WHERE rowid > ? LIMIT ?"
        last = 0
        while block := self.db.execute(query, (last, _BATCH)).fetchall():
            last = block[-1][0]
            yield from (FileState(*state) for _, *state in block)

    def forget_recorded(self) -> None:
        """Take from the queue what is known by now."""
        self.db.execute("DELETE FROM pending WHERE path IN (SELECT path FROM files)")
        self.db.commit()

    def record(self, inspected: Iterable[tuple[FileState, Inspection]]) -> None:
        """Keep what was learned of files."""
        rows = [_file_row(state, inspection) for state, inspection in inspected]
        marks = ", ".join("?" * 14)
        self.db.executemany(f"INSERT OR REPLACE INTO files VALUES ({marks})", rows)  # noqa: S608
        self.db.commit()

    def index_hashes(self) -> None:
        """Make what finds files by their SHA-256; once all are recorded it is quickly made."""
        self.db.execute("CREATE INDEX IF NOT EXISTS files_sha256 ON files (sha256)")

    def index_keys(self) -> None:
        """Make what finds samples by their keys, when they have them."""
        self.db.execute("CREATE INDEX IF NOT EXISTS samples_key ON samples (key)")

    def exclude(self, kind: str, select: str, *parameters: Any) -> None:
        """Leave out, for the reason ``kind``, the samples whose id and detail are selected."""
        self.db.execute("DELETE FROM decided")
        self.db.execute(f"INSERT OR IGNORE INTO decided {select}", parameters)
        self.db.execute(
            "UPDATE samples SET reason = ?, detail = decided.detail"
            " FROM decided WHERE samples.id = decided.id",
            (kind,),
        )

    def exclude_boxes(self, kind: str, detail: str, where: str, *parameters: Any) -> None:
        """Leave out, for the reason ``kind``, the kept boxes that a condition selects."""
        self.db.execute(
            "UPDATE boxes SET reason = ?, detail = ?"  # noqa: S608
            f" WHERE id IN (SELECT id FROM kept_boxes WHERE {where})",
            (kind, detail, *parameters),
        )

    def note(self, kind: str, select: str, *parameters: Any) -> None:
        """Note a finding about each selected name and detail."""
        self.db.execute(
            f"INSERT INTO notes SELECT ?, * FROM ({select})",  # noqa: S608
            (kind, *parameters),
        )

    def colours(self) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
        """Mean and standard deviation of the channels over the training pictures, 0 to 1."""
        sums, count = [0.0] * 6, 0
        query = f"SELECT colours FROM kept WHERE split = 'train' {BY_HASH}"  # noqa: S608
        for (packed,) in self.db.execute(query):
            sums = [s + v for s, v in zip(sums, _COLOURS.unpack(packed), strict=True)]
            count += 1
        if not count:
            return None
        r, g, b, rr, gg, bb = (s / count for s in sums)
        deviations = [max(0.0, s - m * m) ** 0.5 for m, s in ((r, rr), (g, gg), (b, bb))]
        return (r, g, b), (deviations[0], deviations[1], deviations[2])


def storable(text: str) -> str:
    r"""A name that is not UTF-8 with its bytes spelt out: its file then counts as missing.

    >>> storable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _sample_row(id_: int, entry: Entry) -> Sequence[Any]:
    count = None if entry.boxes is None else len(entry.boxes)
    size = entry.size or (None, None)
    about = (entry.asked, entry.drawn)
    return (id_, *entry[:5], *size, int(entry.relative), *about, count)


def _remarks(id_: int, entry: Entry) -> Iterator[tuple[int, int, str, str]]:
    """What the format has said of a sample, and of its boxes by their numbers."""
    about = [(0, entry.findings)]
    about += [(number, box.findings) for number, box in enumerate(entry.boxes or (), start=1)]
    for number, findings in about:
        yield from ((id_, number, found.kind, found.detail) for found in findings)


def _file_row(state: FileState, inspection: Inspection) -> tuple[Any, ...]:
    findings = json.dumps([[f.kind, f.detail] for f in inspection.findings])
    facts = inspection.facts
    if facts is None:
        return (*state, inspection.sha256, 0, *[None] * 8, findings)
    return (
        *state,
        inspection.sha256,
        1,
        facts.width,
        facts.height,
        facts.format,
        facts.mode,
        facts.orientation,
        facts.dhash.to_bytes(8, "little"),
        facts.thumbnail,
        _COLOURS.pack(*facts.mean, *facts.square),
        findings,
    )
