"""JSON lines: SageMaker Ground Truth's augmented manifest, and the plain kind.

::

    {"source-ref": "s3://bucket/a/1.jpg", "job": 0, "job-metadata": {"class-name": "cat"}}
    {"image": "pictures/1.jpg", "label": "cat", "split": "train"}
    {"source-ref": "s3://bucket/a/1.jpg", "job": {"image_size": [{"width": 640, "height": 480}],
     "annotations": [{"class_id": 0, "left": 9, "top": 9, "width": 20, "height": 20}]},
     "job-metadata": {"class-map": {"0": "cat"}, "type": "groundtruth/object-detection"}}

The last is a bounding-box job's. It has no place for crowds: pixloop keeps them in the job's
metadata, under ``crowds`` and in the form of ``annotations``, where no other tool learns them.

Files are relative to the manifest. An ``s3://`` address means the file of the same relative name
beside the manifest; ``sources.fetch`` brings what is not there.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    UNKNOWN_CLASS,
    Size,
    class_name,
    frame,
    in_pixels,
    named_box,
    plain,
    read_corner_box,
    read_size,
    unreadable_box,
    unreadable_sample,
)
from pixloop.data.formats.layout import (
    MANIFEST_SUFFIXES,
    fold_validation,
    label_files,
    picture_path,
    split_name,
)
from pixloop.data.formats.pictures import reference_to
from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.records import Box, Sample

NAME = "manifest"
TASKS: tuple[Task, ...] = ("classification", "detection")

REFERENCE_KEYS = ("source-ref", "image", "path", "file_name", "filename", "file")
_LABEL_KEYS = ("label", "class", "category")
_METADATA = "-metadata"
_LOOKED_AT = 20  # lines, before a file is held to be no manifest
_BOX_JOB = "groundtruth/object-detection"


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a JSON-lines file whose lines name a picture's file."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every line of every manifest at ``root``; boxes are passed on as they are.

    A class number that the class map does not name gives the class ``""``. An image size that is
    missing or 0 gives the size None. A line that is no JSON object, or names no file or an unknown
    split, gives a sample whose findings say so, and a box that lacks what it must have such a box.

    Raises:
        DataError: a manifest is not UTF-8.
    """
    files = _files(root)
    has_test = any(split == "test" for _, split in files) or any(
        split_name(str(entry.get("split"))) == "test"
        for file, _ in files
        for entry in _entries(file)
    )
    for file, file_split in files:
        find = LocalFiles(file.parent)
        for number, line in read_lines(file):
            where, path = f"{file.name}:{number}", file
            try:
                entry = read_entry(line, where)
                path = find(reference(entry, where))
                split = fold_validation(_split(entry, where) or file_split, has_test)
                boxes, size = _boxes(entry, where)
            except DataError as e:
                yield unreadable_sample(path, where, e)
            else:
                yield Sample(path, _label(entry), split, where, boxes, size)


def write(samples: Iterable[Sample], folder: Path) -> None:
    """Write bounding-box manifests ``train``, ``test`` and, for no split, ``labels.manifest``.

    Pictures stay where they are; a line has a picture's path from ``folder``.

    Raises:
        DataError: a picture must be read for its size, and cannot be.
    """
    classes: dict[str, int] = {}
    files: dict[str, TextIO] = {}
    with ExitStack() as stack:
        for sample in samples:
            name = f"{sample.split or 'labels'}.manifest"
            if name not in files:
                path = stack.enter_context(atomic_path(folder / name))
                files[name] = stack.enter_context(path.open("w", encoding="utf-8"))
            entry = _entry(sample, folder, classes)
            files[name].write(json.dumps(entry, ensure_ascii=False) + "\n")


def _entry(sample: Sample, folder: Path, classes: dict[str, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"source-ref": reference_to(sample.path, folder)}
    if sample.split is not None:
        entry["split"] = sample.split
    if sample.boxes is None:
        return entry
    sample = in_pixels(sample)
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    named = {}
    for box in sample.boxes or ():
        number = classes.setdefault(box.label, len(classes))
        named[str(number)] = box.label
        x1, y1, x2, y2 = box.xyxy
        edges = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
        found[box.crowd].append({"class_id": number} | {k: plain(v) for k, v in edges.items()})
    size = frame(sample)
    sizes = [{"width": plain(size[0]), "height": plain(size[1]), "depth": 3}] if size else []
    entry["boxes"] = {"image_size": sizes, "annotations": found[False]}
    metadata: dict[str, Any] = {"class-map": named, "type": _BOX_JOB}
    entry["boxes" + _METADATA] = metadata | ({"crowds": found[True]} if found[True] else {})
    return entry


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, with its number, from 1.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as e:
        raise DataError(f"{file} is not UTF-8: {e}. Save it as UTF-8.") from e
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.") from e


def read_entry(line: str, where: str) -> dict[str, Any]:
    """A line's JSON object.

    Raises:
        DataError: it is none; the message begins with ``where``.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise DataError(f"{where} is not valid JSON: {e}.") from e
    if not isinstance(entry, dict):
        raise DataError(f"{where} is not a JSON object.")
    return entry


def reference(entry: Mapping[str, Any], where: str) -> str:
    """What a line calls its picture.

    Raises:
        DataError: it names none; the message begins with ``where``.
    """
    for key in REFERENCE_KEYS:
        if isinstance(entry.get(key), str) and entry[key]:
            return str(entry[key])
    raise DataError(f"{where} names no picture; expected one of {', '.join(REFERENCE_KEYS)}.")


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
            if os.path.isfile(path):  # noqa: PTH113 (a name that no file can have is none)
                self._skip = skip
                return path
        return self._folder.joinpath(*parts)


def _files(root: Path) -> list[tuple[Path, str | None]]:
    return [(f, split) for f, split in label_files(root, MANIFEST_SUFFIXES) if _fits(f)]


def _fits(file: Path) -> bool:
    """Whether one of the first lines names a picture."""
    return any(key in entry for entry in _entries(file, _LOOKED_AT) for key in REFERENCE_KEYS)


def _entries(file: Path, at_most: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines that can be read."""
    for _, line in islice(read_lines(file), at_most):
        with suppress(DataError):
            yield read_entry(line, file.name)


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


def _boxes(entry: Mapping[str, Any], where: str) -> tuple[tuple[Box, ...] | None, Size | None]:
    """The boxes and the image size of the last bounding-box job; None where there is none."""
    for key in reversed(list(entry)):
        metadata, job = entry.get(key + _METADATA), entry[key]
        if not isinstance(metadata, dict) or not isinstance(job, dict):
            continue
        if metadata.get("type", _BOX_JOB) != _BOX_JOB or "annotations" not in job:
            continue
        names = metadata.get("class-map")
        names = names if isinstance(names, dict) else {}
        sizes = job.get("image_size")
        size = sizes[0] if isinstance(sizes, list) and sizes else None
        size = size if isinstance(size, dict) else {}
        return (
            (
                *_read_boxes(job["annotations"], names, False, where),
                *_read_boxes(metadata.get("crowds", []), names, True, where),
            ),
            read_size(size.get("width"), size.get("height")),
        )
    return None, None


def _read_boxes(written: Any, names: Mapping[str, Any], crowd: bool, where: str) -> Iterator[Box]:
    if not isinstance(written, list):
        raise DataError(f"{where}: expected annotations to be a list.")
    for number, annotation in enumerate(written, start=1):
        try:
            box = _box(annotation, names, crowd, f"{where}: annotation {number}")
        except DataError as e:
            box = unreadable_box(e)
        yield box


def _box(annotation: Any, names: Mapping[str, Any], crowd: bool, where: str) -> Box:
    if not isinstance(annotation, dict):
        raise DataError(f"{where} is no object.")
    edges = (annotation.get(key) for key in ("left", "top", "width", "height"))
    number = annotation.get("class_id")
    label = class_name(names.get(str(number), UNKNOWN_CLASS))
    unnamed = f"{where}: the class map has no class_id {number!r}."
    return named_box(label, read_corner_box(edges, where), unnamed, crowd)


def _split(entry: Mapping[str, Any], where: str) -> str | None:
    written = entry.get("split")
    if not written:
        return None
    split = split_name(str(written))
    if split is None:
        raise DataError(f"{where}: split {written!r} is not train, validation or test.")
    return split
