"""The files of an input, in the order of the answers: of pictures, or of Parquet."""

import hashlib
import os
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pixloop.data.formats.layout import PICTURE_SUFFIXES
from pixloop.errors import DataError
from pixloop.picture_predictions.places import Found, Stores

PARQUET_SUFFIXES = frozenset((".parquet", ".parq", ".pq"))

Kind = Literal["pictures", "parquet"]


class Input(BaseModel):
    """What a person asks to be predicted."""

    model_config = ConfigDict(frozen=True)

    places: tuple[str, ...]  #: addresses of folders, prefixes and files
    column: str | None = None  #: that holds the pictures of Parquet files


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
                raise DataError(self._nothing_in(place))

    @property
    def sha256(self) -> str:
        """Over the addresses and stamps of the files so far."""
        return self._digest.hexdigest()

    def _nothing_in(self, place: str) -> str:
        if self.column is not None:
            expected = ", ".join(sorted(PARQUET_SUFFIXES))
            return (
                f"there are no Parquet files in {place}, nor below it, and --column is of such "
                f"alone. Expected files ending in {expected}."
            )
        expected = ", ".join(sorted(PICTURE_SUFFIXES | PARQUET_SUFFIXES))
        return (
            f"there are no pictures in {place}, nor below it. Expected files ending in {expected}."
        )

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


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (names may be odd)
