"""The pictures of parts, read ahead of the model: at most so many bytes are held."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, repeat
from operator import itemgetter

import pyarrow as pa

from pixloop.errors import DataError, ImageError
from pixloop.in_order import read_each
from pixloop.picture_predictions.files import too_large
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored
from pixloop.picture_predictions.parts import Piece, Plan
from pixloop.picture_predictions.places import Store, Stores
from pixloop.picture_predictions.read_ahead import Ahead
from pixloop.picture_predictions.record import file_name

#: Bytes of encoded pictures that are read ahead of the model; a larger picture is held alone.
READ_AHEAD = 128_000_000
#: Bytes of a Parquet file that are asked for at once.
_BLOCK = 4_000_000
#: What a row takes beside its picture, about.
_ROW_BYTES = 500


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
    number, piece = each
    try:
        if reason := too_large(piece.bytes):
            raise ImageError(reason)
        data: bytes | ImageError = stores.of(piece.source).read(piece.source)
    except ImageError as e:
        data = e
    return Read(number, file_name(piece.source), None, None, None, data)


def _rows(
    pieces: Iterable[tuple[int, Piece]], stores: Stores, column: str | None
) -> Iterator[Read]:
    for (source, stamp), same in groupby(pieces, lambda each: each[1][:2]):
        store = stores.of(source)
        check = partial(_check, store, source, stamp)
        check()
        with store.open(source, _BLOCK) as content:
            groups = _Groups(PictureFile(source, content, column), check)
            for number, slices in groupby(same, itemgetter(0)):
                for _, piece in slices:
                    yield from _of_piece(groups, number, piece)
                check()  # before the part can be published


def _check(store: Store, source: str, stamp: str) -> None:
    if store.stamp(source) != stamp:
        raise DataError(
            f"{source} has changed since its rows were counted. Begin anew with --restart, or "
            "name another output."
        )


def _of_piece(groups: "_Groups", number: int, piece: Piece) -> Iterator[Read]:
    name = file_name(piece.source)
    for row, stored in enumerate(groups.read(piece), piece.first):
        if isinstance(stored, ImageError):
            yield Read(number, None, name, row, None, stored)
        else:
            data = ImageError("the row holds no picture") if stored.data is None else stored.data
            yield Read(number, stored.path, name, row, stored.sha256, data)


class _Groups:
    """The row groups of a file that is open, each gone through once, piece by piece."""

    def __init__(self, file: PictureFile, check: Callable[[], None]) -> None:
        """``check`` raises DataError where the file has changed."""
        self._file, self._check = file, check
        self._rows: Iterator[Stored | ImageError] = iter(())
        self._group: int | None = None
        self._at = 0

    def read(self, piece: Piece) -> Iterator[Stored | ImageError]:
        """As many rows as there should be, whatever is damaged."""
        if piece.group != self._group or piece.skip < self._at:
            assert piece.group is not None  # noqa: S101 - the caller's
            self._rows, self._group, self._at = self._whole(piece.group), piece.group, 0
        # Only where what is before is another's, or was answered by an earlier run.
        deque(islice(self._rows, piece.skip - self._at), maxlen=0)
        self._at = piece.skip + piece.rows
        return islice(self._rows, piece.rows)

    def _whole(self, group: int) -> Iterator[Stored | ImageError]:
        """The rows of a group, and from where it is damaged, or ends, errors without end."""
        reason = "the file has fewer rows than it says"
        try:
            yield from self._file.read(group)
        except (pa.ArrowException, OSError, DataError) as e:
            self._check()
            if isinstance(e, DataError):
                raise
            # Arrow's own errors have no number of the system's.
            if isinstance(e, OSError) and e.errno is not None:
                raise DataError(f"{self._file.name} cannot be read: {e.strerror}.") from e
            reason = f"the Parquet file is damaged here: {e}"
        yield from repeat(ImageError(reason))


def _size(read: Read) -> int:
    data = len(read.data) if isinstance(read.data, bytes) else 0
    return _ROW_BYTES + len(read.path or "") + data
