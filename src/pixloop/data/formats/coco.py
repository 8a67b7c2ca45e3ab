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

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    UNKNOWN_CLASS,
    Size,
    class_name,
    fold,
    frame,
    in_pixels,
    named_box,
    plain,
    read_corner_box,
    read_size,
    unreadable_box,
    unreadable_sample,
)
from pixloop.data.formats.json_files import is_coco, read_json
from pixloop.data.formats.layout import JSON_SUFFIXES, entries, split_name, subfolders
from pixloop.data.formats.pictures import Pictures, reference_to
from pixloop.errors import DataError
from pixloop.files import write_json
from pixloop.records import Box, Finding, Sample

NAME = "coco"
TASKS: tuple[Task, ...] = ("detection",)

_LABEL_FOLDERS = frozenset(("annotations", "annotation", "labels"))


def matches(root: Path) -> bool:
    """Whether ``root`` is, or holds, a JSON file with a list of images."""
    return bool(_files(root))


def read(root: Path) -> Iterator[Sample]:
    """Every image of every COCO file at ``root``; boxes are passed on as they are.

    A category that the file does not name gives the class ``""``. A width or height that is
    missing or 0 gives the size None. Several entries of one picture give one sample. An annotation
    that cannot be read gives a box whose findings say so, an image that cannot be read such a
    sample, and so does an annotation of no image.

    Raises:
        DataError: a file is no JSON, or has no list of images.
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
    images, faults = _read_images(content["images"], file)
    boxes = None
    if "annotations" in content:
        known = {_text(image.get("id")) for same in images.values() for image in same}
        boxes, strays = _boxes(content, known, file)
        faults += strays
    owners = Counter(key for same in images.values() for key in {_text(i.get("id")) for i in same})
    for same in images.values():
        yield _sample(same, file, find, split, boxes, owners)
    unlabelled, more = _read_images(content.get("unlabelled", []), file, "unlabelled")
    for same in unlabelled.values():
        yield _sample(same, file, find, split, None, owners)
    for fault in faults + more:
        yield unreadable_sample(file, file.name, fault)


def _pictures(root: Path, file: Path) -> Pictures:
    """Where a file's pictures may lie: beside it, or in a folder named as it is."""
    base = file.parent.parent if file.parent.name.lower() in _LABEL_FOLDERS else file.parent
    last = file.stem.rpartition("_")[2]  # instances_train2017 → train2017
    beside = [base / last, base / "images" / last, base / "images", base]
    return Pictures(base if root.is_file() else root, file.parent, *beside)


def _read_images(
    written: Any, file: Path, key: str = "images"
) -> tuple[dict[str, list[dict[str, Any]]], list[DataError]]:
    """The entries of each picture, by its name, and what is wrong with those that name none."""
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    faults = []
    for number, image in enumerate(_list(written, key, file), start=1):
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and name:
            images[name].append(image)
        else:
            where = _where(image, "image", number, key, file)
            faults.append(DataError(f"{where} is no object with a file_name."))
    return images, faults


def _sample(
    same: Sequence[Mapping[str, Any]],
    file: Path,
    find: Pictures,
    split: str | None,
    boxes: Mapping[str, list[Box]] | None,
    owners: Mapping[str, int],
) -> Sample:
    """A picture, out of the entries that name it: mostly one."""
    first, name = same[0], str(same[0]["file_name"])
    path = find.find(name, split or split_name(file.stem))
    source = f"{file.name}: image {first.get('id', name)}"
    try:
        size = _size(same, source)
        found = None if boxes is None else _boxes_of(same, boxes, owners, source)
    except DataError as e:
        return unreadable_sample(path, source, e)
    numbers = ", ".join(str(image.get("id")) for image in same)
    twice = Finding("listed_twice", f"{file.name}: images {numbers}")
    return Sample(
        path,
        None,
        split_name(str(first.get("split", ""))) or split,
        source,
        found,
        size,
        findings=(twice,) if len(same) > 1 else (),
    )


def _size(same: Iterable[Mapping[str, Any]], where: str) -> Size | None:
    sizes = {read_size(image.get("width"), image.get("height")) for image in same} - {None}
    if len(sizes) > 1:
        raise DataError(f"{where} is listed more than once, with different sizes.")
    return next(iter(sizes), None)


def _boxes_of(
    same: Iterable[Mapping[str, Any]],
    boxes: Mapping[str, list[Box]],
    owners: Mapping[str, int],
    where: str,
) -> tuple[Box, ...]:
    identities = dict.fromkeys(_identity(image.get("id"), where) for image in same)
    for identity in identities:
        if owners[identity] > 1:
            raise DataError(f"{where}: other pictures have the id {identity!r} too.")
    return tuple(box for identity in identities for box in boxes.get(identity, ()))


def _identity(value: Any, where: str) -> str:
    """An image's id as text: some tools write numbers here and text there."""
    text = _text(value)
    if not isinstance(value, str) and not text.lstrip("-").isdigit():
        raise DataError(f"{where} names an image by {value!r}; expected a whole number or text.")
    return text


def _text(value: Any) -> str:
    """An id as text; 7.0, which tables with gaps write for 7, is 7."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _where(entry: Any, what: str, number: int, key: str, file: Path) -> str:
    """What messages call an entry: by its id, or by its place in the list."""
    if isinstance(entry, dict) and "id" in entry:
        return f"{file.name}: {what} {entry['id']!r}"
    return f"{file.name}: entry {number} of {key!r}"


def _categories(written: Any, file: Path) -> dict[str, str]:
    found = [] if written is None else _list(written, "categories", file)
    if not all(isinstance(category, dict) for category in found):
        raise DataError(f"{file}: expected 'categories' to be a list of objects.")
    return {str(category.get("id")): class_name(category.get("name")) for category in found}


def _boxes(
    content: Mapping[str, Any], known: Container[str], file: Path
) -> tuple[dict[str, list[Box]], list[DataError]]:
    """The boxes of every image, by its id, and what is wrong with those of no known image."""
    names = _categories(content.get("categories"), file)
    boxes: dict[str, list[Box]] = defaultdict(list)
    strays = []
    for number, annotation in enumerate(_list(content["annotations"], "annotations", file), 1):
        where = _where(annotation, "annotation", number, "annotations", file)
        try:
            boxes[_owner(annotation, known, where)].append(_read_box(annotation, names, where))
        except DataError as e:
            strays.append(e)
    return boxes, strays


def _owner(annotation: Any, known: Container[str], where: str) -> str:
    if not isinstance(annotation, dict):
        raise DataError(f"{where} is no object.")
    image = _identity(annotation.get("image_id"), where)
    if image not in known:
        raise DataError(f"{where} is of image {image!r}; 'images' names no file for it.")
    return image


def _read_box(annotation: Mapping[str, Any], names: Mapping[str, str], where: str) -> Box:
    bbox, category = annotation.get("bbox"), annotation.get("category_id")
    try:
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise DataError(f"{where}: expected a bbox of 4 numbers, got {bbox!r}.")
        xyxy = read_corner_box(bbox, where)
    except DataError as e:
        return unreadable_box(e)
    label = names.get(str(category), UNKNOWN_CLASS)
    unnamed = f"{where}: the category {category!r} has no name."
    return named_box(label, xyxy, unnamed, bool(annotation.get("iscrowd", False)))


def _list(written: Any, key: str, file: Path) -> list[Any]:
    if not isinstance(written, list):
        raise DataError(f"{file}: expected {key!r} to be a list.")
    return written
