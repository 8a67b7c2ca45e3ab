"""What becomes of every box in the index: the rules of ``boxes``, a picture at a time.

A picture whose boxes had all to be left out because they were wrong is left out too: it is not
known that nothing is in it. One whose boxes were all of classes that are not wanted is kept, as a
picture without any.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pixloop.data.boxes import BoxFrame, Checked, Shape, check_boxes, to_upright
from pixloop.data.index import Index
from pixloop.records import Finding

#: Formats' findings for which a box is left out; others are notes.
_UNUSABLE = ("unreadable_box", "pixel_box", "unnamed_class")
#: Reasons to leave out a box that say nothing of whether something is there.
_UNSURE = (*_UNUSABLE, "invalid_box", "empty_box", "outside_box")


class _BoxRow(NamedTuple):
    sample: int
    name: str
    frame_width: float | None
    frame_height: float | None
    relative: int
    width: int
    height: int
    orientation: int
    drawn: str | None
    id: int
    number: int
    label: str
    x1: float
    y1: float
    x2: float
    y2: float
    crowd: int


def leave_out_unusable(index: Index) -> None:
    """Leave out the boxes that their format could not read, or that have no class."""
    for kind in _UNUSABLE:
        index.db.execute(
            "UPDATE boxes SET reason = r.kind, detail = r.detail FROM remarks r"
            " WHERE r.sample = boxes.sample AND r.number = boxes.number AND r.kind = ?"
            " AND boxes.reason IS NULL",
            (kind,),
        )
    index.exclude_boxes("unnamed_class", "the labels do not name its class", "label = ''")


def settle_boxes(index: Index, frame: BoxFrame) -> None:
    """Bring every box into its upright picture, clip it, or leave it out; say what was done."""
    db = index.db
    db.execute(
        "CREATE TEMP TABLE verdicts (id INTEGER PRIMARY KEY, x1, y1, x2, y2, reason, detail)"
    )
    db.execute("CREATE TEMP TABLE answers (id INTEGER PRIMARY KEY, label, answer)")
    db.execute("UPDATE samples SET label = 'nothing', answer = '' WHERE reason IS NULL")
    for rows in _pictures(index):
        checked, findings = _check_picture(rows, frame)
        notes = [(f.kind, rows[0].name, f.detail) for f in findings]
        for row, box in zip(rows, checked, strict=True):
            notes += [(f.kind, row.name, _words(row, f)) for f in box.notes]
        db.executemany("INSERT INTO notes VALUES (?, ?, ?)", notes)
        db.executemany(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", _verdicts(rows, checked)
        )
        db.execute("INSERT INTO answers VALUES (?, ?, ?)", _answer(rows, checked))
    db.execute(
        "UPDATE boxes SET x1 = v.x1, y1 = v.y1, x2 = v.x2, y2 = v.y2, reason = v.reason,"
        " detail = v.detail FROM verdicts v WHERE v.id = boxes.id"
    )
    db.execute(
        "UPDATE samples SET label = a.label, answer = a.answer"
        " FROM answers a WHERE a.id = samples.id"
    )
    db.execute("DROP TABLE verdicts")
    db.execute("DROP TABLE answers")
    index.exclude(
        "no_box_left",
        "SELECT sample, 'its boxes are left out: ' || group_concat(DISTINCT b.reason)"  # noqa: S608
        " FROM boxes b JOIN kept ON kept.id = sample GROUP BY sample"
        f" HAVING COUNT(b.reason) = COUNT(*) AND SUM(b.reason IN {_UNSURE})",
    )


def _pictures(index: Index) -> Iterator[list[_BoxRow]]:
    rows = index.db.execute(
        "SELECT s.id, s.name, frame_width, frame_height, relative, width, height, orientation,"
        " drawn, b.id, number, b.label, x1, y1, x2, y2, crowd"
        " FROM kept s JOIN boxes b ON b.sample = s.id WHERE b.reason IS NULL ORDER BY s.id, b.id"
    )
    for _, picture in groupby(map(_BoxRow._make, rows), key=lambda row: row.sample):
        yield list(picture)


def _check_picture(rows: Sequence[_BoxRow], frame: BoxFrame) -> tuple[list[Checked], list[Finding]]:
    first = rows[0]
    shape = Shape(first.width, first.height, first.orientation)
    width, height = first.frame_width, first.frame_height
    size = None if width is None or height is None else (width, height)
    drawn = np.array([[r.x1, r.y1, r.x2, r.y2] for r in rows], np.float64)
    if first.drawn is not None:  # an annotation: drawn on the picture as it is shown
        size, frame = shape.upright, "upright"
    boxes, findings = to_upright(drawn, size, shape, frame, bool(first.relative))
    crowd = np.array([r.crowd for r in rows], bool)
    labels = [r.label for r in rows]
    return check_boxes(boxes, labels, crowd, shape.width, shape.height), findings


def _verdicts(rows: Sequence[_BoxRow], checked: Iterable[Checked]) -> Iterator[tuple[object, ...]]:
    """What is left out keeps the edges that its source gave it."""
    for row, box in zip(rows, checked, strict=True):
        if box.left_out is None:
            yield row.id, *box.xyxy, None, None
        else:
            found = box.left_out
            yield row.id, row.x1, row.y1, row.x2, row.y2, found.kind, found.detail


def _answer(rows: Sequence[_BoxRow], checked: Iterable[Checked]) -> tuple[int, str, str]:
    """What the picture shows, in words, and what tells it from other boxes, to the pixel."""
    kept = [(r, b) for r, b in zip(rows, checked, strict=True) if b.left_out is None]
    counts = sorted(Counter(row.label for row, _ in kept).items())
    words = ", ".join(f"{count} {label}" for label, count in counts) or "nothing"
    answer = sorted((row.label, row.crowd, *map(round, box.xyxy)) for row, box in kept)
    digest = hashlib.sha256(json.dumps(answer).encode()).hexdigest() if answer else ""
    return rows[0].sample, words, digest


def _words(row: _BoxRow, finding: Finding) -> str:
    return f"box {row.number} {row.label!r}: {finding.detail}"
