"""Where a YOLO data set keeps its pictures, labels and classes."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pixloop.data.formats.boxes import Size, class_name, read_number
from pixloop.data.formats.layout import (
    YAML_SUFFIXES,
    entries,
    read_text,
    split_name,
    subfolders,
    walk,
)
from pixloop.data.formats.pictures import Pictures, picture_files
from pixloop.errors import DataError

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_KEYS = (("test", "test"), ("train", "train"), ("val", "validation"))


@dataclass(frozen=True)
class Place:
    """A folder, or a list, of pictures; with what its key says of them."""

    path: Path
    split: str | None
    labelled: bool = True


@dataclass(frozen=True)
class Layout:
    """A YOLO data set.

    Attributes:
        folder: what names in ``crowds`` and ``sizes`` are relative to.
        names: the classes, by number.
        places: where pictures are; what comes first counts for a picture in several.
        crowds: lines as in label files, of boxes that are crowds, by the picture's name.
        sizes: the frames that are not the upright picture's, by the picture's name.
    """

    folder: Path
    names: Mapping[int, str]
    places: tuple[Place, ...]
    crowds: Mapping[str, list[str]] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def has_lists(self) -> bool:
        """Whether pictures are listed, so that labels of others may lie beside theirs."""
        return any(place.path.is_file() for place in self.places)

    def pictures(self) -> Iterator[tuple[Path, str | None, bool]]:
        """Every picture's file, its split (or "validation") and whether it is labelled."""
        for place in self.places:
            if place.path.is_file():
                listed = _listed(place.path, self.folder)
                yield from ((path, place.split, place.labelled) for path in listed)
                continue
            for path in picture_files(place.path):
                inner = path.relative_to(place.path).parts[:-1]
                split = place.split or next(filter(None, map(split_name, inner)), None)
                yield path, split, place.labelled


class LabelFiles:
    """Finds a picture's label file, and afterwards the label files that no picture has."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._has_labels: dict[Path, bool] = {}
        self._found: dict[tuple[Path, Path, str | None], set[str]] = defaultdict(set)

    def find(self, picture: Path, split: str | None) -> Path | None:
        """The label file, there or not; None where the picture's folder has no label files.

        It lies where the last folder ``images`` of the path is called ``labels``, else beside.
        """
        folder = self._folder(picture)
        if folder is not None and folder.is_dir():
            self._found[folder, picture.parent, split].add(picture.stem)
            return folder / f"{picture.stem}.txt"
        beside = picture.parent
        if beside not in self._has_labels:
            found = entries(beside) if beside.is_dir() else ()  # a list may name what is gone
            self._has_labels[beside] = any(_is_label(Path(e.path)) for e in found)
        return beside / f"{picture.stem}.txt" if self._has_labels[beside] else None

    def orphans(self) -> Iterator[tuple[Path, Path, str | None]]:
        """Label files without a picture, with the path that it would have and its split."""
        stems: dict[Path, set[str]] = defaultdict(set)
        for (folder, _, _), found in self._found.items():
            stems[folder] |= found
        for folder, pictures, split in list(self._found):
            for file in sorted(Path(entry.path) for entry in entries(folder)):
                if _is_label(file) and file.stem not in stems[folder]:
                    stems[folder].add(file.stem)
                    yield file, pictures / f"{file.stem}.jpg", split

    def _folder(self, picture: Path) -> Path | None:
        folder = picture.parent
        below = folder.relative_to(self._root) if folder.is_relative_to(self._root) else folder
        parts = list(below.parts)
        if "images" not in parts:
            return None
        last = len(parts) - 1 - parts[::-1].index("images")
        return (self._root if below is not folder else Path()).joinpath(
            *parts[:last], "labels", *parts[last + 1 :]
        )


def is_yolo(root: Path) -> bool:
    """Whether there is a data.yaml with names at ``root``, or YOLO's label files."""
    if root.is_file():
        return root.suffix.lower() in YAML_SUFFIXES and bool(_load_config(root))
    if _configs(root):
        return True
    folders = [root, *(f for f in subfolders(root) if split_name(f.name))]
    return any(_has_labels(folder) for folder in folders)


def find_layout(root: Path) -> Layout:
    """What data.yaml says; without one, all pictures below ``root``, by the names of folders.

    Raises:
        DataError: nothing names the classes, or data.yaml names what is not there.
    """
    configs = [root] if root.is_file() else _configs(root)
    named = [file for file in configs if file.stem == "data"] or configs
    if len(named) > 1:
        names = ", ".join(file.name for file in named)
        raise DataError(f"{root} holds {names}: name the one that is meant in data.train.")
    if named:
        return _from_config(named[0])
    return Layout(root, _classes(root), (Place(root, None),))


def _from_config(file: Path) -> Layout:
    config, folder = _load_config(file), file.parent
    extras = _mapping(config.get("pixloop"), file, "pixloop")
    base = folder.joinpath(*_texts(config.get("path"), file, "path"))
    places = [
        Place(_resolve(written, base, file, key), split)
        for key, split in _KEYS
        for written in _texts(config.get(key), file, key)
    ]
    unsplit = [
        Place(_resolve(name, folder, file, "unsplit"), None)
        for name in _texts(extras.get("unsplit"), file, "unsplit")
    ]
    unlabelled = [
        Place(_resolve(name, folder, file, "unlabelled"), split_name(split), labelled=False)
        for split, names in _mapping(extras.get("unlabelled"), file, "unlabelled").items()
        for name in _texts(names, file, "unlabelled")
    ]
    # The folder of no split comes first, for train names it as well, for other tools.
    return Layout(
        folder,
        _names(config["names"], file),
        (*unsplit, *places, *unlabelled),
        {
            name: _texts(lines, file, "crowds")
            for name, lines in _mapping(extras.get("crowds"), file, "crowds").items()
        },
        {
            name: _size(_texts(size, file, "sizes"), file)
            for name, size in _mapping(extras.get("sizes"), file, "sizes").items()
        },
    )


def _resolve(written: str, base: Path, file: Path, key: str) -> Path:
    """The folder or list that a key means, though it be written for another machine's folders."""
    folder = file.parent
    parts = [
        p for p in PurePosixPath(written.replace("\\", "/")).parts if p not in ("..", ".", "/")
    ]
    # One part alone would fit too easily, unless there was no more.
    tails = (folder.joinpath(*parts[i:]) for i in range(max(1, len(parts) - 1)))
    for path in (base / written, folder / written, *tails):
        if os.path.exists(path):  # noqa: PTH110 (says no to a name that is too long)
            return path
    raise DataError(
        f"{file}: {key} names {written}, which is not there. Correct it, or take the line out."
    )


def _listed(file: Path, root: Path) -> Iterator[Path]:
    pictures = Pictures(root, file.parent, root)
    for line in read_text(file).split("\n"):
        if line.strip():
            yield pictures.find(line.strip())


def _names(written: Any, file: Path) -> dict[int, str]:
    try:
        pairs = enumerate(written) if isinstance(written, list) else written.items()
        return {int(number): class_name(_text(name)) for number, name in pairs}
    except (AttributeError, ValueError) as e:
        raise DataError(f"{file}: expected names to be a list, or a mapping from numbers.") from e


def _text(written: Any) -> str:
    if not isinstance(written, str):
        raise ValueError
    return written


def _classes(root: Path) -> dict[int, str]:
    """What the class files below ``root`` say, which must be the same."""
    files = sorted(file for file in walk(root) if file.name in CLASS_FILES)
    if not files:
        raise DataError(
            f"{root}: nothing names YOLO's classes. Expected a data.yaml with names, or a"
            " classes.txt with a name a line."
        )
    found = [[line.strip() for line in read_text(file).rstrip().split("\n")] for file in files]
    for file, names in zip(files, found, strict=True):
        if names != found[0]:
            raise DataError(f"{file} names other classes than {files[0]}.")
    return dict(enumerate(found[0]))


def _configs(root: Path) -> list[Path]:
    files = sorted(Path(entry.path) for entry in entries(root) if entry.is_file())
    return [f for f in files if f.suffix.lower() in YAML_SUFFIXES and _load_config(f)]


def _load_config(file: Path) -> dict[str, Any]:
    """What a data.yaml holds, numbers as text; empty where it is something else.

    Everything stays text, so that a class may be called ``no``, ``1e3`` or ``null``.
    """
    try:
        config = yaml.load(read_text(file), Loader=_LOADER)  # noqa: S506
    except (yaml.YAMLError, DataError) as e:
        if file.stem == "data":
            raise DataError(f"{file} is not readable YAML: {e}") from e
        return {}
    is_config = isinstance(config, dict) and config.get("names") is not None
    return config if is_config and config.keys() & {"train", "val", "test", "path", "nc"} else {}


def _has_labels(folder: Path) -> bool:
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        return any(_is_label(file) for file in walk(folder / "labels"))
    if not any((folder / name).is_file() for name in CLASS_FILES):
        return False
    pictures = (Path(entry.path) for entry in entries(folder) if entry.is_file())
    return any(_is_label(f.with_suffix(".txt")) for f in pictures if f.suffix != ".txt")


def _is_label(file: Path) -> bool:
    return file.suffix == ".txt" and file.name not in CLASS_FILES and file.is_file()


def _texts(written: Any, file: Path, key: str) -> list[str]:
    """A text or a list of texts, as a list; what is missing or empty has none."""
    texts = written if isinstance(written, list) else [written] if written else []
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise DataError(f"{file}: expected {key} to be text, or a list of texts.")
    return texts


def _mapping(written: Any, file: Path, key: str) -> dict[str, Any]:
    if written and not isinstance(written, dict):
        raise DataError(f"{file}: expected {key} to be a mapping.")
    return written or {}


def _size(written: Sequence[str], file: Path) -> Size:
    if len(written) != 2:
        raise DataError(f"{file}: expected a width and a height in sizes, got {written!r}.")
    return read_number(written[0], f"{file}: sizes"), read_number(written[1], f"{file}: sizes")
