"""The data report: every finding, what it means, and what was done about it."""

import json
import re
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pixloop.bundle import Task
from pixloop.data.dataset import SPLITS, DatasetInfo
from pixloop.data.index import Index
from pixloop.files import atomic_path, write_json

REPORT = "data_report.json"
QUARANTINE = "quarantine.jsonl"
BOX_QUARANTINE = "quarantine_boxes.jsonl"
_EXAMPLES = 20

Severity = Literal["info", "warning", "error"]


class Kind(NamedTuple):
    """A kind of finding."""

    severity: Severity
    words: str  #: stand after a count; of [file|files] the first is for one, the second for others
    action: str

    def text(self, count: int) -> str:
        """The words that stand after a count.

        >>> Kind("info", "empty [file|files]", "kept").text(1)
        'empty file'
        """
        return re.sub(r"\[(.*?)\|(.*?)\]", r"\1" if count == 1 else r"\2", self.words)


#: In the order of the report. What is an "info" is in order; the rest deserves a look.
KINDS: dict[str, Kind] = {
    "class_not_in_train": Kind(
        "error", "[picture|pictures] of classes without a training picture", "left out"
    ),
    "box_class_not_in_train": Kind(
        "error", "[box|boxes] of classes without a training picture", "left out"
    ),
    "unreadable_label": Kind(
        "warning", "[label|labels] that cannot be read", "left out, with the picture"
    ),
    "missing_file": Kind("warning", "[file that is|files that are] named and missing", "left out"),
    "empty": Kind("warning", "empty [file|files]", "left out"),
    "not_a_picture": Kind(
        "warning", "[file that is no picture|files that are no pictures]", "left out"
    ),
    "corrupt": Kind("warning", "corrupt or truncated [picture|pictures]", "left out"),
    "too_large": Kind("warning", "[picture|pictures] larger than allowed", "left out"),
    "unlabelled": Kind("warning", "[picture|pictures] without a label", "left out"),
    "unknown_class": Kind("warning", "[label|labels] that data.classes does not list", "left out"),
    "class_not_found": Kind("warning", "listed [class|classes] that no label names", "left out"),
    "similar_classes": Kind(
        "warning", "[class that looks|classes that look] like a misspelling", "kept"
    ),
    "respelt_class": Kind(
        "info", "[label|labels] spelt unlike in data.classes", "counted as listed"
    ),
    "unreadable_box": Kind("warning", "[box|boxes] that cannot be read", "left out"),
    "pixel_box": Kind(
        "warning", "[box|boxes] in pixels where shares of the picture are expected", "left out"
    ),
    "unnamed_class": Kind("warning", "[box|boxes] without the name of a class", "left out"),
    "invalid_box": Kind("warning", "[box|boxes] with reversed or meaningless edges", "left out"),
    "empty_box": Kind("warning", "[box|boxes] without an area", "left out"),
    "outside_box": Kind("warning", "[box outside its|boxes outside their] picture", "left out"),
    "clipped_box": Kind(
        "warning", "[box partly outside its|boxes partly outside their] picture", "clipped"
    ),
    "clipped_edge": Kind(
        "info",
        "[box up to a pixel outside its|boxes up to a pixel outside their] picture",
        "clipped",
    ),
    "duplicate_box": Kind("warning", "[box|boxes] drawn twice", "one of each kept"),
    "conflicting_boxes": Kind(
        "warning",
        "[box|boxes] in the same place as one of another class",
        "kept; have a look",
    ),
    "turned_box": Kind(
        "info",
        "[rectangle that is|rectangles that are] turned",
        "the upright box around each is kept",
    ),
    "no_box_left": Kind("warning", "[picture|pictures] whose boxes are all wrong", "left out"),
    "size_mismatch": Kind(
        "warning",
        "[picture|pictures] of another size than the labels say",
        "kept; have a look",
    ),
    "size_missing": Kind("info", "[picture|pictures] whose labels do not tell a size", "kept"),
    "box_frame_unclear": Kind(
        "warning",
        "turned [picture|pictures] whose labels do not tell which way up the boxes are",
        "boxes taken as the picture is shown; else set data.box_frame",
    ),
    "listed_twice": Kind(
        "warning", "[picture|pictures] that one label file lists twice", "kept once, with all boxes"
    ),
    "no_label_file": Kind(
        "warning",
        "[picture|pictures] without a label file",
        "kept as showing nothing; add what was forgotten, else an empty file",
    ),
    "no_objects": Kind("info", "[picture|pictures] in which nothing is", "kept"),
    "conflicting_labels": Kind(
        "warning", "equal [picture|pictures] under several labels", "all left out"
    ),
    "in_train_and_test": Kind(
        "warning", "training [picture that is|pictures that are] in test too", "kept in test"
    ),
    "duplicate": Kind("warning", "exact [duplicate|duplicates]", "one of each kept"),
    "near_duplicate_labels": Kind(
        "warning", "[near-duplicate|near-duplicates] under several labels", "kept; have a look"
    ),
    "near_duplicate_sides": Kind(
        "warning",
        "training [picture that looks|pictures that look] like a test picture",
        "moved to test",
    ),
    "near_duplicate": Kind(
        "info", "[near-duplicate|near-duplicates]", "kept on one side of the split"
    ),
    "relabelled": Kind(
        "info", "[picture|pictures] that annotations label otherwise", "the annotation counts"
    ),
    "unresolved_annotation": Kind(
        "info", "annotated [picture|pictures] without one answer", "left out; ask again"
    ),
    "other_picture": Kind(
        "warning",
        "[annotation whose picture has|annotations whose pictures have] changed since",
        "left out",
    ),
    "like_held_out": Kind(
        "info",
        "annotated [picture that looks|pictures that look] like one that judges the model",
        "left out",
    ),
    "animated": Kind("warning", "animated [picture|pictures]", "kept; the first frame counts"),
    "tiny": Kind("warning", "tiny [picture|pictures]", "kept"),
    "single_picture": Kind("warning", "[class|classes] with a single picture", "kept"),
    "class_not_in_test": Kind("warning", "[class|classes] without a test picture", "kept"),
    "class_not_in_validation": Kind(
        "warning", "[class|classes] without a validation picture", "kept"
    ),
    "class_not_in_calibration": Kind(
        "warning", "[class|classes] without a calibration picture", "kept"
    ),
    "moved_to_fill": Kind(
        "info", "[picture|pictures] of small classes", "moved so that splits have them"
    ),
    "extension_mismatch": Kind(
        "info", "[picture|pictures] whose name tells another format", "kept"
    ),
    "rotated": Kind("info", "[picture|pictures] that lay on [its|their] side", "turned upright"),
}

_FINDINGS = (
    "SELECT reason AS kind, name, detail FROM samples WHERE reason IS NOT NULL"
    " UNION ALL SELECT kind, name, detail FROM notes"
    " UNION ALL SELECT b.reason, name, 'box ' || number ||"
    " IIF(b.label = '', '', ' ''' || b.label || '''') || ': ' || b.detail"
    " FROM boxes b JOIN samples s ON s.id = b.sample WHERE b.reason IS NOT NULL"
)


def write_report(index: Index, folder: Path, task: Task) -> dict[str, Any]:
    """Write data_report.json and quarantine.jsonl into ``folder``, and return the report.

    In detection, quarantine_boxes.jsonl lists the boxes that were left out of pictures.
    """
    _write_lines(folder / QUARANTINE, _left_out_pictures(index))
    (folder / BOX_QUARANTINE).unlink(missing_ok=True)
    if task == "detection":
        _write_lines(folder / BOX_QUARANTINE, _left_out_boxes(index))
    classes = "kept" if task == "classification" else "kept_boxes WHERE NOT crowd"
    report = {
        "pictures": index.count(),
        "kept": _number(index, "SELECT COUNT(*) FROM kept"),
        "classes": _counts(index, "label", classes),
        "splits": dict.fromkeys(SPLITS, 0) | _counts(index, "split"),
        "formats": _counts(index, "format"),
        "findings": list(_findings(index)),
    }
    write_json(folder / REPORT, report)
    return report


def summary(info: DatasetInfo, report: dict[str, Any]) -> list[str]:
    """A few lines for a terminal: what the data set holds, and every finding."""
    splits = ", ".join(f"{count} {split}" for split, count in report["splits"].items())
    pictures = f"{report['kept']:,} {'picture' if report['kept'] == 1 else 'pictures'}"
    classes = f"{len(info.classes)} {'class' if len(info.classes) == 1 else 'classes'}"
    holds = f"{pictures} in {classes}"
    if info.task == "detection":
        boxes = sum(report["classes"].values())
        holds = f"{pictures} with {boxes:,} {'box' if boxes == 1 else 'boxes'} of {classes}"
    return [f"{holds}: {splits}", *finding_lines(report)]


def finding_lines(report: dict[str, Any], least: Severity = "info") -> list[str]:
    """A line for each finding from a severity on: ``warning: 2 empty files (left out): a.jpg …``.

    >>> finding_lines({"findings": []})
    []
    """
    order = ("info", "warning", "error")
    lines = []
    for finding in report["findings"]:
        if order.index(finding["severity"]) < order.index(least):
            continue
        text = KINDS[finding["kind"]].text(finding["count"])
        names = ", ".join(example["path"] for example in finding["examples"][:2])
        more = ", …" if finding["count"] > 2 else ""
        lines.append(
            f"{finding['severity']}: {finding['count']} {text} ({finding['action']}): {names}{more}"
        )
    return lines


def _findings(index: Index) -> Iterator[dict[str, Any]]:
    counts = dict(
        index.db.execute(f"SELECT kind, COUNT(*) FROM ({_FINDINGS}) GROUP BY kind")  # noqa: S608
    )
    for kind, (severity, _, action) in KINDS.items():
        count = counts.get(kind, 0)
        if not count:
            continue
        examples = index.db.execute(
            f"SELECT name, detail FROM ({_FINDINGS}) WHERE kind = ?"  # noqa: S608
            f" ORDER BY name, detail LIMIT {_EXAMPLES}",
            (kind,),
        )
        yield {
            "kind": kind,
            "severity": severity,
            "count": count,
            "action": action,
            "examples": [{"path": name, "detail": detail} for name, detail in examples],
        }


def _number(index: Index, query: str) -> int:
    return int(index.db.execute(query).fetchone()[0])


def _counts(index: Index, column: str, table: str = "kept") -> dict[str, int]:
    query = f"SELECT {column}, COUNT(*) FROM {table} GROUP BY {column} ORDER BY {column}"  # noqa: S608
    return dict(index.db.execute(query).fetchall())


def _left_out_pictures(index: Index) -> Iterator[dict[str, Any]]:
    for path, reason, detail, source in index.db.execute(
        "SELECT name, reason, detail, source FROM samples WHERE reason IS NOT NULL"
        " ORDER BY name, source, id"
    ):
        yield {"path": path, "reason": reason, "detail": detail, "source": source}


def _left_out_boxes(index: Index) -> Iterator[dict[str, Any]]:
    """Boxes with the edges that their source gave them; an edge that is no number is null."""
    for path, number, label, *edges, crowd, reason, detail, source in index.db.execute(
        "SELECT name, number, b.label, x1, y1, x2, y2, crowd, b.reason, b.detail, source"
        " FROM boxes b JOIN samples s ON s.id = b.sample WHERE b.reason IS NOT NULL"
        " ORDER BY name, source, s.id, number"
    ):
        yield {
            "path": path,
            "box": number,
            "label": label,
            "xyxy": [edge if edge is not None and isfinite(edge) else None for edge in edges],
            "crowd": bool(crowd),
            "reason": reason,
            "detail": detail,
            "source": source,
        }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with atomic_path(path) as target, target.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
