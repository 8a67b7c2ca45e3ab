"""COCO: one JSON of images, categories and annotations, as detection sets are mostly published.

::

    train/_annotations.coco.json  train/1.jpg            also valid/ and test/, or
    annotations/instances_train2017.json  train2017/1.jpg

A box is ``[x, y, width, height]`` in pixels of the frame that its image states. An image without
annotations holds nothing; where a file has no list of annotations its images are not labelled.
Where there are files named ``instances…``, those beside them (captions, keypoints) are not read.

Two keys are pixloop's own, and no other tool reads them: an image's ``split``, and the list
``unlabelled``, which has the form of ``images``.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    UNKNOWN_CLASS,
    class_name,
    fold,
    frame,
    in_pixels,
    plain,
    read_corner_box,
    read_size,
)
from pixloop.data.formats.json_files import is_coco, read_json
from pixloop.data.formats.layout import JSON_SUFFIXES, entries, split_name, subfolders
from pixloop.data.formats.pictures import Pictures, reference_to
from pixloop.errors import DataError
from pixloop.files import write_json
from pixloop.records import Box, Sample

NAME = "coco"
TASKS: tuple[Task, ...] = ("detection",)

_LABEL_FOLDERS = frozenset(("annotations", "annotation", "labels"))


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a JSON file with a list of images."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every image of every COCO file at ``root``; boxes are passed on as they are.

    A category that the file does not name gives the class ``""``. A width or height that is
    missing or 0 gives the size None.

    Raises:
        DataError: a file is no JSON, or an entry in it lacks what it must have; the message names
            the image or annotation.
    """
    files = _files(root)
    has_test = any(split == "test" for _, split in files)
    for file, split in files:
        yield from fold(_read_file(root, file, split), has_test)


def write(samples: Iterable[Sample], folder: Path) -> None:
    """Write ``train.json``, ``test.json`` and, for pictures of no split, ``labels.json``.

    Pictures stay where they are; an image's ``file_name`` is its path from ``folder``.

    Raises:
        DataError: a picture must be read for its size, and cannot be.
    """
    categories: dict[str, int] = {}
    files: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for sample in samples:
        content = files.setdefault(
            sample.split or "labels", {"images": [], "annotations": [], "unlabelled": []}
        )
        image = _image(sample, folder)
        if sample.boxes is None:
            content["unlabelled"].append(image)
            continue
        image["id"] = len(content["images"]) + 1
        content["images"].append(image)
        for box in in_pixels(sample).boxes or ():
            category = categories.setdefault(box.label, len(categories) + 1)
            content["annotations"].append(
                _annotation(box, len(content["annotations"]) + 1, image["id"], category)
            )
    named = [{"id": number, "name": name} for name, number in categories.items()]
    for name, content in files.items():
        write_json(folder / f"{name}.json", {**content, "categories": named})


def _image(sample: Sample, folder: Path) -> dict[str, Any]:
    image: dict[str, Any] = {"file_name": reference_to(sample.path, folder)}
    size = frame(in_pixels(sample)) if sample.boxes is not None else frame(sample)
    if size is not None:
        image |= {"width": plain(size[0]), "height": plain(size[1])}
    if sample.split is not None:
        image["split"] = sample.split
    return image


def _annotation(box: Box, number: int, image: int, category: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box.xyxy
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [plain(x1), plain(y1), plain(x2 - x1), plain(y2 - y1)],
        "area": plain((x2 - x1) * (y2 - y1)),
        "iscrowd": int(box.crowd),
    }


def _files(root: Path) -> list[tuple[Path, str | None]]:
    """The COCO files at ``root``, each with the split that its name or its folder has."""
    if root.is_file():
        return [(root, None)] if root.suffix.lower() in JSON_SUFFIXES and is_coco(root) else []
    found = [(file, split_name(file.stem)) for file in _json_files(root)]
    for folder in subfolders(root):
        if folder.name.lower() in _LABEL_FOLDERS:
            found += [(file, split_name(file.stem)) for file in _json_files(folder)]
        elif split_name(folder.name):
            found += [(file, split_name(folder.name)) for file in _json_files(folder)]
    instances = [(file, split) for file, split in found if file.stem.startswith("instances")]
    found = [(file, split) for file, split in instances or found if is_coco(file)]
    return [(found[0][0], None)] if len(found) == 1 else found


def _json_files(folder: Path) -> list[Path]:
    files = (Path(e.path) for e in entries(folder) if e.is_file())
    return sorted(f for f in files if f.suffix.lower() in JSON_SUFFIXES)


def _read_file(root: Path, file: Path, split: str | None) -> Iterator[Sample]:
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{file} is not COCO: expected an object with a list of 'images'.")
    find = _pictures(root, file)
    names = _categories(content.get("categories"), file)
    boxes = _boxes(content, names, file) if "annotations" in content else None
    seen: set[str] = set()
    for image in _objects(content["images"], "images", file):
        number = _identity(image.get("id"), "an image's id", file)
        if number in seen:
            raise DataError(f"{file}: there are two images with the id {number!r}.")
        seen.add(number)
        found = None if boxes is None else tuple(boxes.pop(number, ()))
        yield _sample(image, file, find, split, found)
    for number, orphans in (boxes or {}).items():
        raise DataError(
            f"{file}: {len(orphans)} annotations are of image {number!r}, which is not in 'images'."
        )
    for image in _objects(content.get("unlabelled", []), "unlabelled", file):
        yield _sample(image, file, find, split, None)


def _pictures(root: Path, file: Path) -> Pictures:
    """Where a file's pictures may lie: beside it, or in a folder named as it is."""
    base = file.parent.parent if file.parent.name.lower() in _LABEL_FOLDERS else file.parent
    last = file.stem.rpartition("_")[2]  # instances_train2017 → train2017
    beside = [base / last, base / "images" / last, base / "images", base]
    return Pictures(base if root.is_file() else root, file.parent, *beside)


def _sample(
    image: Mapping[str, Any],
    file: Path,
    find: Pictures,
    split: str | None,
    boxes: tuple[Box, ...] | None,
) -> Sample:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{file}: image {image.get('id')!r} has no file_name.")
    return Sample(
        find.find(name, split or split_name(file.stem)),
        None,
        split_name(str(image.get("split", ""))) or split,
        f"{file.name}: image {image.get('id', name)}",
        boxes,
        read_size(image.get("width"), image.get("height")),
    )


def _identity(value: Any, what: str, file: Path) -> str:
    """An id as text: some tools write numbers here and text there."""
    if value is None or not isinstance(value, int | str):
        raise DataError(f"{file}: {what} names an image by {value!r}; expected a number or text.")
    return str(value)


def _categories(written: Any, file: Path) -> dict[str, str]:
    found = _objects(written, "categories", file)
    return {str(category.get("id")): class_name(category.get("name")) for category in found}


def _boxes(
    content: Mapping[str, Any], names: Mapping[str, str], file: Path
) -> dict[str, list[Box]]:
    """The boxes of every image, by its id."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for annotation in _objects(content["annotations"], "annotations", file):
        where = f"{file}: annotation {annotation.get('id')!r}"
        bbox = annotation.get("bbox")
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise DataError(f"{where}: expected a bbox of 4 numbers, got {bbox!r}.")
        label = names.get(str(annotation.get("category_id")), UNKNOWN_CLASS)
        crowd = bool(annotation.get("iscrowd", False))
        image = _identity(annotation.get("image_id"), f"annotation {annotation.get('id')}", file)
        boxes[image].append(Box(label, read_corner_box(bbox, where), crowd))
    return boxes


def _objects(written: Any, key: str, file: Path) -> Iterator[dict[str, Any]]:
    if written is None and key == "categories":
        return
    if not isinstance(written, list):
        raise DataError(f"{file}: expected {key!r} to be a list.")
    for number, entry in enumerate(written, start=1):
        if not isinstance(entry, dict):
            raise DataError(f"{file}: entry {number} of {key!r} is no object.")
        yield entry
