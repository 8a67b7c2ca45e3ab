"""Pascal VOC: an XML for each picture, and lists of the pictures of each split.

::

    Annotations/1.xml  JPEGImages/1.jpg  ImageSets/Main/trainval.txt  ImageSets/Main/test.txt
    images/1.jpg  annotations/1.xml                   or
    1.jpg  1.xml                                      also below train/, valid/ and test/

Coordinates are taken as edges in pixels, as labelImg writes and torchvision reads them: nothing is
subtracted, though the first VOC counted pixels from 1. ``difficult`` is read as crowd. An XML
without objects says that the picture holds nothing; a picture without an XML is not labelled.

Where there are lists, what they name is read. With ``trainval`` and ``test``, the test is ``test``
and everything else is train. The list ``unsplit`` is pixloop's own, for pictures of no split.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

import defusedxml.ElementTree  # type: ignore[import-untyped]  # it has no types
from defusedxml import DefusedXmlException

from pixloop.bundle import Task
from pixloop.data.formats.boxes import (
    class_name,
    frame,
    in_pixels,
    named_box,
    plain,
    read_number,
    read_size,
    unreadable_box,
    unreadable_sample,
)
from pixloop.data.formats.layout import (
    entries,
    fold_validation,
    read_text,
    relative_name,
    split_name,
    subfolders,
    walk,
)
from pixloop.data.formats.pictures import PictureLinks, Pictures, picture_files
from pixloop.errors import DataError
from pixloop.files import write_text
from pixloop.records import Box, Sample, Xyxy

NAME = "voc"
TASKS: tuple[Task, ...] = ("detection",)

_LABEL_FOLDERS = frozenset(("annotations", "annotation", "xml", "xmls", "labels"))
_LISTS = ("test", "train", "val", "trainval", "unsplit")
_LOOKED_AT = 20  # XMLs, before a folder is held to be none of VOC's
_EDGES = ("xmin", "ymin", "xmax", "ymax")
# What XML 1.0 has no place for (section 2.2), and the carriage return that its readers replace.
_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def matches(root: Path) -> bool:
    """Whether ``root`` is a folder with Pascal VOC's XMLs, or the folders for them."""
    return root.is_dir() and any(_is_voc(folder) for folder, _ in _parts(root))


def read(root: Path) -> Iterator[Sample]:
    """Every listed picture, or else every XML and every picture; boxes are passed on as they are.

    The picture is the file that has the XML's own name; ``<filename>`` is asked only where there is
    none or several. A size that is missing or 0×0 is None. An XML that is broken or unsafe gives a
    sample whose findings say so, an object that lacks what it must have such a box.

    Raises:
        DataError: a list of pictures cannot be read.
    """
    parts = [(folder, split) for folder, split in _parts(root) if _is_voc(folder)]
    has_test = any(split == "test" for _, split in parts) or any(
        "test" in _lists(folder) for folder, _ in parts
    )
    for folder, split in parts:
        yield from _read_part(root, folder, split, has_test)


def write(samples: Iterable[Sample], folder: Path) -> None:
    """Write ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``; pictures are hard links.

    Coordinates keep their fractions. Pictures that have no boxes known are listed without an XML.

    Raises:
        DataError: a picture cannot be linked or copied, a picture must be read for its size and
            cannot be, or a class holds a character that XML has no place for.
    """
    links = PictureLinks()
    lists: dict[str, list[str]] = {}
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        picture = links.add(sample.path, folder / "JPEGImages")
        lists.setdefault(sample.split or "unsplit", []).append(picture.stem)
        if sample.boxes is not None:
            xml = folder / "Annotations" / f"{picture.stem}.xml"
            write_text(xml, _xml(in_pixels(sample), picture.name))
    for name, stems in lists.items():
        write_text(folder / "ImageSets" / "Main" / f"{name}.txt", "".join(f"{s}\n" for s in stems))


def _xml(sample: Sample, name: str) -> str:
    width, height = frame(sample) or (0, 0)
    root = Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name)
    size = SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, tag, str(plain(value)))
    for box in sample.boxes or ():
        if _NO_XML.search(box.label):
            raise DataError(f"{sample.path}: XML cannot hold the class {box.label!r}. Rename it.")
        element = SubElement(root, "object")
        _add(element, "name", box.label)
        _add(element, "truncated", "0")
        _add(element, "difficult", str(int(box.crowd)))
        edges = SubElement(element, "bndbox")
        for tag, value in zip(_EDGES, box.xyxy, strict=True):
            _add(edges, tag, str(plain(value)))
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _add(parent: Any, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text


def _parts(root: Path) -> list[tuple[Path, str | None]]:
    """The folders that are a VOC each, with the split they are named for.

    It is ``root``; or its folders named for splits, or with an annotation folder in them (VOC2007
    beside VOC2012). Folders with XMLs beside pictures and other names may be classes.
    """
    if not root.is_dir():
        return []
    if _is_voc(root):
        return [(root, None)]
    folders = [(folder, split_name(folder.name)) for folder in subfolders(root)]
    return [(f, split) for f, split in folders if split or _label_folders(f)]


def _is_voc(folder: Path) -> bool:
    some = list(islice(_xml_files(folder), _LOOKED_AT))
    if some:
        return any(map(_is_annotation, some))
    names = {entry.name for entry in entries(folder)}
    return {"Annotations", "JPEGImages"} <= names


def _is_annotation(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return b"<annotation" in content.read(4096)
    except OSError:  # reading the labels reports it
        return False


def _label_folders(folder: Path) -> list[Path]:
    return [f for f in subfolders(folder) if f.name.lower() in _LABEL_FOLDERS]


def _xml_files(folder: Path) -> Iterator[Path]:
    """The XMLs in the annotation folders, else those that lie in the folder itself."""
    in_folders = [f for inner in _label_folders(folder) for f in walk(inner)]
    files = in_folders or [Path(entry.path) for entry in entries(folder) if entry.is_file()]
    return (f for f in files if f.suffix.lower() == ".xml")


def _lists(folder: Path) -> dict[str, list[str]]:
    """The names in each list of a VOC; without those that are empty."""
    lists = {}
    for name in _LISTS:
        file = folder / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            lines = read_text(file).split("\n")
            lists[name] = [line.strip() for line in lines if line.strip()]
    return {name: listed for name, listed in lists.items() if listed}


def _read_part(root: Path, folder: Path, split: str | None, has_test: bool) -> Iterator[Sample]:
    pictures = Pictures(folder, folder / "JPEGImages", folder / "images", folder)
    lists = _lists(folder)
    if lists:
        yield from _read_listed(root, folder, lists, pictures, has_test)
        return
    seen = set()
    for file in _xml_files(folder):
        own = split or split_name(file.parent.name)
        sample = _read_xml(root, file, pictures, own)
        seen.add(sample.path)
        yield replace(sample, split=fold_validation(own, has_test))
    for path in picture_files(folder):
        if path not in seen:
            name = relative_name(path, root)
            yield Sample(path, None, fold_validation(split, has_test), name)


def _read_listed(
    root: Path,
    folder: Path,
    lists: Mapping[str, Sequence[str]],
    pictures: Pictures,
    has_test: bool,
) -> Iterator[Sample]:
    splits: dict[str, str | None] = {}
    for name, stems in lists.items():
        split = None if name == "unsplit" else split_name(name) or "train"
        for stem in stems:
            splits.setdefault(stem, fold_validation(split, has_test))
    xmls = {file.stem: file for file in _xml_files(folder)}
    for stem, split in splits.items():
        if stem in xmls:
            yield replace(_read_xml(root, xmls[stem], pictures, None), split=split)
        else:
            found = pictures.with_stem(stem)
            path = found[0] if len(found) == 1 else folder / "JPEGImages" / f"{stem}.jpg"
            yield Sample(path, None, split, f"ImageSets/Main: {stem}")


def _read_xml(root: Path, file: Path, pictures: Pictures, split: str | None) -> Sample:
    source = relative_name(file, root)
    try:
        annotation = _parse(file, source)
    except DataError as e:
        return unreadable_sample(_picture(file, "", pictures, split), source, e)
    path = _picture(file, (annotation.findtext("filename") or "").strip(), pictures, split)
    size = annotation.find("size")
    return Sample(
        path,
        None,
        split,
        source,
        tuple(
            _read_object(element, f"{source}: object {number}")
            for number, element in enumerate(annotation.iter("object"), start=1)
        ),
        None if size is None else read_size(size.findtext("width"), size.findtext("height")),
    )


def _picture(file: Path, written: str, pictures: Pictures, split: str | None) -> Path:
    own = pictures.with_stem(file.stem)
    if len(own) == 1:
        return own[0]
    return pictures.find(written or f"{file.stem}.jpg", split)


def _read_object(element: Any, where: str) -> Box:
    try:
        return _box(element, where)
    except DataError as e:
        return unreadable_box(e)


def _box(element: Any, where: str) -> Box:
    edges = element.find("bndbox")
    if edges is None:
        raise DataError(f"{where} has no bndbox; expected one with {', '.join(_EDGES)}.")
    x1, y1, x2, y2 = (read_number(edges.findtext(tag), f"{where}, {tag}") for tag in _EDGES)
    xyxy: Xyxy = (x1, y1, x2, y2)
    crowd = (element.findtext("difficult") or "").strip() == "1"
    return named_box(class_name(element.findtext("name")), xyxy, f"{where} has no name.", crowd)


def _parse(file: Path, name: str) -> Any:
    try:
        annotation = defusedxml.ElementTree.parse(file).getroot()
    except ParseError as e:
        raise DataError(f"{name} is not valid XML: {e}.") from e
    except DefusedXmlException as e:
        raise DataError(f"{name} declares XML entities, which labels need none of: {e}.") from e
    except (ValueError, LookupError) as e:  # an encoding that is not what the file says, or unknown
        raise DataError(f"{name} cannot be decoded: {e}.") from e
    except OSError as e:
        raise DataError(f"{name} cannot be read: {e.strerror}.") from e
    if annotation.tag != "annotation":
        raise DataError(f"{name} is not Pascal VOC: expected <annotation>, got <{annotation.tag}>.")
    return annotation
