"""CSV: a row a picture, with a column for its file and one for its class.

::

    filename,label,split
    pictures/1.jpg,cat,train

The header names the columns; ``split`` may be missing. Commas, semicolons, tabs and bars separate.
Files are relative to the CSV. A folder may hold ``train.csv`` and ``test.csv``.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixloop.bundle import Task
from pixloop.data.formats.boxes import unreadable_sample
from pixloop.data.formats.layout import (
    CSV_SUFFIXES,
    fold_validation,
    label_files,
    picture_path,
    split_name,
)
from pixloop.errors import DataError
from pixloop.records import Sample

NAME = "csv"
TASKS: tuple[Task, ...] = ("classification",)

_PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path"),
    *("image", "image_path", "image_name", "image_file", "img", "picture"),
)
_LABEL_COLUMNS = ("label", "class", "class_name", "label_name", "category", "target")
_SPLIT_COLUMNS = ("split", "set", "subset", "partition", "usage")


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a CSV with a file column and a class column."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every row of every CSV at ``root``.

    A row that names no file, or a split that is none, gives a sample whose findings say so.

    Raises:
        DataError: a CSV is not UTF-8.
    """
    files = _files(root)
    has_test = any(split == "test" for _, split in files) or any(
        split_name(split) == "test" for file, _ in files for *_, split, _ in _rows(file)
    )
    for file, file_split in files:
        for path, label, split, line in _rows(file):
            where = f"{file.name}:{line}"
            picture = picture_path(file.parent, path) if path else file
            try:
                given = _split(path, split, where) or file_split
            except DataError as e:
                yield unreadable_sample(picture, where, e)
                continue
            yield Sample(picture, label or None, fold_validation(given, has_test), where)


def _files(root: Path) -> list[tuple[Path, str | None]]:
    return [(f, split) for f, split in label_files(root, CSV_SUFFIXES) if _fits(f)]


def _fits(file: Path) -> bool:
    with _reader(file) as reader:
        header = _normalised(next(reader, []))
    return _column(header, _PATH_COLUMNS) is not None and (
        _column(header, _LABEL_COLUMNS) is not None
    )


def _rows(file: Path) -> Iterator[tuple[str, str, str, int]]:
    """Path, label, split and line of each row that is not empty."""
    with _reader(file) as reader:
        header = _normalised(next(reader, []))
        path, label = _column(header, _PATH_COLUMNS), _column(header, _LABEL_COLUMNS)
        split = _column(header, _SPLIT_COLUMNS)
        for row in reader:
            if any(cell.strip() for cell in row):
                yield _cell(row, path), _cell(row, label), _cell(row, split), reader.line_num


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column].strip() if column is not None and column < len(row) else ""


def _split(path: str, written: str, where: str) -> str | None:
    split = split_name(written)
    if not path:
        raise DataError(f"{where} names no file.")
    if written and split is None:
        raise DataError(f"{where}: split {written!r} is not train, validation or test.")
    return split


def _normalised(header: Sequence[str]) -> list[str]:
    return [name.strip().lower().replace(" ", "_").replace("-", "_") for name in header]


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


@contextmanager
def _reader(file: Path) -> Iterator[Any]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header = text.readline()
            text.seek(0)
            # The header alone tells the separator: a class's name may well hold a comma.
            delimiter = max(",;\t|", key=header.count)
            yield csv.reader(text, delimiter=delimiter)
    except UnicodeDecodeError as e:
        raise DataError(f"{file} is not UTF-8: {e}. Save it as UTF-8.") from e
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.") from e
    except csv.Error as e:
        raise DataError(f"{file} is not a readable CSV: {e}") from e
