"""What formats share: how splits are named, and where label files lie."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pixloop.errors import DataError

_NAMES = {
    "train": {"train", "training", "trn"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "tst"},
}
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}


def split_name(name: str) -> str | None:
    """The split that a folder, file or column value is named for, or None.

    >>> split_name("seg_train"), split_name("Testing"), split_name("val"), split_name("cat")
    ('train', 'test', 'validation', None)
    """
    words = set(re.split(r"[^a-z]+", name.lower()))
    found = [split for split, names in _NAMES.items() if words & names]
    return found[0] if len(found) == 1 else None


def fold_validation(split: str | None, has_test: bool) -> str | None:
    """A source's validation pictures join train; where it has no test they are the test.

    pixloop chooses its own validation pictures out of train, by content.

    >>> fold_validation("validation", has_test=True), fold_validation("validation", has_test=False)
    ('train', 'test')
    """
    if split != "validation":
        return split
    return "train" if has_test else "test"


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, in no order, without hidden files and operating systems' litter.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = os.scandir(folder)
    except OSError as e:
        raise DataError(f"{folder} cannot be read: {e.strerror}.") from e
    with found:
        for entry in found:
            if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
                yield entry


def read_text(file: Path, name: str = "") -> str:
    """A text file; ``name`` is what messages call it, else its path.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{name or file} is not UTF-8: {e}. Save it as UTF-8.") from e
    except OSError as e:
        raise DataError(f"{name or file} cannot be read: {e.strerror}.") from e


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in no order, without hidden files and litter."""
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        elif not entry.is_dir():
            yield Path(entry.path)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names."""
    return sorted(Path(entry.path) for entry in entries(folder) if entry.is_dir())


def relative_name(file: Path, root: Path) -> str:
    """What messages call a file: its path below ``root``, with forward slashes."""
    return os.path.relpath(file, root).replace(os.sep, "/")


def unwrap(folder: Path, suffixes: Sequence[str] | None = None) -> Path:
    """Step into folders that hold nothing but one folder with folders or label files in it.

    Archives often wrap everything in one folder of their own name. ``suffixes`` are those of label
    files; without them, those of a label file that lists pictures.
    """
    suffixes = (*CSV_SUFFIXES, *MANIFEST_SUFFIXES) if suffixes is None else suffixes
    while True:
        found = list(_first(entries(folder), 2))
        if len(found) != 1 or not found[0].is_dir():
            return folder
        inner = Path(found[0].path)
        if not any(e.is_dir() or Path(e.name).suffix.lower() in suffixes for e in entries(inner)):
            return folder
        folder = inner


def label_files(root: Path, suffixes: Sequence[str]) -> list[tuple[Path, str | None]]:
    """The label files at ``root``, itself one or a folder, each with the split it is named for."""
    if root.is_file():
        return [(root, None)] if root.suffix.lower() in suffixes else []
    files = (Path(e.path) for e in entries(root) if e.is_file())
    found = [(f, split_name(f.stem)) for f in sorted(files) if f.suffix.lower() in suffixes]
    return [(found[0][0], None)] if len(found) == 1 else found


def picture_path(folder: Path, written: str) -> Path:
    """The file that a label file in ``folder`` means by ``written``; Windows' slashes are fine."""
    if "\\" in written and "/" not in written:
        written = written.replace("\\", "/")
    return folder / written


CSV_SUFFIXES = (".csv", ".tsv")
MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".manifest")
JSON_SUFFIXES = (".json",)
YAML_SUFFIXES = (".yaml", ".yml")
#: A file of these is a label file: it can be what ``data.train`` names.
LABEL_SUFFIXES = CSV_SUFFIXES + MANIFEST_SUFFIXES + JSON_SUFFIXES + YAML_SUFFIXES
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
)


def _first(found: Iterator[os.DirEntry[str]], count: int) -> Iterator[os.DirEntry[str]]:
    for _, entry in zip(range(count), found, strict=False):
        yield entry
