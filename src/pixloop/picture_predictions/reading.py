"""The pictures of parts, read ahead of the model: at most so many bytes are held."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby

import pyarrow as pa

from pixloop.errors import DataError, ImageError
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored
from pixloop.picture_predictions.parts import Piece, Plan
from pixloop.picture_predictions.places import Stores
from pixloop.picture_predictions.read_ahead import Ahead, read_each
from pixloop.picture_predictions.record import file_name

#: Bytes of encoded pictures that are read ahead of the model; a larger picture is held alone.
READ_AHEAD = 128_000_000
#: Bytes of a Parquet file that are asked for at once.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Read:
    """A picture that was read, or was to be.

    Attributes:
        part: it belongs to.
        path: a picture file's address, or what a Parquet file says; None where it says nothing.
        source: the Parquet file it is in, and None for a picture file.
        row: its number there, from 0.
        sha256: what a Parquet file says of it.
        data: as encoded; or why it cannot be read.
    """

    part: int
    path: str | None
    source: str | None
    row: int | None
    sha256: str | None
    data: bytes | ImageError


def read_parts(
    plan: Plan, parts: Iterable[int], stores: Stores, most: int = READ_AHEAD
) -> Iterator[Read]:
    """The pictures of parts, in order.

    Args:
        plan: has the parts.
        parts: their numbers.
        stores: what reads.
        most: bytes that are read ahead, all together.

    Raises:
        DataError: a trouble that may pass, or a Parquet file has changed since it was listed.
    """
    pieces = ((number, piece) for number in parts for piece in plan.part(number))
    if plan.head.kind == "parquet":
        with Ahead(_rows(pieces, stores, plan.head.input.column), _size, most) as rows:
            yield from rows
    else:
        readers = stores.of(plan.head.input.places[0]).readers
        with ThreadPoolExecutor(readers, thread_name_prefix="read ahead") as pool:
            sized = ((each, each[1].bytes) for each in pieces)
            yield from read_each(pool, partial(_read, stores), sized, most, 4 * readers)


def _read(stores: Stores, each: tuple[int, Piece]) -> Read:
    number, (source, *_) = each
    try:
        data: bytes | ImageError = stores.of(source).read(source)
    except ImageError as e:
        data = e
    return Read(number, file_name(source), None, None, None, data)


def _rows(
    pieces: Iterable[tuple[int, Piece]], stores: Stores, column: str | None
) -> Iterator[Read]:
    for source, same in groupby(pieces, lambda each: each[1].source):
        number, first = next(same)
        store = stores.of(source)
        if store.stamp(source) != first.stamp:
            raise DataError(
                f"{source} has changed since its rows were counted. Begin anew with --restart, or "
                "name another output."
            )
        with store.open(source, _BLOCK) as content:
            file = PictureFile(source, content, column)
            for number, piece in chain([(number, first)], same):  # noqa: B020 - the first as well
                yield from _group(file, number, piece)


def _group(file: PictureFile, number: int, piece: Piece) -> Iterator[Read]:
    name = file_name(piece.source)
    for row, stored in enumerate(_whole(file, piece), piece.first):
        if isinstance(stored, ImageError):
            yield Read(number, None, name, row, None, stored)
        else:
            data = ImageError("the row holds no picture") if stored.data is None else stored.data
            yield Read(number, stored.path, name, row, stored.sha256, data)


def _whole(file: PictureFile, piece: Piece) -> Iterator[Stored | ImageError]:
    """As many rows as there should be, whatever is damaged."""
    assert piece.group is not None  # noqa: S101 - the caller's
    count = 0
    reason = "the file has fewer rows than it says"
    try:
        for stored in file.read(piece.group):
            yield stored
            count += 1
    except (pa.ArrowException, OSError) as e:
        # Arrow's own errors have no number of the system's.
        if isinstance(e, OSError) and e.errno is not None:
            raise DataError(f"{piece.source} cannot be read: {e.strerror}.") from e
        reason = f"the Parquet file is damaged here: {e}"
    for _ in range(count, piece.rows):
        yield ImageError(reason)


def _size(read: Read) -> int:
    return len(read.data) if isinstance(read.data, bytes) else 0
