"""Which annotations a data set is made of: annotations.jsonl in its folder, a line each."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.config_loop import AnnotationConfig
from pixloop.data.annotations import AnnotationStore, Resolved
from pixloop.data.dataset import AnnotationsInfo, Dataset, SplitName
from pixloop.data.index import Index
from pixloop.files import write_text

#: In a data set's folder.
LINEAGE = "annotations.jsonl"


@dataclass(frozen=True, slots=True)
class Annotated:
    """Annotations as an input of Prepare: their folder, and when they count."""

    folder: Path
    rule: AnnotationConfig

    def resolved(self) -> list[Resolved]:
        """What they say of each picture.

        Raises:
            DataError: one of them cannot be read.
        """
        store = AnnotationStore(self.folder)
        return store.resolved(self.rule.annotators, self.rule.agreement)


def write_lineage(
    index: Index, pictures: Iterable[Resolved], folder: Path
) -> AnnotationsInfo | None:
    """Write a line for each annotation whose picture is in the data set; None where none is.

    A line has ``id``, ``sha256`` of the picture, ``annotator``, ``at``, ``drawn`` and ``split``.

    Args:
        index: after the rules.
        pictures: what people have said.
        folder: the data set's.
    """
    file = folder / LINEAGE
    file.unlink(missing_ok=True)
    splits = dict(index.db.execute("SELECT asked, split FROM kept WHERE drawn IS NOT NULL"))
    taken = [each for each in pictures if each.sha256 in splits]
    if not taken:
        return None
    lines = [json.dumps(line, ensure_ascii=False) for line in _lines(taken, splits)]
    text = "".join(f"{line}\n" for line in lines)
    write_text(file, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return AnnotationsInfo(count=len(lines), pictures=len(taken), sha256=digest)


def annotated_since(data: Dataset, split: SplitName, since: str) -> NDArray[np.bool_]:
    """Which pictures of a split have labels of annotations made after a time, shape (N,).

    Args:
        data: the data set.
        split: its name.
        since: ISO 8601, UTC. An annotation whose time cannot be read counts as later.
    """
    file = data.folder / LINEAGE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    ids = {
        f"annotation:{line['id']}"
        for line in map(json.loads, lines)
        if _is_after(line["at"], since)
    }
    return np.array([source in ids for source in data.split(split).sources], np.bool_)


def _is_after(time: str, since: str) -> bool:
    try:
        return _instant(time) > _instant(since)
    except ValueError:
        return True


def _instant(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _lines(taken: Iterable[Resolved], splits: dict[str, str]) -> Iterator[dict[str, Any]]:
    for picture in taken:
        for each in picture.annotations:
            yield {
                "id": each.id,
                "sha256": each.sha256,
                "annotator": each.annotator,
                "at": each.at,
                "drawn": picture.drawn,
                "split": splits[each.sha256],
            }
