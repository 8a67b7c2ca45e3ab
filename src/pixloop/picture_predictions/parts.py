"""What is to be predicted, in parts: a list made once, in the order of the answers.

The list is a Parquet file, ``_plan`` in the output, with a row group a part. A row is a
*piece*: a picture file, or rows of a Parquet file. So one part's pieces are read without
the others', and ten million pictures are listed and looked up in bounded memory. The list also
says which model answers and what the input was, and so which answers belong together.
``planning.py`` writes it.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, BinaryIO, Literal, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pixloop.errors import DataError
from pixloop.picture_predictions.listing import Input, Kind

#: Under which key of the file's own a list says what ``Head`` has.
HEAD = b"pixloop"

SCHEMA = pa.schema(
    {
        # As the file system has it, which need not be UTF-8.
        "source": pa.binary(),
        "stamp": pa.string(),
        "bytes": pa.int64(),
        "group": pa.int32(),
        "first": pa.int64(),
        "rows": pa.int64(),
        "skip": pa.int64(),
    }
)


class Piece(NamedTuple):
    """A picture file, or consecutive rows of a Parquet file's row group.

    Attributes:
        source: the file's address.
        stamp: what changes when the file does.
        bytes: of its pictures, encoded.
        group: which row group, from 0; None for a picture file.
        first: the number of its first row in the file.
        rows: how many pictures it is.
        skip: how many rows of the group are before its first.
    """

    source: str
    stamp: str
    bytes: int
    group: int | None = None
    first: int = 0
    rows: int = 1
    skip: int = 0


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
        earlier: of the lists that this one has grown from, the identity, and how many of the parts
            they had; the oldest first.
    """

    model_config = ConfigDict(frozen=True)

    #: 1 had whole row groups only.
    format: Literal[1, 2] = 2
    input: Input
    answering: Answering
    files: int
    sha256: str
    kind: Kind
    pictures: int
    parts: int
    earlier: tuple[tuple[str, int], ...] = ()

    @property
    def identity(self) -> str:
        """Which answers belong together: a SHA-256 over all of this."""
        # Without what lists did not have at first: their answers stay theirs.
        new = None if self.earlier else {"earlier"}
        return hashlib.sha256(self.model_dump_json(exclude=new).encode()).hexdigest()

    def identity_of(self, part: int) -> str:
        """The identity that a part's answers have: that of the list in which it came."""
        for identity, parts in self.earlier:
            if part < parts:
                return identity
        return self.identity


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
            head = self._file.metadata.metadata[HEAD]
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

    def files(self, parts: Iterable[int]) -> Iterator[tuple[str, str]]:
        """The files of parts, in order: address and stamp. Little is held at once."""
        return (each for each, _ in groupby(self._sources(parts)))

    def begins_inside(self, number: int) -> bool:
        """Whether the row group that a part begins with began in the part before."""
        return self.head.kind == "parquet" and self.part(number)[0].skip > 0

    def _sources(self, parts: Iterable[int]) -> Iterator[tuple[str, str]]:
        for number in parts:
            columns: Any = self._file.read_row_group(number, ["source", "stamp"], use_threads=False)
            for source, stamp in zip(columns["source"], columns["stamp"], strict=True):
                yield os.fsdecode(source.as_py()), stamp.as_py()
