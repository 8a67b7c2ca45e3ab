"""What annotations change in a data set: labels of its pictures, and pictures that they bring.

The source's own pictures are decided about first, as if nothing was annotated. Then:

1. an annotation of a picture that is there takes its place: its labels count, its name and its
   split stay, and so do all others;
2. an annotation of a picture that was left out for its labels, or is not in the source, brings it:
   to train where it was chosen, to the pictures that judge where it was drawn at random (see
   ``split.choose_annotated_split``). What the source gave for the test stays there;
3. what looks like a picture that was there before goes to its side, or is left out where what was
   chosen looks like one that judges. "Before" is the source's, and what was first answered earlier:
   so later annotations move no earlier ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from pixloop.bundle import Task
from pixloop.data.annotations import PICTURES, Resolved
from pixloop.data.class_names import tidy
from pixloop.data.dataset import SplitName
from pixloop.data.duplicates import find_near_duplicates
from pixloop.data.index import Entry, Index, storable
from pixloop.data.looks import looks
from pixloop.data.split import choose_annotated_split
from pixloop.records import Box, Finding

#: How the names of the pictures that annotations bring begin.
PREFIX = "annotations/"
_HELD = "held_back"


def annotated_entries(folder: Path, pictures: Iterable[Resolved], task: Task) -> Iterator[Entry]:
    """A sample for each picture that people agree on, those first that were answered first.

    Those without one answer are samples with a finding that says why.

    Args:
        folder: of the annotations.
        pictures: what they say.
        task: the data set's.
    """
    for each in sorted(pictures, key=lambda r: (r.at, r.sha256)):
        answered = each.label if task == "classification" else each.boxes
        reason = each.reason
        if not reason and answered is None:
            reason = f"it is no answer for {task}"
        label = storable(tidy(each.label or "")) if task == "classification" else None
        boxes = [Box(storable(tidy(b.label)), b.xyxy) for b in each.boxes or ()]
        yield Entry(
            name=PREFIX + each.sha256,
            path=storable(str((folder / PICTURES / each.sha256).absolute())),
            label=label or None,
            given="train",
            source=each.source,
            boxes=tuple(boxes) if task == "detection" and answered is not None else None,
            asked=each.sha256,
            drawn=each.drawn,
            findings=(Finding("unresolved_annotation", reason),) if reason else (),
        )


def find_pictures(index: Index) -> None:
    """Let annotations whose picture is not kept with them use the source's own file."""
    index.db.execute(
        "UPDATE samples SET path = f.path FROM (SELECT sha256, MIN(path) AS path FROM files"
        " WHERE path IN (SELECT path FROM samples WHERE drawn IS NULL) GROUP BY sha256) f"
        " WHERE f.sha256 = samples.asked AND samples.path NOT IN (SELECT path FROM files)"
    )


def leave_out_unresolved(index: Index) -> None:
    """Leave out annotations without one answer, and those whose picture is another one."""
    kind = "unresolved_annotation"
    index.exclude(kind, f"SELECT sample, detail FROM remarks WHERE kind = '{kind}'")  # noqa: S608
    index.exclude("other_picture", "SELECT id, source FROM kept WHERE asked != sha256")


def hold_back_annotations(index: Index) -> bool:
    """Take annotations out of what is kept until their turn comes; whether there are any."""
    held = index.db.execute(
        "UPDATE samples SET reason = ? WHERE drawn IS NOT NULL AND reason IS NULL", (_HELD,)
    )
    return held.rowcount > 0


def take_annotations(index: Index, work: Path) -> None:
    """Bring the annotations that were held back into what is kept, each in its split."""
    db = index.db
    db.execute("UPDATE samples SET key = asked, split = NULL WHERE reason = ?", (_HELD,))
    _take_places(index)
    db.execute("UPDATE samples SET reason = NULL WHERE reason = ?", (_HELD,))
    _place_new(index, work)


def _take_places(index: Index) -> None:
    """Replace the source's samples of annotated pictures."""
    db = index.db
    db.execute("CREATE TEMP TABLE places (annotation INTEGER PRIMARY KEY, own INTEGER)")
    db.execute(
        "INSERT INTO places SELECT a.id, MIN(o.id) FROM samples a JOIN files f"
        " ON f.sha256 = a.asked JOIN samples o ON o.path = f.path"
        " WHERE a.reason = ? AND o.drawn IS NULL AND o.reason IS NULL GROUP BY a.id",
        (_HELD,),
    )
    index.note(
        "relabelled",
        "SELECT o.name, o.label || ' is ' || a.label"
        " || ' by ' || a.source FROM places p JOIN samples o ON o.id = p.own"
        " JOIN samples a ON a.id = p.annotation"
        " WHERE o.label != a.label OR COALESCE(o.answer, '') != COALESCE(a.answer, '')",
    )
    db.execute(
        "UPDATE samples SET name = o.name, given = o.given, key = o.key, split = o.split"
        " FROM places p JOIN samples o ON o.id = p.own WHERE samples.id = p.annotation"
    )
    # Given for the test and left out for its labels: it is a test picture all the same.
    db.execute(
        "UPDATE samples SET given = 'test', split = 'test' WHERE reason = ? AND split IS NULL"
        " AND asked IN (SELECT f.sha256 FROM samples o JOIN files f ON f.path = o.path"
        "  WHERE o.drawn IS NULL AND o.given = 'test')",
        (_HELD,),
    )
    # Every copy of the picture goes, also those that were left out: there is an answer now.
    copies = (
        "SELECT o.id FROM samples o JOIN files f ON f.path = o.path WHERE o.drawn IS NULL"
        " AND f.sha256 IN (SELECT asked FROM samples WHERE reason = ?)"
    )
    db.execute(f"DELETE FROM boxes WHERE sample IN ({copies})", (_HELD,))  # noqa: S608
    db.execute(f"DELETE FROM remarks WHERE sample IN ({copies})", (_HELD,))  # noqa: S608
    db.execute(f"DELETE FROM samples WHERE id IN ({copies})", (_HELD,))  # noqa: S608
    db.execute("DROP TABLE places")


def _place_new(index: Index, work: Path) -> None:
    """Choose the splits of the pictures that were not there, the first answered first."""
    db = index.db
    new = dict(db.execute("SELECT id, drawn FROM kept WHERE split IS NULL ORDER BY id").fetchall())
    if not new:
        return
    alike = _find_alike(index, work, set(new))
    keys = dict(db.execute("SELECT id, key FROM kept").fetchall())
    splits: dict[int, SplitName] = dict(
        db.execute("SELECT id, split FROM kept WHERE split IS NOT NULL").fetchall()
    )
    for id_, drawn in new.items():
        before = [other for other in alike[id_] if other in splits]
        near = {splits[other] for other in before}
        split = choose_annotated_split(keys[id_], drawn, near)
        if split is None:
            index.exclude(
                "like_held_out",
                "SELECT ?, 'looks like ' || name FROM samples WHERE id = ?",
                id_,
                min(before),
            )
            continue
        splits[id_] = split
        if before:
            keys[id_] = min(keys[other] for other in before)
            index.note(
                "near_duplicate",
                "SELECT a.name, 'looks like ' || o.name FROM samples a, samples o"
                " WHERE a.id = ? AND o.id = ?",
                id_,
                min(before),
            )
        db.execute("UPDATE samples SET split = ?, key = ? WHERE id = ?", (split, keys[id_], id_))


def _find_alike(index: Index, work: Path, new: set[int]) -> Mapping[int, set[int]]:
    """Of each new sample, those that look the same."""
    alike: dict[int, set[int]] = defaultdict(set)
    with looks(index, work) as (ids, dhashes, thumbnails, means):
        wanted = np.isin(ids, list(new))
        for i, j in find_near_duplicates(dhashes, thumbnails, means, wanted):
            a, b = int(ids[i]), int(ids[j])
            alike[a].add(b)
            alike[b].add(a)
    return alike
