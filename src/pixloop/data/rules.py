"""What is kept, what is left out, and in which split it goes.

In this order:

1. what cannot be read is left out, be it a picture, its labels or a box, and what has no label;
2. labels of other classes than those listed are left out (see ``class_names``);
3. boxes are brought into their pictures, or left out (see ``box_rules``);
4. the same picture under two labels, or with two sets of boxes, is left out, every copy of it;
5. a picture given for train and for test stays in test;
6. of equal pictures, one is kept;
7. near-duplicates share one side: test where one of them is given for it;
8. the splits are chosen by content, and small classes reach every split as far as they go;
9. annotations (see ``annotation_rules``): one of a picture that is there gives it its labels, and
   any other brings its picture. Nothing that was there moves;
10. a class without a training picture is left out. In detection its boxes are, and their pictures
   stay: they hold, or lack, the other classes.

Each rule is a few statements of SQL over the index, so that memory does not grow with the data.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pixloop.bundle import Task
from pixloop.config import DataConfig
from pixloop.data.annotation_rules import (
    find_pictures,
    hold_back_annotations,
    leave_out_unresolved,
    take_annotations,
)
from pixloop.data.box_rules import leave_out_unusable, settle_boxes
from pixloop.data.class_names import settle_classes
from pixloop.data.dataset import SplitName
from pixloop.data.duplicates import group_near_duplicates
from pixloop.data.index import Index
from pixloop.data.looks import looks
from pixloop.data.split import Shares, choose_split, fill_splits
from pixloop.progress import Advance, progress


def apply_rules(index: Index, config: DataConfig, task: Task, work: Path) -> None:
    """Decide about every sample in the index; ``work`` is a folder for a temporary file."""
    index.index_hashes()
    index.db.execute("BEGIN")
    with progress("deciding what is kept") as advance:
        _decide(index, config, task, work, advance)
    index.db.commit()


def _decide(index: Index, config: DataConfig, task: Task, work: Path, advance: Advance) -> None:
    _leave_out_unreadable(index, task)
    advance()
    settle_classes(index, config.classes, task)
    if task == "detection":
        settle_boxes(index, config.box_frame)
    # The source's own pictures are decided about as if there were no annotations.
    annotated = hold_back_annotations(index)
    _leave_out_contradictions(index, task)
    advance()
    _leave_out_repetitions(index)
    advance()
    _note_own(index)
    advance()
    _group(index, work)
    advance()
    _list_shown(index, task)
    _choose_splits(index, config, task)
    advance()
    if annotated:
        take_annotations(index, work)
        _refill_shown(index, task)
    _leave_out_untrained(index, task)
    advance()
    _note_thin_classes(index)
    _note_remarks(index)
    advance()


def kept_classes(index: Index) -> list[str]:
    """The classes of what is kept, sorted."""
    return sorted(label for (label,) in index.db.execute("SELECT DISTINCT label FROM shown"))


def _leave_out_unreadable(index: Index, task: Task) -> None:
    index.exclude(
        "unreadable_label", "SELECT sample, detail FROM remarks WHERE kind = 'unreadable_label'"
    )
    find_pictures(index)
    leave_out_unresolved(index)
    index.exclude(
        "missing_file",
        "SELECT s.id, 'named by ' || s.source FROM samples s LEFT JOIN files f USING (path)"
        " WHERE f.path IS NULL AND s.reason IS NULL",
    )
    first = "json_extract(findings, '$[0][{}]')"
    kinds = index.db.execute(f"SELECT DISTINCT {first.format(0)} FROM files WHERE NOT usable")  # noqa: S608
    for (kind,) in kinds.fetchall():
        index.exclude(
            kind,
            f"SELECT id, {first.format(1)} FROM kept WHERE NOT usable AND {first.format(0)} = ?",  # noqa: S608
            kind,
        )
    answer = "label" if task == "classification" else "box_count"
    index.exclude("unlabelled", f"SELECT id, source FROM kept WHERE {answer} IS NULL")  # noqa: S608
    if task == "detection":
        leave_out_unusable(index)


def _leave_out_contradictions(index: Index, task: Task) -> None:
    if task == "detection":
        index.exclude(
            "conflicting_labels",
            "SELECT id, 'other boxes in ' || names FROM kept JOIN ("
            "  SELECT sha256, group_concat(name, ' and ') AS names"
            "  FROM (SELECT sha256, MIN(name) AS name FROM kept GROUP BY sha256, answer"
            "        ORDER BY sha256, MIN(name))"
            "  GROUP BY sha256 HAVING COUNT(*) > 1) USING (sha256)",
        )
        return
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


def _note_own(index: Index) -> None:
    for kind in ("animated", "extension_mismatch", "tiny"):
        index.note(
            kind,
            "SELECT name, json_extract(f.value, '$[1]') FROM kept, json_each(findings) f"
            " WHERE findings != '[]' AND json_extract(f.value, '$[0]') = ?",
            kind,
        )
    index.note("rotated", "SELECT name, 'turned upright' FROM kept WHERE orientation != 1")


def _group(index: Index, work: Path) -> None:
    """Give near-duplicates the key of the first of them, and say who they are."""
    db = index.db
    db.execute("UPDATE samples SET key = f.sha256 FROM files f WHERE f.path = samples.path")
    index.index_keys()
    count = db.execute("SELECT COUNT(*) FROM kept").fetchone()[0]
    if not count:
        return
    with looks(index, work) as (ids, dhashes, thumbnails, means):
        first = group_near_duplicates(dhashes, thumbnails, means)
    # Rows come in the order of their hashes, so the first of a group has its smallest.
    members = np.flatnonzero(first != np.arange(count)).tolist()
    db.executemany(
        "UPDATE samples SET key = (SELECT key FROM samples WHERE id = ?) WHERE id = ?",
        ((int(ids[first[i]]), int(ids[i])) for i in members),
    )
    _note_groups(index, (int(ids[i]) for i in members))


#: What shares its key with others. CROSS: a few groups, and the members of each.
_GROUPS = " FROM near_groups CROSS JOIN kept USING (key) "


def _note_groups(index: Index, members: Iterable[int]) -> None:
    """Say who looks like whom; ``members`` are those that follow another's key."""
    db = index.db
    db.execute("CREATE TEMP TABLE shared_keys (key TEXT PRIMARY KEY)")
    db.executemany(
        "INSERT OR IGNORE INTO shared_keys SELECT key FROM samples WHERE id = ?",
        ((id_,) for id_ in members),
    )
    db.execute(
        "CREATE TEMP TABLE near_groups AS SELECT key, MIN(name) AS first,"
        " COUNT(DISTINCT label) AS labels, COUNT(DISTINCT given) AS sides"
        " FROM shared_keys CROSS JOIN kept USING (key) GROUP BY key"
    )
    like = "SELECT name, 'looks like ' || first"
    index.note("near_duplicate", like + _GROUPS + "WHERE name != first")
    index.note(
        "near_duplicate_labels",
        "SELECT name, 'labelled ''' || label || ''', and looks like ' || first"
        + _GROUPS
        + "WHERE labels > 1",
    )
    index.note("near_duplicate_sides", like + _GROUPS + "WHERE sides > 1 AND given = 'train'")
    db.execute("DROP TABLE near_groups")
    db.execute("DROP TABLE shared_keys")


def _list_shown(index: Index, task: Task) -> None:
    """Make the view ``shown``: a row for every kept picture and class that it shows."""
    _fill_shown(index, task)
    index.db.execute("CREATE INDEX temp.shows_label ON shows (label)")
    index.db.execute("CREATE INDEX temp.shows_sample ON shows (sample)")
    index.db.execute(
        "CREATE TEMP VIEW shown AS SELECT s.label, p.name, p.key, p.split"
        " FROM shows s JOIN samples p ON p.id = s.sample WHERE p.reason IS NULL"
    )


def _fill_shown(index: Index, task: Task) -> None:
    index.db.execute(
        "INSERT INTO shows SELECT id, label FROM kept"
        if task == "classification"
        else "INSERT INTO shows SELECT DISTINCT sample, label FROM kept_boxes WHERE NOT crowd"
    )


def _refill_shown(index: Index, task: Task) -> None:
    index.db.execute("DELETE FROM shows")
    _fill_shown(index, task)


def _choose_splits(index: Index, config: DataConfig, task: Task) -> None:
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
    for label in kept_classes(index):
        _fill(index, label, shares.wanted(), movable_test=not has_test, task=task)


def _leave_out_untrained(index: Index, task: Task) -> None:
    untrained = "label NOT IN (SELECT label FROM shown WHERE split = 'train')"
    if task == "classification":
        index.exclude(
            "class_not_in_train",
            "SELECT id, 'class ''' || label || ''' has no training picture' FROM kept"  # noqa: S608
            f" WHERE {untrained}",
        )
    else:
        index.exclude_boxes("box_class_not_in_train", "no training picture shows it", untrained)
        index.db.execute(f"DELETE FROM shows WHERE {untrained}")  # noqa: S608


#: Keys of pictures of a class that may go to another split. Near-duplicates of other classes stay
#: put. In detection those stay that are the only ones of another class in their split, as long as
#: the class has a training picture: without one it would be lost.
_MOVABLE: dict[Task, str] = {
    "classification": (
        "SELECT key, MIN(split) FROM shown"
        " WHERE key IN (SELECT key FROM shown WHERE label = :label)"
        " GROUP BY key HAVING COUNT(DISTINCT label) = 1"
    ),
    "detection": (
        "SELECT DISTINCT key, split FROM shown s"
        " WHERE label = :label AND NOT (:trained AND EXISTS ("
        "  SELECT 1 FROM shown o WHERE o.key = s.key AND o.label != s.label AND NOT EXISTS ("
        "    SELECT 1 FROM shown r"
        "    WHERE r.label = o.label AND r.split = o.split AND r.key != o.key)))"
    ),
}


def _fill(
    index: Index, label: str, wanted: tuple[SplitName, ...], movable_test: bool, task: Task
) -> None:
    """Let a small class reach every wanted split."""
    db = index.db
    query = "SELECT split, COUNT(*) FROM shown WHERE label = ? GROUP BY split"
    counts = dict(db.execute(query, (label,)).fetchall())
    if all(counts.get(split) for split in wanted):
        return
    parameters = {"label": label, "trained": bool(counts.get("train"))}
    members = db.execute(_MOVABLE[task], parameters).fetchall()
    movable = {key: split for key, split in members if movable_test or split != "test"}
    missing = tuple(s for s in wanted if s in movable.values() or not counts.get(s))
    for key, split in fill_splits(movable, missing).items():
        db.execute("UPDATE samples SET split = ? WHERE key = ? AND reason IS NULL", (split, key))
        index.note(
            "moved_to_fill",
            "SELECT name, 'class ''' || label || ''' has few pictures: moved to ' || split"
            " FROM shown WHERE key = ? AND label = ?",
            key,
            label,
        )


def _note_thin_classes(index: Index) -> None:
    held_out = ("test", "validation", "calibration")
    counts = ", ".join(f"SUM(split = '{split}') AS {split}" for split in held_out)
    index.db.execute(
        "CREATE TEMP TABLE class_sizes AS SELECT label, COUNT(*) AS size, MIN(name) AS first,"  # noqa: S608
        f" {counts} FROM shown GROUP BY label"
    )
    index.note(
        "single_picture", "SELECT label, 'one picture: ' || first FROM class_sizes WHERE size = 1"
    )
    for split in held_out:
        index.note(
            f"class_not_in_{split}",
            f"SELECT label, 'no {split} picture' FROM class_sizes WHERE {split} = 0",  # noqa: S608
        )


def _note_remarks(index: Index) -> None:
    """Note what the formats have said of pictures and boxes that are kept."""
    index.note(
        "no_objects",
        "SELECT name, 'no boxes' FROM kept WHERE box_count IS NOT NULL"
        " AND id NOT IN (SELECT sample FROM kept_boxes)"
        " AND id NOT IN (SELECT sample FROM remarks WHERE kind = 'no_label_file')",
    )
    for kind in ("no_label_file", "listed_twice"):
        index.note(
            kind,
            "SELECT name, r.detail FROM kept k JOIN remarks r ON r.sample = k.id WHERE kind = ?",
            kind,
        )
    index.note(
        "turned_box",
        "SELECT b.name, 'box ' || number || ' ''' || label || ''': ' || r.detail"
        " FROM kept_boxes b JOIN remarks r USING (sample, number) WHERE kind = 'turned_box'",
    )
