"""The queue as a folder, for other tools: pictures, and a table in which labels are filled in.

::

    DIR/
      review.csv           a row a picture; the column 'label' is left to be filled in
      review.jsonl         the same with the model's whole answers
      pictures/<sha256>.<suffix>
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import Item
from pixloop.annotation.queue import ReviewQueue
from pixloop.errors import AnnotationError
from pixloop.files import atomic_path, write_text

TABLE, LINES, PICTURES = "review.csv", "review.jsonl", "pictures"
_COLUMNS = ("sha256", "picture", "label", "suggested", "score", "reasons", "model", "at")
_SKIP = "?"
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}


def export_items(queue: ReviewQueue, items: Iterable[Item], folder: Path) -> int:
    """Write pictures and their tables; what lies in the folder under these names is replaced.

    Returns:
        How many pictures were written.
    """
    rows, lines = [], []
    for item in items:
        content = queue.picture(item.sha256)
        suffix = next((s for start, s in _SUFFIXES.items() if content.startswith(start)), ".img")
        name = f"{PICTURES}/{item.sha256}{suffix}"
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
        kinds = " ".join(reason.kind for reason in item.reasons)
        said = item.answer
        rows.append(
            [
                item.sha256, name, "", said.get("label", ""), said.get("score", ""), kinds,
                item.model, item.at,
            ]
        )  # fmt: skip
        lines.append(json.dumps({**asdict(item), "picture": name}, ensure_ascii=False))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    write_text(folder / TABLE, text.getvalue())
    write_text(folder / LINES, "".join(line + "\n" for line in lines))
    return len(rows)


def import_labels(answering: Answering, table: Path) -> int:
    """Take the labels that were filled in; rows without one are passed over, '?' is a skip.

    All rows are checked before the first is taken, and taking them again changes nothing.

    Returns:
        How many answers were taken.

    Raises:
        AnnotationError: the file is no such table, or a row names no picture or class there is.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [
                name for name in ("sha256", "label") if name not in (reader.fieldnames or ())
            ]
            rows = [(n, row) for n, row in enumerate(reader, start=2) if _said(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise AnnotationError(f"{table} cannot be read as a table: {e}.") from e
    if missing:
        raise AnnotationError(
            f"{table} has no column {missing[0]!r}; expected the review.csv that "
            "'pixloop review export' wrote."
        )
    for number, row in rows:
        where, label = f"{table}, line {number}", _said(row)
        if not row.get("sha256"):
            raise AnnotationError(f"{where} has no sha256; expected the columns of 'export'.")
        if label != _SKIP and label not in answering.classes:
            raise AnnotationError(
                f"{where}: there is no class {label!r}; expected one of "
                f"{', '.join(answering.classes)}, or {_SKIP} for what one cannot say."
            )
        answering.queue.get(row["sha256"])
    for _, row in rows:
        if _said(row) == _SKIP:
            answering.skip(row["sha256"])
        else:
            answering.label(row["sha256"], _said(row))
    return len(rows)


def _said(row: dict[str, str]) -> str:
    return (row.get("label") or "").strip()
