"""The answers of one part: a Parquet file with a row a picture, and at its end what they come to.

What is at the end says which list of parts the answers belong to, so that a file of another run is
never taken for this one's, and counts are known without reading rows.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import DataError, ImageError
from pixloop.picture_predictions.columns import ANSWERS, row_of
from pixloop.picture_predictions.predict import AskEach
from pixloop.picture_predictions.reading import Read
from pixloop.picture_predictions.record import PicturePrediction, Summary

#: Rows that are held at once, and a row group of the file.
_ROWS = 256
_FACTS = "pixloop"
_SCHEMA = pa.schema({"source": pa.string(), "row": pa.int64(), "sha256": pa.string()} | ANSWERS)

Answered = tuple[Read, PicturePrediction]


class Facts(BaseModel):
    """What a file of answers says of itself.

    Attributes:
        plan: the ``identity`` of the list that its part is of.
        part: the part's number.
        summary: what its answers come to.
    """

    model_config = ConfigDict(frozen=True)

    plan: str
    part: int
    summary: Summary


def answer_each(ask_each: AskEach, pictures: Iterable[Read]) -> Iterator[Answered]:
    """An answer for each picture, in their order; one that cannot be read has an ``error``.

    Few pictures are held at once: those that ``ask_each`` takes before it answers.
    """
    waiting: deque[Read] = deque()

    def readable() -> Iterator[bytes]:
        for read in pictures:
            if isinstance(read.data, ImageError):
                waiting.append(read)
            else:
                waiting.append(dataclasses.replace(read, data=b""))
                yield read.data

    def unreadable() -> Iterator[Answered]:
        while waiting and isinstance(waiting[0].data, ImageError):
            read = waiting.popleft()
            yield read, PicturePrediction(path=read.path or "", error=str(read.data))

    for answer in ask_each(readable()):
        yield from unreadable()
        read, path = waiting[0], waiting.popleft().path or ""
        if isinstance(answer, ImageError):
            yield read, PicturePrediction(path=path, error=str(answer))
        else:
            yield read, PicturePrediction.of(path, answer)
    yield from unreadable()


def write_part(target: Path, plan: str, part: int, answers: Iterable[Answered]) -> Facts:
    """Write a part's answers; equal answers, equal bytes.

    Raises:
        DataError: the file cannot be written.
    """
    summary = Summary()
    stream = iter(answers)
    try:
        with pq.ParquetWriter(target, _SCHEMA) as writer:
            while some := list(islice(stream, _ROWS)):
                rows = [_row(*each) for each in some]
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                for _, answer in some:
                    summary.add(answer)
            facts = Facts(plan=plan, part=part, summary=_in_order(summary))
            writer.add_key_value_metadata({_FACTS: facts.model_dump_json()})
    except OSError as e:
        raise DataError(f"{target} cannot be written: {e.strerror or e}.") from e
    return facts


def read_facts(file: BinaryIO) -> Facts | None:
    """What a file of answers says of itself; None where it is none."""
    try:
        metadata = pq.ParquetFile(file, pre_buffer=False).metadata
        facts = Facts.model_validate_json(metadata.metadata[_FACTS.encode()])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValidationError):
        return None
    return facts if metadata.num_rows == facts.summary.pictures else None


def _row(read: Read, answer: PicturePrediction) -> dict[str, Any]:
    return row_of(answer) | {
        "path": read.path,
        "source": read.source,
        "row": read.row,
        "sha256": read.sha256,
    }


def _in_order(summary: Summary) -> Summary:
    """With its classes in the order of their names, whichever was met first."""
    return summary.model_copy(update={"classes": dict(sorted(summary.classes.items()))})
