"""Captured exchanges that are new, picture by picture.

Files are seen only once they are whole, and never change then. So how far each was read is all that
must be remembered; what is forgotten is what no longer exists.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pixloop.errors import DataError
from pixloop.serving.capture.format import CapturedExchange, decode_capture
from pixloop.serving.client import read_answer
from pixloop.serving.codec import Answer, decode_request
from pixloop.serving.problems import RequestProblem

_log = logging.getLogger(__name__)

#: A folder of captures is ``…/yyyy/mm/dd/hh/MM-SS-mmm-<uuid>.jsonl``: so many parts tell the time.
_TIME_PARTS = 5
#: Of more than this, requests are not counted without being read.
_COUNTED_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class CapturedPicture:
    """A picture that was asked about, and what was answered.

    Attributes:
        id: ``<event>:<i>``.
        at: when it was asked.
        picture: its bytes.
        document: the answer, as the server's JSON has it for a picture.
        answer: the same as a record.
        file: in which it is, relative to the folder of captures.
        offset: of its line, in bytes.
    """

    id: str
    at: datetime
    picture: bytes = field(repr=False)
    document: dict[str, Any] = field(repr=False)
    answer: Answer = field(repr=False)
    file: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class CapturedLine:
    """A line of a file of captures.

    Attributes:
        file: relative to the folder of captures.
        end: the offset after it, in bytes.
        pictures: those that the model answered and the sample holds; mostly one.
        damaged: whether nothing could be read from it.
    """

    file: str
    end: int
    pictures: tuple[CapturedPicture, ...]
    damaged: bool = False


def read_new(
    folder: Path, offsets: Mapping[str, int], model: str, sample: float
) -> Iterator[CapturedLine]:
    """The lines of published files that were not read before, the oldest file first.

    Files that are removed meanwhile are passed over. Damaged lines are logged, and stop nothing.

    Args:
        folder: of captures, of any number of endpoints.
        offsets: by file, how far it was read.
        model: what answers call it; those of others are passed over.
        sample: the share of events that is taken, chosen by a hash of their ids.
    """
    for name in list_files(folder):
        start = offsets.get(name, 0)
        try:
            if (folder / name).stat().st_size <= start:
                continue
            with (folder / name).open("rb") as lines:
                lines.seek(start)
                for line in lines:
                    yield _read_line(line, name, start, model, sample)
                    start += len(line)
        except FileNotFoundError:  # the oldest files go while a server writes new ones
            continue


def list_files(folder: Path) -> list[str]:
    """The published files below a folder, relative to it, in the order of their times."""
    found = []
    for where, _, names in os.walk(folder):
        found += [
            Path(where, name).relative_to(folder).as_posix()
            for name in names
            if name.endswith(".jsonl") and not name.startswith(".")
        ]
    return sorted(found, key=lambda name: (name.split("/")[-_TIME_PARTS:], name))


@dataclass(frozen=True, slots=True)
class Unread:
    """What of the captures no look has read yet, of whatever model.

    Attributes:
        files: that hold something of it.
        size: in bytes.
        requests: how many; None where there is too much to count quickly.
    """

    files: int = 0
    size: int = 0
    requests: int | None = 0


def find_unread(folder: Path, offsets: Mapping[str, int]) -> Unread:
    """What ``read_new`` would read, without reading it.

    Args:
        folder: of captures.
        offsets: by file, how far it was read.
    """
    found = []
    for name in list_files(folder):
        with suppress(FileNotFoundError):  # the oldest files go while a server writes new ones
            left = (folder / name).stat().st_size - offsets.get(name, 0)
            if left > 0:
                found.append((name, left))
    size = sum(left for _, left in found)
    requests = (
        sum(_count_lines(folder / name, offsets.get(name, 0)) for name, _ in found)
        if (size <= _COUNTED_BYTES)
        else None
    )
    return Unread(len(found), size, requests)


def is_sampled(event: str, share: float) -> bool:
    """Whether an event belongs to a share of all, whenever and wherever it is asked.

    >>> is_sampled("any", 1.0)
    True
    """
    return int.from_bytes(hashlib.sha256(event.encode()).digest()[:8], "big") < share * 2**64


def read_picture(folder: Path, file: str, offset: int, index: int) -> bytes | None:
    """A picture of a line, or None where the captures no longer hold it."""
    path = folder / file
    try:
        with path.open("rb") as lines:
            lines.seek(offset)
            exchange = decode_capture(lines.readline())
        return decode_request(exchange.body, exchange.content_type).pictures[index]
    except (OSError, ValueError, IndexError, RequestProblem):
        return None


def _count_lines(file: Path, start: int) -> int:
    with suppress(FileNotFoundError), file.open("rb") as lines:
        lines.seek(start)
        return sum(1 for _ in lines)
    return 0


def _read_line(line: bytes, file: str, start: int, model: str, sample: float) -> CapturedLine:
    end = start + len(line)
    try:
        exchange = decode_capture(line)
        pictures: tuple[CapturedPicture, ...] = ()
        if is_sampled(exchange.event_id, sample):
            pictures = tuple(_pictures(exchange, file, start, model))
        return CapturedLine(file, end, pictures)
    except (ValueError, KeyError, TypeError, DataError, RequestProblem) as e:
        _log.warning("%s, byte %d: the capture cannot be read and is left out: %s", file, start, e)
        return CapturedLine(file, end, (), damaged=True)


def _pictures(
    exchange: CapturedExchange, file: str, offset: int, model: str
) -> Iterator[CapturedPicture]:
    documents = exchange.documents()
    if not any(document["model"] == model for document in documents):
        return
    # A request of several lines may be answered by two models, when one has just replaced another.
    answered = [(d["model"], each) for d in documents for each in d["predictions"]]
    pictures = decode_request(exchange.body, exchange.content_type).pictures
    for i, (picture, (by, document)) in enumerate(zip(pictures, answered, strict=True)):
        if by == model:
            yield CapturedPicture(
                f"{exchange.event_id}:{i}",
                exchange.time,
                picture,
                document,
                read_answer(document),
                file,
                offset,
            )
