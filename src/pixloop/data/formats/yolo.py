"""YOLO: a text file for each picture, and a data.yaml that names the classes and the splits.

::

    data.yaml  images/train/1.jpg  labels/train/1.txt      or
    data.yaml  train/images/1.jpg  train/labels/1.txt      also valid/ and test/, or
    classes.txt  images/1.jpg  labels/1.txt                or all in one folder

A line is ``class x y width height``: the class's number, the box's centre and its extent, as shares
of the upright picture's width and height. So a sample's size is (1, 1). A line with more numbers is
a polygon (``class x1 y1 x2 y2 …``): the box around it is read. A picture whose label file is empty
holds nothing, and so does one without a label file, which is reported; where there is no folder for
label files, its pictures are not labelled.

What YOLO has no place for lies in data.yaml under ``pixloop``, which no other tool reads: crowds,
pictures of no split, pictures that are not labelled, and sizes that are not the upright picture's.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    SHARES,
    UNKNOWN_CLASS,
    Size,
    fold,
    frame,
    named_box,
    plain,
    read_number,
    scale,
    sized,
    unreadable_box,
    unreadable_sample,
)
from pixloop.data.formats.layout import read_text, relative_name
from pixloop.data.formats.pictures import PictureLinks, upright_size
from pixloop.data.formats.yolo_layout import LabelFiles, Layout, find_layout, is_yolo
from pixloop.errors import DataError
from pixloop.files import write_text
from pixloop.records import Box, Finding, Sample

NAME = "yolo"
TASKS: tuple[Task, ...] = ("detection",)

_CONFIG = "data.yaml"
_LARGEST_SHARE = 2.0  # a box may hang out of its picture, but not as far as pixels would put it


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a data.yaml with names, or YOLO's label files."""
    return is_yolo(root)


def read(root: Path) -> Iterator[Sample]:
    """Every picture of every split; boxes are passed on as they are.

    A class number that is not named gives the class ``""``. A picture that several splits name
    belongs to the first of test, train, validation. A label file without a picture comes with the
    path that its picture would have. A line that is not as above gives a box whose findings say so,
    a label file that cannot be read a sample whose findings say so.

    Raises:
        DataError: nothing names the classes, or a folder that data.yaml names is not there.
    """
    layout = find_layout(root)
    has_test = any(split == "test" for _, split, _ in layout.pictures())
    yield from fold(_samples(layout), has_test)


def _samples(layout: Layout) -> Iterator[Sample]:
    labels = LabelFiles(layout.folder)
    seen: set[Path] = set()
    for path, split, labelled in layout.pictures():
        if path not in seen:
            seen.add(path)
            yield _sample(path, split, labels.find(path, split) if labelled else None, layout)
    if not layout.has_lists:
        for file, path, split in labels.orphans():
            yield _sample(path, split, file, layout)


def _sample(path: Path, split: str | None, file: Path | None, layout: Layout) -> Sample:
    """A picture with what its label file holds; without a label file it is not labelled."""
    name = relative_name(path, layout.folder)
    if file is None:
        return Sample(path, None, split, name)
    source = relative_name(file, layout.folder)
    is_there = os.path.lexists(file)  # a link to nowhere is, and cannot be read
    try:
        lines = read_text(file, source).split("\n") if is_there else []
    except DataError as e:
        return unreadable_sample(path, source, e)
    found = [*_boxes(lines, layout.names, source)]
    crowds = _boxes(layout.crowds.get(name, ()), layout.names, f"{_CONFIG}: crowds of {name}")
    found += [replace(box, crowd=True) for box in crowds]
    width, height = size = layout.sizes.get(name, SHARES)
    boxes = tuple(replace(box, xyxy=scale(box.xyxy, width, height)) for box in found)
    missing = () if is_there else (Finding("no_label_file", f"expected {source}"),)
    return Sample(path, None, split, source, boxes, size, findings=missing)


def _boxes(lines: Iterable[str], names: Mapping[int, str], source: str) -> Iterator[Box]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{source}:{number}"
            try:
                box = _box(line.split(), names, where)
            except DataError as e:
                box = unreadable_box(e)
            yield box


def _box(words: list[str], names: Mapping[int, str], where: str) -> Box:
    if len(words) < 5 or len(words) == 6 or len(words) % 2 == 0:
        line = shorten(" ".join(words), 80)
        raise DataError(f"{where}: expected 'class x y width height' or a polygon, got {line!r}.")
    category, *values = (read_number(word, where) for word in words)
    if not category.is_integer():
        raise DataError(f"{where}: {words[0]} is not the number of a class.")
    label = names.get(int(category), UNKNOWN_CLASS)
    unnamed = f"{where}: the class {words[0]} has no name."
    if len(values) > 4:
        xs, ys = values[::2], values[1::2]
        xyxy = min(xs), min(ys), max(xs), max(ys)
    else:
        x, y, width, height = values
        xyxy = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return named_box(label, xyxy, unnamed, findings=_look_at_unit(max(values), where))


def _look_at_unit(largest: float, where: str) -> tuple[Finding, ...]:
    """What is to be said of a box by the largest of its values."""
    if largest <= _LARGEST_SHARE:
        return ()
    words = f"{where}: {largest:g} looks like pixels; expected shares of the picture, from 0 to 1."
    return (Finding("pixel_box", words),)


def write(samples: Iterable[Sample], folder: Path) -> None:
    """Write ``images``, ``labels`` and data.yaml; pictures are hard links.

    Crowds stand in data.yaml alone, so that no other tool learns them as objects.

    Raises:
        DataError: a picture cannot be linked or copied, or must be read for its size and cannot be.
    """
    links = PictureLinks()
    classes: dict[str, int] = {}
    places: dict[bool, set[str]] = {True: set(), False: set()}
    crowds: dict[str, list[str]] = {}
    sizes: dict[str, list[float]] = {}
    for sample in samples:
        split, labelled = sample.split or "unsplit", sample.boxes is not None
        places[labelled].add(split)
        top = "images" if labelled else "unlabelled"
        picture = links.add(sample.path, folder / top / split)
        if not labelled:
            continue
        name = relative_name(picture, folder)
        sample = sized(sample)
        lines = [(box.crowd, _line(box, frame(sample), classes)) for box in sample.boxes or ()]
        text = "".join(f"{line}\n" for crowd, line in lines if not crowd)
        write_text(folder / "labels" / split / f"{picture.stem}.txt", text)
        if any(crowd for crowd, _ in lines):
            crowds[name] = [line for crowd, line in lines if crowd]
        if (size := _own_size(sample)) is not None:
            sizes[name] = [plain(size[0]), plain(size[1])]
    names = {number: name for name, number in classes.items()}
    config = _places(places) | {"nc": len(names), "names": names}
    extras = {"crowds": crowds, "sizes": sizes} | config.pop("pixloop")
    config["pixloop"] = {key: value for key, value in extras.items() if value}
    write_text(folder / _CONFIG, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def _places(places: Mapping[bool, set[str]]) -> dict[str, Any]:
    """Where the splits are. Other tools train on pictures of no split, and validate on the test."""
    labelled = places[True]
    train = [f"images/{split}" for split in ("train", "unsplit") if split in labelled]
    test = ["images/test"] if "test" in labelled else []
    found = {"train": train, "val": test, "test": test}
    return {
        **{key: list(value) for key, value in found.items() if value},
        "pixloop": {
            "unsplit": "images/unsplit" if "unsplit" in labelled else "",
            "unlabelled": {split: f"unlabelled/{split}" for split in sorted(places[False])},
        },
    }


def _line(box: Box, size: Size | None, classes: dict[str, int]) -> str:
    width, height = size or (1, 1)
    x1, y1, x2, y2 = scale(box.xyxy, 1 / width, 1 / height)
    number = classes.setdefault(box.label, len(classes))
    values = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return " ".join((str(number), *(repr(float(value)) for value in values)))


def _own_size(sample: Sample) -> Size | None:
    """The sample's size, where it is not simply that of the upright picture."""
    size = frame(sample)
    try:
        return None if size == upright_size(sample.path) else size
    except DataError:
        return size
