"""The list of what is to be predicted, written: at first, and again when pictures have come."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.in_order import map_in_order
from pixloop.picture_predictions.listing import Input, Listing
from pixloop.picture_predictions.parquet_pictures import PictureFile
from pixloop.picture_predictions.parts import HEAD, SCHEMA, Answering, Head, Piece, Plan
from pixloop.picture_predictions.places import Found, Stores
from pixloop.progress import Advance, progress

#: A part ends with the piece that reaches this many pictures; no piece has more.
PART_PICTURES = 1_000
#: Parquet files whose ends are read at once, and how much of an end is asked for.
_AT_ONCE, _END = 16, 1 << 16


class OtherPictures(DataError):
    """What a list has is not what there is now. The message goes on after "begun"."""


def write_plan(target: Path, asked: Input, answering: Answering, stores: Stores) -> None:
    """List what is to be predicted, atomically.

    Raises:
        DataError: there is nothing, or something cannot be read, or the list not be written.
    """
    listing = Listing(asked, stores)
    with _writing(target) as written, progress("listing pictures", after_s=2.0) as advance:
        for part in _parts(_pieces(listing, listing, stores)):
            advance(written.add(part))
        if not written.pictures:
            raise DataError(f"there are no rows in {', '.join(asked.places)}.")
        written.end(
            Head(
                input=asked,
                answering=answering,
                files=listing.files,
                sha256=listing.sha256,
                kind=listing.kind or "pictures",
                pictures=written.pictures,
                parts=written.parts,
            )
        )


def write_grown(target: Path, plan: Plan, stores: Stores) -> bool:
    """List what has come since a list was made, where something has, atomically.

    Its parts stay as they are, and so do answers to them; what has come makes parts after them.

    Returns:
        Whether something has come. Where nothing has, nothing is written.

    Raises:
        OtherPictures: a file has changed since, or is gone.
        DataError: as ``write_plan``.
    """
    listing, head = Listing(plan.head.input, stores), plan.head
    with progress("listing pictures", after_s=2.0) as advance:
        parts = _parts(_pieces(listing, _come(listing, plan, advance), stores))
        first = next(parts, None)
        if first is None:
            return False
        with _writing(target) as written:
            for part in chain(map(plan.part, range(head.parts)), [first], parts):
                written.add(part)
            written.end(
                head.model_copy(
                    update={
                        "format": Head.model_fields["format"].default,
                        "files": listing.files,
                        "sha256": listing.sha256,
                        "pictures": written.pictures,
                        "parts": written.parts,
                        "earlier": (*head.earlier, (head.identity, head.parts)),
                    }
                )
            )
    return True


def _come(listing: Listing, plan: Plan, advance: Advance) -> Iterator[Found]:
    """The files that a list has not, in one pass over both.

    A list that has grown is several, each in the order of the listing: of each, the file that is
    next waits to be found.
    """
    waiting: dict[str, tuple[str, Iterator[tuple[str, str]]]] = {}

    def wait(files: Iterator[tuple[str, str]]) -> None:
        if (file := next(files, None)) is not None:
            waiting[file[0]] = file[1], files

    for start, end in pairwise((0, *(parts for _, parts in plan.head.earlier), plan.head.parts)):
        wait(plan.files(range(start, end)))
    for found in listing:
        advance()
        if found.address not in waiting:
            yield found
            continue
        stamp, files = waiting.pop(found.address)
        if stamp != found.stamp:
            raise OtherPictures(f"for other pictures: {found.address} has changed since")
        wait(files)
    for gone in waiting:
        raise OtherPictures(
            f"for other pictures: {gone} is gone since; there were {plan.head.files:,} files and "
            f"are {listing.files:,}"
        )


class _Written:
    """Parts that are written into a file, and how many they are."""

    def __init__(self, writer: Any) -> None:
        self._writer, self.parts, self.pictures = writer, 0, 0

    def add(self, part: list[Piece]) -> int:
        """Write one; how many pictures it has."""
        rows = [piece._asdict() | {"source": os.fsencode(piece.source)} for piece in part]
        self._writer.write_table(pa.Table.from_pylist(rows, SCHEMA), row_group_size=len(rows))
        count = sum(piece.rows for piece in part)
        self.parts, self.pictures = self.parts + 1, self.pictures + count
        return count

    def end(self, head: Head) -> None:
        self._writer.add_key_value_metadata({HEAD.decode(): head.model_dump_json()})


@contextmanager
def _writing(target: Path) -> Iterator[_Written]:
    try:
        with (
            atomic_path(target) as temporary,
            pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
        ):
            yield _Written(writer)
    except OSError as e:
        raise DataError(f"{target} cannot be written: {e.strerror or e}.") from e


def _parts(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    part: list[Piece] = []
    count = 0
    for piece in pieces:
        part.append(piece)
        count += piece.rows
        if count >= PART_PICTURES:
            yield part
            part, count = [], 0
    if part:
        yield part


def _pieces(listing: Listing, files: Iterable[Found], stores: Stores) -> Iterator[Piece]:
    """The pieces of files, which are what the listing gives, or of that what has come."""
    stream = iter(files)
    first = next(stream, None)  # the listing knows its kind now
    found = chain(() if first is None else (first,), stream)
    if listing.kind == "pictures":
        for each in found:
            yield Piece(each.address, each.stamp, each.size)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        look = partial(_groups, stores, listing.column)
        for pieces in map_in_order(pool, look, found, 2 * _AT_ONCE):
            yield from pieces


def _groups(stores: Stores, column: str | None, found: Found) -> list[Piece]:
    with stores.of(found.address).open(found.address, _END) as file:
        groups = PictureFile(found.address, file, column).groups()
    starts = accumulate((rows for rows, _ in groups), initial=0)
    return [
        piece
        for number, ((rows, size), start) in enumerate(zip(groups, starts, strict=False))
        for piece in _slices(Piece(found.address, found.stamp, size, number, start, rows))
    ]


def _slices(group: Piece) -> Iterator[Piece]:
    """A row group; one of more rows than a part, cut."""
    for skip in range(0, group.rows, PART_PICTURES):
        rows = min(PART_PICTURES, group.rows - skip)
        size = group.bytes * rows // group.rows
        yield group._replace(bytes=size, first=group.first + skip, rows=rows, skip=skip)
