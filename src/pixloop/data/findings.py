"""The data report: every finding, what it means, and what was done about it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pixloop.data.dataset import SPLITS, DatasetInfo
from pixloop.data.index import Index
from pixloop.files import atomic_path, write_json

REPORT = "data_report.json"
QUARANTINE = "quarantine.jsonl"
_EXAMPLES = 20

Severity = Literal["info", "warning", "error"]


class Kind(NamedTuple):
    """A kind of finding."""

    severity: Severity
    text: str  #: stands after a count: "3 empty files"
    action: str


#: In the order of the report. What is an "info" is in order; the rest deserves a look.
KINDS: dict[str, Kind] = {
    "class_not_in_train": Kind(
        "error", "pictures of classes without a training picture", "left out"
    ),
    "missing_file": Kind("warning", "files that are named and missing", "left out"),
    "empty": Kind("warning", "empty files", "left out"),
    "not_a_picture": Kind("warning", "files that are no pictures", "left out"),
    "corrupt": Kind("warning", "corrupt or truncated pictures", "left out"),
    "too_large": Kind("warning", "pictures larger than allowed", "left out"),
    "unlabelled": Kind("warning", "pictures without a label", "left out"),
    "conflicting_labels": Kind("warning", "equal pictures under several labels", "all left out"),
    "in_train_and_test": Kind("warning", "training pictures that are in test too", "kept in test"),
    "duplicate": Kind("warning", "exact duplicates", "one of each kept"),
    "near_duplicate_labels": Kind(
        "warning", "near-duplicates under several labels", "kept; have a look"
    ),
    "near_duplicate_sides": Kind(
        "warning", "training pictures that look like a test picture", "moved to test"
    ),
    "near_duplicate": Kind("info", "near-duplicates", "kept on one side of the split"),
    "animated": Kind("warning", "animated pictures", "kept; the first frame counts"),
    "tiny": Kind("warning", "tiny pictures", "kept"),
    "single_picture": Kind("warning", "classes with a single picture", "kept"),
    "class_not_in_test": Kind("warning", "classes without a test picture", "kept"),
    "class_not_in_validation": Kind("warning", "classes without a validation picture", "kept"),
    "class_not_in_calibration": Kind("warning", "classes without a calibration picture", "kept"),
    "moved_to_fill": Kind("info", "pictures of small classes", "moved so that splits have them"),
    "extension_mismatch": Kind("info", "pictures whose name tells another format", "kept"),
    "rotated": Kind("info", "pictures that lay on their side", "turned upright"),
}

_FINDINGS = (
    "SELECT reason AS kind, name, detail FROM samples WHERE reason IS NOT NULL"
    " UNION ALL SELECT kind, name, detail FROM notes"
)


def write_report(index: Index, folder: Path) -> dict[str, Any]:
    """Write data_report.json and quarantine.jsonl into ``folder``, and return the report."""
    with atomic_path(folder / QUARANTINE) as target, target.open("w", encoding="utf-8") as file:
        for path, reason, detail, source in index.db.execute(
            "SELECT name, reason, detail, source FROM samples WHERE reason IS NOT NULL"
            " ORDER BY name, source, id"
        ):
            line = {"path": path, "reason": reason, "detail": detail, "source": source}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    report = {
        "pictures": index.count(),
        "kept": _number(index, "SELECT COUNT(*) FROM kept"),
        "classes": _counts(index, "label"),
        "splits": dict.fromkeys(SPLITS, 0) | _counts(index, "split"),
        "formats": _counts(index, "format"),
        "findings": list(_findings(index)),
    }
    write_json(folder / REPORT, report)
    return report


def summary(info: DatasetInfo, report: dict[str, Any]) -> list[str]:
    """A few lines for a terminal: what the data set holds, and every finding."""
    splits = ", ".join(f"{count} {split}" for split, count in report["splits"].items())
    lines = [f"{report['kept']} pictures in {len(info.classes)} classes: {splits}"]
    return lines + finding_lines(report)


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
        text = KINDS[finding["kind"]].text
        names = ", ".join(example["path"] for example in finding["examples"][:2])
        more = ", …" if finding["count"] > 2 else ""
        lines.append(
            f"{finding['severity']}: {finding['count']} {text} ({finding['action']}): {names}{more}"
        )
    return lines


def _findings(index: Index) -> Iterator[dict[str, Any]]:
    for kind, (severity, _, action) in KINDS.items():
        where = f"FROM ({_FINDINGS}) WHERE kind = ?"
        count = _number(index, f"SELECT COUNT(*) {where}", kind)
        if not count:
            continue
        examples = index.db.execute(
            f"SELECT name, detail {where} ORDER BY name, detail LIMIT {_EXAMPLES}",
            (kind,),
        )
        yield {
            "kind": kind,
            "severity": severity,
            "count": count,
            "action": action,
            "examples": [{"path": name, "detail": detail} for name, detail in examples],
        }


def _number(index: Index, query: str, *parameters: Any) -> int:
    return int(index.db.execute(query, parameters).fetchone()[0])


def _counts(index: Index, column: str) -> dict[str, int]:
    query = f"SELECT {column}, COUNT(*) FROM kept GROUP BY {column} ORDER BY {column}"  # noqa: S608
    return dict(index.db.execute(query).fetchall())
