"""Class folders: a picture's class is the name of the folder it lies in.

::

    cat/1.jpg  dog/2.jpg                         or
    train/cat/1.jpg  test/dog/2.jpg              also Training/Testing, seg_train/seg_test/seg_val

Folders inside a class folder are read too. A lone ``validation`` folder beside ``train`` counts
as the test; beside a ``test`` folder it joins ``train``, of which pixloop chooses its own.
"""

from collections.abc import Iterator
from pathlib import Path

from pixloop.bundle import Task
from pixloop.data.formats.layout import (
    PICTURE_SUFFIXES,
    entries,
    fold_validation,
    relative_name,
    split_name,
    unwrap,
    walk,
)
from pixloop.records import Sample

NAME = "class_folders"
TASKS: tuple[Task, ...] = ("classification",)


def matches(root: Path) -> bool:
    """Whether ``root`` is a folder with at least two class folders."""
    if not root.is_dir():
        return False
    splits = _split_folders(root)
    tops = [unwrap(folder) for folder, split in splits if split] or [root]
    return any(len(_class_folders(top)) >= 2 for top in tops)


def read(root: Path) -> Iterator[Sample]:
    """Every file below the class folders; pictures elsewhere come without a label."""
    splits = _split_folders(root)
    if not splits:
        yield from _read_classes(root, root, None)
        return
    yield from _unlabelled(root, root, None)
    has_test = any(split == "test" for _, split in splits)
    for folder, split in splits:
        if split is None:
            yield from (Sample(f, None, None, relative_name(f, root)) for f in walk(folder))
        else:
            yield from _read_classes(root, unwrap(folder), fold_validation(split, has_test))


def _split_folders(root: Path) -> list[tuple[Path, str | None]]:
    """The folders of ``root`` with their splits; empty where they are classes, not splits.

    A class may be called ``train``: a folder is a split only where it holds class folders.
    """
    folders = [Path(entry.path) for entry in entries(root) if entry.is_dir()]
    named = [
        (f, split_name(f.name) if _class_folders(unwrap(f)) else None) for f in sorted(folders)
    ]
    return named if any(split == "train" for _, split in named) else []


def _class_folders(folder: Path) -> list[Path]:
    """The folders below ``folder`` that hold pictures, by their files' names (or lack of any)."""
    folders = (Path(entry.path) for entry in entries(folder) if entry.is_dir())
    suffixes = PICTURE_SUFFIXES | {""}
    return [f for f in folders if any(file.suffix.lower() in suffixes for file in walk(f))]


def _read_classes(root: Path, folder: Path, split: str | None) -> Iterator[Sample]:
    yield from _unlabelled(root, folder, split)
    for class_folder in _class_folders(folder):
        for file in walk(class_folder):
            yield Sample(file, class_folder.name, split, relative_name(file, root))


def _unlabelled(root: Path, folder: Path, split: str | None) -> Iterator[Sample]:
    """Pictures that lie beside the class folders; a read-me there is none of our business."""
    for entry in entries(folder):
        file = Path(entry.path)
        if file.suffix.lower() in PICTURE_SUFFIXES and entry.is_file():
            yield Sample(file, None, split, relative_name(file, root))
