"""What is to be predicted, in parts: a list made once, in the order of the answers.

The list is a Parquet file, ``_plan`` in the output, with a row group a part. A row is a
*piece*: a picture file, or a row group of a Parquet file. So one part's pieces are read without
the others', and ten million pictures are listed and looked up in bounded memory. The list also
says which model answers and what the input was, and so which answers belong together.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.data.formats.layout import PICTURE_SUFFIXES
from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.picture_predictions.parquet_pictures import PictureFile
from pixloop.picture_predictions.places import Found, Stores
from pixloop.progress import progress
from pixloop.serving.in_order import map_in_order

#: A part ends with the piece that reaches this many pictures.
PART_PICTURES = 1_000
PARQUET_SUFFIXES = frozenset((".parquet", ".parq", ".pq"))
_FORMAT = 1
_HEAD = b"pixloop"
#: Parquet files whose ends are read at once, and how much of an end is asked for.
_AT_ONCE, _END = 16, 1 << 16

_SCHEMA = pa.schema(
    {
        # As the file system has it, which need not be UTF-8.
        "source": pa.binary(),
        "stamp": pa.string(),
        "bytes": pa.int64(),
        "group": pa.int32(),
        "first": pa.int64(),
        "rows": pa.int64(),
    }
)

Kind = Literal["pictures", "parquet"]


class Piece(NamedTuple):
    """A picture file, or a row group of a Parquet file.

    Attributes:
        source: the file's address.
        stamp: what changes when the file does.
        bytes: of its pictures, encoded.
        group: which row group, from 0; None for a picture file.
        first: the number of its first row in the file.
        rows: how many pictures it is.
    """

    source: str
    stamp: str
    bytes: int
    group: int | None = None
    first: int = 0
    rows: int = 1


class Input(BaseModel):
    """What a person asks to be predicted."""

    model_config = ConfigDict(frozen=True)

    places: tuple[str, ...]  #: addresses of folders, prefixes and files
    column: str | None = None  #: that holds the pictures of Parquet files


class Answering(BaseModel):
    """What answers."""

    model_config = ConfigDict(frozen=True)

    model: str  #: name and version
    bundle: str  #: the SHA-256 of its bundle.json, which has those of all its files
    graph: str  #: the one that is computed


class Head(BaseModel):
    """What a list says of itself.

    Attributes:
        input: what was asked for.
        answering: which model answers.
        files: how many there are.
        sha256: over the files' addresses and stamps.
        kind: what they are.
        pictures: how many there are in all.
        parts: how many parts they make.
    """

    model_config = ConfigDict(frozen=True)

    format: int = _FORMAT
    input: Input
    answering: Answering
    files: int
    sha256: str
    kind: Kind
    pictures: int
    parts: int

    @property
    def identity(self) -> str:
        """Which answers belong together: a SHA-256 over all of this."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Plan:
    """A list that is complete. Use it in a ``with`` block, which closes its file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read a list; ``name`` is what messages call it.

        Raises:
            DataError: it is none of ours, or of a newer pixloop.
        """
        self._opened = file
        try:
            self._file = pq.ParquetFile(file, pre_buffer=False)
            head = self._file.metadata.metadata[_HEAD]
            self.head = Head.model_validate_json(head)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValidationError) as e:
            file.close()
            raise DataError(
                f"{name} is not what this pixloop writes. Name another output, or delete that one."
            ) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def part(self, number: int) -> list[Piece]:
        """The pieces of a part, from 0."""
        rows = self._file.read_row_group(number, use_threads=False).to_pylist()
        return [Piece(os.fsdecode(row.pop("source")), **row) for row in rows]


class Listing:
    """The files of an input, in order; what they come to is known once they have been gone through.

    Attributes:
        files: how many have been.
        kind: what they are.
    """

    def __init__(self, asked: Input, stores: Stores) -> None:
        self.files, self.column = 0, asked.column
        self.kind: Kind | None = None if asked.column is None else "parquet"
        self._places, self._stores, self._digest = asked.places, stores, hashlib.sha256()

    def __iter__(self) -> Iterator[Found]:
        """Raises DataError where there are none, or files of both kinds."""
        for place in self._places:
            before = self.files
            for found in self._stores.of(place).walk(place, self._is_wanted):
                self._count(found, named=found.address == place)
                yield found
            if self.files == before:
                suffixes = ", ".join(sorted(PICTURE_SUFFIXES | PARQUET_SUFFIXES))
                raise DataError(
                    f"there are no pictures in {place}, nor below it. Expected files ending in "
                    f"{suffixes}."
                )

    @property
    def sha256(self) -> str:
        """Over the addresses and stamps of the files so far."""
        return self._digest.hexdigest()

    def _is_wanted(self, name: str) -> bool:
        base = name.rpartition("/")[2]
        if self.column is None and _suffix(base) in PICTURE_SUFFIXES:
            return True
        # What begins like this is not data: that is how Spark and Hive have it.
        return _suffix(base) in PARQUET_SUFFIXES and not base.startswith("_")

    def _count(self, found: Found, named: bool) -> None:
        kind: Kind = "parquet" if _suffix(found.address) in PARQUET_SUFFIXES else "pictures"
        if named and self.column is not None:
            kind = "parquet"
        if self.kind not in (None, kind):
            raise DataError(
                f"there are picture files and Parquet files; {found.address} is the first of the "
                "other kind. Name the folder of one kind, or say with --column NAME which column "
                "of the Parquet files holds pictures: then picture files are passed over."
            )
        self.kind = kind
        self.files += 1
        self._digest.update(os.fsencode(f"{found.address}\0{found.stamp}\n"))


def write_plan(target: Path, asked: Input, answering: Answering, stores: Stores) -> None:
    """List what is to be predicted, atomically.

    Raises:
        DataError: there is nothing, or something cannot be read.
    """
    listing, pictures, parts = Listing(asked, stores), 0, 0
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer,
        progress("listing pictures", after_s=2.0) as advance,
    ):
        for part in _parts(_pieces(listing, stores)):
            rows = [piece._asdict() | {"source": os.fsencode(piece.source)} for piece in part]
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA), row_group_size=len(rows))
            count = sum(piece.rows for piece in part)
            pictures, parts = pictures + count, parts + 1
            advance(count)
        if not pictures:
            raise DataError(f"there are no rows in {', '.join(asked.places)}.")
        head = Head(
            input=asked,
            answering=answering,
            files=listing.files,
            sha256=listing.sha256,
            kind=listing.kind or "pictures",
            pictures=pictures,
            parts=parts,
        )
        writer.add_key_value_metadata({_HEAD.decode(): head.model_dump_json()})


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


def _pieces(listing: Listing, stores: Stores) -> Iterator[Piece]:
    stream = iter(listing)
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
        Piece(found.address, found.stamp, size, number, start, rows)
        for number, ((rows, size), start) in enumerate(zip(groups, starts, strict=False))
        if rows
    ]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (names may be odd)
