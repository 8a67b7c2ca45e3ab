"""The pictures in a Parquet file: which column holds them, and what else says which they are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.errors import DataError

#: Names of a column of pictures, the likeliest first, where several columns could be it.
_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "content", "bytes", "data")
_PATHS = ("path", "file_name", "filename", "file", "image_path", "key", "url")
#: Rows that are decoded at once.
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a file's pictures are; None for what there is not.

    A place is a column's name, and for a struct that of the field in it.
    """

    image: tuple[str, ...]
    path: tuple[str, ...] | None
    sha256: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """Those that there are, as Parquet calls them."""
        return [".".join(place) for place in (self.image, self.path, self.sha256) if place]


@dataclass(frozen=True, slots=True)
class Stored:
    """A row: the encoded picture, None where there is none, and what is said of it."""

    data: bytes | None
    path: str | None
    sha256: str | None


class PictureFile:
    """A Parquet file that is open, with a column of pictures.

    The column is a struct with ``bytes``, as Hugging Face's ``datasets`` and pixloop write it, or
    plain binary. ``name`` is what messages call the file.
    """

    def __init__(self, name: str, file: BinaryIO, column: str | None = None) -> None:
        """Open a file; ``name`` is what messages call it, ``column`` its column of pictures.

        Raises:
            DataError: it is no Parquet, or has no such column, or several.
        """
        self.name = name
        try:
            # Pages are read as rows are asked for; without a buffer it would be whole row groups.
            self._file = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError) as e:
            raise DataError(f"{name} cannot be read as Parquet: {e}") from e
        self.columns = find_columns(schema, name, column)

    def groups(self) -> list[tuple[int, int]]:
        """For each row group, how many rows it has, and how many bytes their pictures take."""
        metadata = self._file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        return [(group.num_rows, self._bytes(group)) for group in groups]

    def read(self, group: int) -> Iterator[Stored]:
        """The rows of a row group, few of which are held at once.

        Raises:
            pa.ArrowException, OSError: what is stored is damaged.
        """
        where = self.columns
        places = (where.image, where.path, where.sha256)
        for batch in self._file.iter_batches(_ROWS, [group], where.names, use_threads=False):
            yield from map(Stored, *(_values(batch, place) for place in places))

    def _bytes(self, group: Any) -> int:
        image = ".".join(self.columns.image)
        columns = (group.column(i) for i in range(group.num_columns))
        return sum(each.total_uncompressed_size for each in columns if each.path_in_schema == image)


def find_columns(schema: pa.Schema, name: str, column: str | None = None) -> Columns:
    """Where the pictures are, by the columns' types, and where those do not say, by their names.

    Only plain types count: what other libraries store in types of their own may have to be
    unpickled.

    Raises:
        DataError: no column can be it, or several.
    """
    if len(set(schema.names)) < len(schema.names):
        raise DataError(f"{name}: two columns have one name; there are {', '.join(schema.names)}.")
    found = {field.name: place for field in schema if (place := _pictures_in(field))}
    if column is not None:
        if column not in found:
            raise DataError(
                f"{name}: the column {column!r} {_there_is(schema, column)}; expected bytes of "
                "pictures, or a struct with them."
            )
        chosen = column
    else:
        known = [each for each in _NAMES if each in found]
        if not found or (len(found) > 1 and not known):
            raise DataError(
                f"{name}: {'several columns' if found else 'no column'} can hold pictures; there "
                f"are {', '.join(found or schema.names)}. --column NAME says which."
            )
        chosen = known[0] if len(found) > 1 else next(iter(found))
    inside = schema.field(chosen).type
    path = _text_column(schema, _PATHS)
    if pa.types.is_struct(inside) and _has(inside, "path", _is_text):
        path = (chosen, "path")
    return Columns(found[chosen], path, _text_column(schema, ("sha256",)))


def _pictures_in(field: pa.Field) -> tuple[str, ...] | None:
    if _is_bytes(field.type):
        return (field.name,)
    if pa.types.is_struct(field.type) and _has(field.type, "bytes", _is_bytes):
        return field.name, "bytes"
    return None


def _text_column(schema: pa.Schema, names: Iterable[str]) -> tuple[str, ...] | None:
    for name in names:
        if name in schema.names and _is_text(schema.field(name).type):
            return (name,)
    return None


def _has(struct: Any, name: str, is_it: Any) -> bool:
    return struct.get_field_index(name) >= 0 and bool(is_it(struct.field(name).type))


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _there_is(schema: pa.Schema, column: str) -> str:
    return f"is {schema.field(column).type}" if column in schema.names else "is not there"


def _values(batch: pa.RecordBatch, place: tuple[str, ...] | None) -> Iterator[Any]:
    """The values at a place, one at a time: pictures are large."""
    if place is None:
        yield from (None for _ in range(batch.num_rows))
        return
    column, *inside = place
    for value in batch.column(column):
        if inside:
            yield _plain(value[inside[0]]) if value.is_valid else None
        else:
            yield _plain(value)


def _plain(value: Any) -> Any:
    """A value as Python has it; text need not be UTF-8, since nobody who writes Parquet checks."""
    if value.is_valid and _is_text(value.type):
        return str(value.as_buffer(), "utf-8", "backslashreplace")
    return value.as_py()
