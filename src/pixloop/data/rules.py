"""What is kept, what is left out, and in which split it goes.

In this order:

1. what cannot be read is left out, and what has no label;
2. the same picture under two labels is left out, every copy of it;
3. a picture given for train and for test stays in test;
4. of equal pictures, one is kept;
5. near-duplicates share one side: test where one of them is given for it;
6. the splits are chosen by content, and small classes reach every split as far as they go;
7. a class without a training picture is left out.

Each rule is a few statements of SQL over the index, so that memory does not grow with the data.
"""

from pathlib import Path

import numpy as np

from pixloop.config import DataConfig
from pixloop.data.dataset import SplitName
from pixloop.data.duplicates import group_near_duplicates
from pixloop.data.index import Index
from pixloop.data.split import Shares, choose_split, fill_splits


def apply_rules(index: Index, config: DataConfig, work: Path) -> None:
    """Decide about every sample in the index; ``work`` is a folder for a temporary file."""
    index.db.execute("BEGIN")
    _leave_out_unreadable(index)
    _leave_out_contradictions(index)
    _leave_out_repetitions(index)
    _group(index, work)
    _choose_splits(index, config)
    _note_thin_classes(index)
    index.db.commit()


def _leave_out_unreadable(index: Index) -> None:
    index.exclude(
        "missing_file",
        "SELECT s.id, 'named by ' || s.source FROM samples s LEFT JOIN files f USING (path)"
        " WHERE f.path IS NULL",
    )
    first = "json_extract(findings, '$[0][{}]')"
    kinds = index.db.execute(f"SELECT DISTINCT {first.format(0)} FROM files WHERE NOT usable")  # noqa: S608
    for (kind,) in kinds.fetchall():
        index.exclude(
            kind,
            f"SELECT id, {first.format(1)} FROM kept WHERE NOT usable AND {first.format(0)} = ?",  # noqa: S608
            kind,
        )
    index.exclude("unlabelled", "SELECT id, source FROM kept WHERE label IS NULL")


def _leave_out_contradictions(index: Index) -> None:
    index.exclude(
        "conflicting_labels",
        "SELECT id, 'labelled ' || labels FROM kept JOIN ("
        "  SELECT sha256, group_concat('''' || label || '''', ' and ') AS labels"
        "  FROM (SELECT DISTINCT sha256, label FROM kept ORDER BY sha256, label)"
        "  GROUP BY sha256 HAVING COUNT(*) > 1) USING (sha256)",
    )


def _leave_out_repetitions(index: Index) -> None:
    index.exclude(
        "in_train_and_test",
        "SELECT id, 'the same as ' || other FROM kept JOIN ("
        "  SELECT sha256, MIN(name) AS other FROM kept WHERE given = 'test' GROUP BY sha256)"
        " USING (sha256) WHERE given = 'train'",
    )
    index.exclude(
        "duplicate",
        "SELECT id, 'the same as ' || first FROM ("
        "  SELECT id, FIRST_VALUE(name) OVER same AS first, ROW_NUMBER() OVER same AS number"
        "  FROM kept WINDOW same AS (PARTITION BY sha256 ORDER BY name, source, id))"
        " WHERE number > 1",
    )
    for kind in ("animated", "extension_mismatch", "tiny"):
        index.note(
            kind,
            "SELECT name, json_extract(f.value, '$[1]') FROM kept, json_each(findings) f"
            " WHERE json_extract(f.value, '$[0]') = ?",
            kind,
        )
    index.note("rotated", "SELECT name, 'turned upright' FROM kept WHERE upright")


def _group(index: Index, work: Path) -> None:
    """Give near-duplicates the key of the first of them, and say who they are."""
    db = index.db
    db.execute("UPDATE samples SET key = f.sha256 FROM files f WHERE f.path = samples.path")
    count = db.execute("SELECT COUNT(*) FROM kept").fetchone()[0]
    if not count:
        return
    ids = np.empty(count, np.int64)
    dhashes = np.empty(count, np.uint64)
    means = np.empty((count, 3), np.float32)
    file = work / "thumbnails.bin"
    thumbnails = np.memmap(file, np.uint8, "w+", shape=(count, 256))
    rows = db.execute("SELECT id, dhash, colours, thumbnail FROM kept ORDER BY sha256")
    for i, (id_, dhash, colours, thumbnail) in enumerate(rows):
        ids[i], dhashes[i] = id_, int.from_bytes(dhash, "little")
        means[i] = np.frombuffer(colours, np.float64, count=3)
        thumbnails[i] = np.frombuffer(thumbnail, np.uint8)
    first = group_near_duplicates(dhashes, thumbnails, means)
    del thumbnails
    file.unlink()
    # Rows come in the order of their hashes, so the first of a group has its smallest.
    members = np.flatnonzero(first != np.arange(count)).tolist()
    db.executemany(
        "UPDATE samples SET key = (SELECT key FROM samples WHERE id = ?) WHERE id = ?",
        ((int(ids[first[i]]), int(ids[i])) for i in members),
    )
    _note_groups(index)


_GROUPS = (
    " FROM kept JOIN (SELECT key, MIN(name) AS first, COUNT(*) AS size,"
    " COUNT(DISTINCT label) AS labels, COUNT(DISTINCT given) AS sides"
    " FROM kept GROUP BY key HAVING COUNT(*) > 1) USING (key) "
)


def _note_groups(index: Index) -> None:
    like = "SELECT name, 'looks like ' || first"
    index.note("near_duplicate", like + _GROUPS + "WHERE name != first")
    index.note(
        "near_duplicate_labels",
        "SELECT name, 'labelled ''' || label || ''', and looks like ' || first"
        + _GROUPS
        + "WHERE labels > 1",
    )
    index.note("near_duplicate_sides", like + _GROUPS + "WHERE sides > 1 AND given = 'train'")


def _choose_splits(index: Index, config: DataConfig) -> None:
    db = index.db
    has_test = db.execute("SELECT 1 FROM kept WHERE given = 'test' LIMIT 1").fetchone()
    shares = Shares(
        0.0 if has_test else config.test_share, config.validation_share, config.calibration_share
    )
    db.create_function("choose_split", 1, lambda key: choose_split(key, shares), deterministic=True)
    db.execute("UPDATE samples SET split = choose_split(key) WHERE reason IS NULL")
    db.execute(
        "UPDATE samples SET split = 'test' WHERE reason IS NULL"
        " AND key IN (SELECT key FROM kept WHERE given = 'test')"
    )
    for (label,) in db.execute("SELECT DISTINCT label FROM kept ORDER BY label").fetchall():
        _fill(index, label, shares.wanted(), movable_test=not has_test)
    index.exclude(
        "class_not_in_train",
        "SELECT id, 'class ''' || label || ''' has no training picture' FROM kept"
        " WHERE label NOT IN (SELECT label FROM kept WHERE split = 'train')",
    )


def _fill(index: Index, label: str, wanted: tuple[SplitName, ...], movable_test: bool) -> None:
    """Let a small class reach every wanted split; near-duplicates of other classes stay put."""
    db = index.db
    query = "SELECT split, COUNT(*) FROM kept WHERE label = ? GROUP BY split"
    counts = dict(db.execute(query, (label,)).fetchall())
    if all(counts.get(split) for split in wanted):
        return
    members = db.execute(
        "SELECT key, MIN(split) FROM kept WHERE key IN (SELECT key FROM kept WHERE label = ?)"
        " GROUP BY key HAVING COUNT(DISTINCT label) = 1",
        (label,),
    ).fetchall()
    movable = {key: split for key, split in members if movable_test or split != "test"}
    missing = tuple(s for s in wanted if s in movable.values() or not counts.get(s))
    for key, split in fill_splits(movable, missing).items():
        db.execute("UPDATE samples SET split = ? WHERE key = ? AND reason IS NULL", (split, key))
        index.note(
            "moved_to_fill",
            "SELECT name, 'class ''' || label || ''' has few pictures: moved to ' || split"
            " FROM kept WHERE key = ?",
            key,
        )


def _note_thin_classes(index: Index) -> None:
    index.note(
        "single_picture",
        "SELECT label, 'one picture: ' || MIN(name) FROM kept GROUP BY label HAVING COUNT(*) = 1",
    )
    for split in ("test", "validation", "calibration"):
        index.note(
            f"class_not_in_{split}",
            "SELECT label, 'no ' || ? || ' picture' FROM kept GROUP BY label"
            " HAVING SUM(split = ?) = 0",
            split,
            split,
        )
