"""JSON lines: SageMaker Ground Truth's augmented manifest, and the plain kind.

::

    {"source-ref": "s3://bucket/a/1.jpg", "job": 0, "job-metadata": {"class-name": "cat"}}
    {"image": "pictures/1.jpg", "label": "cat", "split": "train"}

Files are relative to the manifest. An ``s3://`` address means the file of the same relative name
beside the manifest; ``sources.fetch`` brings what is not there.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pixloop.data.formats.layout import (
    MANIFEST_SUFFIXES,
    fold_validation,
    label_files,
    picture_path,
    split_name,
)
from pixloop.errors import DataError
from pixloop.records import Sample

NAME = "manifest"

REFERENCE_KEYS = ("source-ref", "image", "path", "file_name", "filename", "file")
_LABEL_KEYS = ("label", "class", "category")
_METADATA = "-metadata"


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a JSON-lines file whose lines name a picture's file."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every line of every manifest at ``root``.

    Raises:
        DataError: a line is no JSON object, names no file or an unknown split; the message has
            the line.
    """
    files = _files(root)
    has_test = any(split == "test" for _, split in files) or any(
        _split(entry, file, line) == "test"
        for file, _ in files
        for line, entry in read_entries(file)
    )
    for file, file_split in files:
        find = LocalFiles(file.parent)
        for line, entry in read_entries(file):
            yield Sample(
                find(reference(entry, file, line)),
                _label(entry),
                fold_validation(_split(entry, file, line) or file_split, has_test),
                f"{file.name}:{line}",
            )


def read_entries(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number, from 1, and its JSON object.

    Raises:
        DataError: a line is no JSON object, or the file is not UTF-8.
    """
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _parse(line, file, number)
    except UnicodeDecodeError as e:
        raise DataError(f"{file} is not UTF-8: {e}. Save it as UTF-8.") from e


def reference(entry: Mapping[str, Any], file: Path, line: int) -> str:
    """What a line calls its picture.

    Raises:
        DataError: it names none.
    """
    for key in REFERENCE_KEYS:
        if isinstance(entry.get(key), str) and entry[key]:
            return str(entry[key])
    raise DataError(f"{file}:{line} names no picture; expected one of {', '.join(REFERENCE_KEYS)}.")


class LocalFiles:
    """Finds the file that a reference means, below the manifest's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._skip = 0  # leading parts of the address that the last find had to drop

    def __call__(self, written: str) -> Path:
        """The file, which exists or not; for an s3 address the longest tail of it that exists."""
        if not written.startswith("s3://"):
            return picture_path(self._folder, written)
        key = written.removeprefix("s3://").partition("/")[2]
        parts = [part for part in key.split("/") if part not in ("", ".", "..")]
        skips = range(len(parts))
        for skip in sorted(skips, key=lambda s: (s != self._skip, s)):
            path = self._folder.joinpath(*parts[skip:])
            if path.is_file():
                self._skip = skip
                return path
        return self._folder.joinpath(*parts)


def _files(root: Path) -> list[tuple[Path, str | None]]:
    return [(f, split) for f, split in label_files(root, MANIFEST_SUFFIXES) if _fits(f)]


def _fits(file: Path) -> bool:
    for _, entry in read_entries(file):
        return any(key in entry for key in REFERENCE_KEYS)
    return False


def _parse(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as e:
        raise DataError(f"{file}:{number} is not valid JSON: {e}") from e
    if not isinstance(entry, dict):
        raise DataError(f"{file}:{number} is not a JSON object.")
    return entry


def _label(entry: dict[str, Any]) -> str | None:
    """The class name of the last labelling job, else the plain label."""
    for key in reversed(entry):
        metadata = entry[key]
        if not key.endswith(_METADATA) or not isinstance(metadata, dict):
            continue
        if str(metadata.get("type", "")).endswith("label-verification"):
            continue
        if isinstance(metadata.get("class-name"), str):
            return str(metadata["class-name"]).strip() or None
    for key in _LABEL_KEYS:
        value = entry.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value).strip() or None
    return None


def _split(entry: Mapping[str, Any], file: Path, line: int) -> str | None:
    written = entry.get("split")
    if not written:
        return None
    split = split_name(str(written))
    if split is None:
        raise DataError(f"{file}:{line}: split {written!r} is not train, validation or test.")
    return split
