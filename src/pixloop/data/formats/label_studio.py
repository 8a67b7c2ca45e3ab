"""Label Studio: its JSON export, a list of tasks with rectangles or choices.

::

    [{"data": {"image": "/data/upload/1/a1b2c3d4-1.jpg"}, "annotations": [{"result": [
        {"type": "rectanglelabels", "original_width": 640, "original_height": 480,
         "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}}]}]}]

``x``, ``y``, ``width`` and ``height`` are percent, so they fit the picture though the original size
is not its size. A rectangle turns on its upper left corner; the upright box around it is read. Of
several annotations the newest that was not cancelled counts; a task without one is not labelled.
Addresses mean the file of the same relative path, or at least of the same name, below the JSON's
folder.

Where a file has choices and no rectangles, a task's choice is its class; none where it is several.
Beside rectangles, choices are not read.

What Label Studio has no place for lies in ``meta``, which it keeps: a region's ``crowd``, a task's
``split``, ``width`` and ``height``. To see the pictures there, let its environment variable
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT name the folder, and keep the pictures in it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    SHARES,
    UNKNOWN_CLASS,
    Size,
    class_name,
    fold,
    frame,
    named_box,
    plain,
    read_number,
    read_size,
    scale,
    sized,
    unreadable_box,
    unreadable_sample,
)
from pixloop.data.formats.json_files import is_label_studio, read_json
from pixloop.data.formats.layout import (
    JSON_SUFFIXES,
    PICTURE_SUFFIXES,
    label_files,
    split_name,
)
from pixloop.data.formats.pictures import Pictures, local_name, reference_to
from pixloop.errors import DataError
from pixloop.files import write_json
from pixloop.records import Box, Finding, Sample, Xyxy

NAME = "label_studio"
TASKS: tuple[Task, ...] = ("classification", "detection")

_ADDRESS = "/data/local-files/?d="
_CORNER = ("x", "y", "width", "height")


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a JSON list of Label Studio's tasks."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every task of every export at ``root``; boxes are passed on as they are, in pixels.

    A region with several labels gives a box for each, one with none a box of the class ``""``.
    A region that cannot be read gives a box whose findings say so, and a task that cannot be read,
    such as those of JSON-MIN, a sample whose findings say so.

    Raises:
        DataError: a file is no JSON.
    """
    files = _files(root)
    has_test = any(split == "test" for _, split in files)
    for file, split in files:
        yield from fold(_read_file(file, split), has_test)


def write(samples: Iterable[Sample], folder: Path) -> None:
    """Write ``tasks.json``, which Label Studio imports for an image called ``image`` and
    ``RectangleLabels`` called ``label``. Pictures stay where they are.

    Raises:
        DataError: a picture must be read for its size, and cannot be.
    """
    tasks = [_task(sample, number, folder) for number, sample in enumerate(samples, start=1)]
    write_json(folder / "tasks.json", tasks)


def _task(sample: Sample, number: int, folder: Path) -> dict[str, Any]:
    task: dict[str, Any] = {
        "id": number,
        "data": {"image": _ADDRESS + quote(reference_to(sample.path, folder))},
        "meta": {} if sample.split is None else {"split": sample.split},
        "annotations": [],
    }
    if sample.boxes is None:
        return task
    sample = sized(sample)
    size = frame(sample)
    if size is not None:
        task["meta"] |= {"width": plain(size[0]), "height": plain(size[1])}
    width, height = size or (1, 1)  # without a size there are no boxes
    regions = [
        rectangle(box, f"{number}-{i}", (width, height)) for i, box in enumerate(sample.boxes or ())
    ]
    task["annotations"] = [{"result": regions, "was_cancelled": False}]
    return task


def rectangle(box: Box, identity: str, size: Size) -> dict[str, Any]:
    """A box in pixels of a picture of ``size`` as a region: a rectangle in percent."""
    x1, y1, x2, y2 = scale(box.xyxy, 100 / size[0], 100 / size[1])
    corner = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    region = {
        "id": identity,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": plain(size[0]),
        "original_height": plain(size[1]),
        "image_rotation": 0,
        "value": corner | {"rotation": 0, "rectanglelabels": [box.label]},
    }
    return region | ({"meta": {"crowd": True}} if box.crowd else {})


def _files(root: Path) -> list[tuple[Path, str | None]]:
    return [(f, split) for f, split in label_files(root, JSON_SUFFIXES) if is_label_studio(f)]


def _read_file(file: Path, split: str | None) -> Iterator[Sample]:
    tasks = read_json(file)
    find = Pictures(file.parent)
    results = [parts for task in tasks for parts in _readable(task)]
    has_choices = any(map(choices, results))
    has_boxes = not has_choices or any(is_region(part) for parts in results for part in parts)
    for number, task in enumerate(tasks, start=1):
        has_id = isinstance(task, dict) and "id" in task
        source = f"{file.name}: " + (f"task {task['id']}" if has_id else f"entry {number}")
        path = file
        try:
            path = find.find(_address(task, source), split)
            sample = _sample(task, path, split, source, has_boxes)
        except DataError as e:
            sample = unreadable_sample(path, source, e)
        yield sample


def _readable(task: Any) -> Iterator[list[dict[str, Any]]]:
    """The parts of a task's result, where they can be read."""
    with suppress(DataError):
        yield _result(task, "") or []


def _sample(
    task: Mapping[str, Any], path: Path, split: str | None, source: str, has_boxes: bool
) -> Sample:
    result = _result(task, source)
    written = task.get("meta")
    meta = written if isinstance(written, dict) else {}
    boxes, size = _boxes(result or [], source)
    size = size or read_size(meta.get("width"), meta.get("height")) or (SHARES if boxes else None)
    chosen = choices(result)
    return Sample(
        path,
        chosen[0] if len(chosen) == 1 and not has_boxes else None,
        split_name(str(meta.get("split", ""))) or split,
        source,
        _of_percent(boxes, size) if has_boxes and result is not None else None,
        size,
        relative=True,
    )


def _address(task: Any, where: str) -> str:
    """A task's picture: its ``image``, else the one value that looks like a picture's address."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise DataError(
            f"{where} is no task with data. Export from Label Studio as JSON, not as JSON-MIN."
        )
    named = data.get("image")
    if isinstance(named, str) and named:
        return named
    texts = [value for value in data.values() if isinstance(value, str)]
    found = [t for t in texts if Path(local_name(t)).suffix.lower() in PICTURE_SUFFIXES]
    if len(found) != 1:
        raise DataError(f"{where} has {len(found)} pictures in its data; expected one.")
    return found[0]


def _result(task: Any, where: str) -> list[dict[str, Any]] | None:
    """What the newest annotation says; None where the task has none."""
    kept = [a for a in _dicts(task, "annotations", where) if not a.get("was_cancelled")]
    if not kept:
        return None
    # The times are in one form of ISO 8601, which sorts as text.
    newest = max(kept, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    return _dicts(newest, "result", where)


def choices(result: Iterable[Mapping[str, Any]] | None) -> list[str]:
    """The classes chosen for the picture as a whole."""
    parts = (part for part in result or () if part.get("type") == "choices")
    return [name for part in parts if "x" not in _value(part) for name in _names(part, "choices")]


def is_region(part: Mapping[str, Any]) -> bool:
    """Whether a part of a result is, or speaks of, a rectangle."""
    if part.get("type") == "labels":
        return "height" in _value(part)  # other shapes, and text, have labels as well
    return part.get("type") in ("rectangle", "rectanglelabels")


def _dicts(owner: Any, key: str, where: str) -> list[dict[str, Any]]:
    written = owner.get(key) if isinstance(owner, dict) else None
    if written is None:
        return []
    if not isinstance(written, list) or not all(isinstance(entry, dict) for entry in written):
        raise DataError(f"{where}: expected {key} to be a list of objects.")
    return written


def _names(part: Mapping[str, Any], *keys: str) -> list[str]:
    """The classes under the first of the keys that holds any; one may stand without a list."""
    written: Any = next((_value(part)[key] for key in keys if _value(part).get(key)), [])
    return [class_name(name) for name in (written if isinstance(written, list) else [written])]


def _value(part: Mapping[str, Any]) -> dict[str, Any]:
    value = part.get("value")
    return value if isinstance(value, dict) else {}


def regions(result: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The parts of a result that speak of rectangles, by the rectangle that they speak of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for number, part in enumerate(filter(is_region, result), start=1):
        # A rectangle and its labels can be two parts with one id.
        found.setdefault(str(part.get("id", f"number {number}")), []).append(part)
    return found


def _boxes(result: list[dict[str, Any]], where: str) -> tuple[list[Box], Size | None]:
    """The boxes of a result, in percent, and the first original size that it states."""
    found = regions(result)
    boxes: list[Box] = []
    for identity, parts in found.items():
        try:
            boxes += region_boxes(parts, f"{where}, region {identity}")
        except DataError as e:
            boxes.append(unreadable_box(e))
    sizes = (_original_size(parts[0]) for parts in found.values())
    return boxes, next(filter(None, sizes), None)


def _of_percent(boxes: Iterable[Box], size: Size | None) -> tuple[Box, ...]:
    width, height = size or SHARES
    return tuple(replace(b, xyxy=scale(b.xyxy, width / 100, height / 100)) for b in boxes)


def _original_size(region: Mapping[str, Any]) -> Size | None:
    return read_size(region.get("original_width"), region.get("original_height"))


def region_boxes(parts: list[dict[str, Any]], where: str) -> list[Box]:
    """A rectangle's boxes, in percent: one for each of its labels.

    Raises:
        DataError: it cannot be read; the message begins with ``where``.
    """
    first = parts[0]
    if first.get("image_rotation"):
        raise DataError(
            f"{where}: the picture was turned by {first['image_rotation']} degrees in Label Studio,"
            " which does not say in which frame the box is. Turn it back there and export again."
        )
    value = _value(first)
    x, y, width, height = (read_number(value.get(key), f"{where}, {key}") for key in _CORNER)
    degrees = read_number(value.get("rotation") or 0, f"{where}, rotation")
    xyxy: Xyxy = (x, y, x + width, y + height)
    turned: tuple[Finding, ...] = ()
    if degrees % 360:
        xyxy = _around(xyxy, degrees, _original_size(first), where)
        turned = (Finding("turned_box", f"{where} is turned by {degrees:g} degrees"),)
    labels = [name for part in parts for name in _names(part, "rectanglelabels", "labels")]
    meta = first.get("meta")
    crowd = isinstance(meta, dict) and bool(meta.get("crowd", False))
    return [
        named_box(label, xyxy, f"{where} has no label.", crowd, turned)
        for label in labels or [UNKNOWN_CLASS]
    ]


def _around(xyxy: Xyxy, degrees: float, size: Size | None, where: str) -> Xyxy:
    """The upright box around a rectangle turned clockwise on its first corner, both in percent."""
    if size is None:
        raise DataError(
            f"{where} is turned, and has no original_width and original_height to turn it in."
        )
    # Percent of the width are not as long as percent of the height.
    x1, y1, x2, y2 = scale(xyxy, *size)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(0.0, 0.0), (x2 - x1, 0.0), (0.0, y2 - y1), (x2 - x1, y2 - y1)]
    xs = [x1 + across * cos - down * sin for across, down in corners]
    ys = [y1 + across * sin + down * cos for across, down in corners]
    return scale((min(xs), min(ys), max(xs), max(ys)), 1 / size[0], 1 / size[1])
