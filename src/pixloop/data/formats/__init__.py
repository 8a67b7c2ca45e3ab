"""How labels are written. A new format is a module here and its name in ``FORMATS``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pixloop.data.formats import class_folders, csv, manifest
from pixloop.data.formats.layout import unwrap
from pixloop.errors import DataError
from pixloop.records import Sample


class Format(Protocol):
    """What a format's module has."""

    NAME: str

    def matches(self, root: Path) -> bool:
        """Whether ``root``, a folder or a label file, is written in this format."""

    def read(self, root: Path) -> Iterator[Sample]:
        """Every sample at ``root``, streaming, in no particular order."""


FORMATS: tuple[Format, ...] = (class_folders, csv, manifest)

_EXPECTED = (
    "Expected at least two class folders (cat/1.jpg, dog/2.jpg; or below train/ and test/), "
    "a .csv with a header such as filename,label, or a .jsonl with lines such as "
    '{"image": "1.jpg", "label": "cat"}.'
)


def read_samples(root: Path, format: str = "auto") -> Iterator[Sample]:  # noqa: A002 (the config's word)
    """Read the labels at ``root``, a folder or a label file.

    Raises:
        DataError: there is nothing there, no format fits, or several do; or a label file is
            broken.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist.")
    if root.is_dir():
        root = unwrap(root)
    return _choose(root, format).read(root)


def _choose(root: Path, name: str) -> Format:
    named = [f for f in FORMATS if name in ("auto", f.NAME)]
    if not named:
        known = ", ".join(f.NAME for f in FORMATS)
        raise DataError(f"there is no data format {name!r}; there are {known}.")
    fitting = [f for f in named if f.matches(root)]
    if not fitting:
        as_what = "labels" if name == "auto" else f"labels in the format {name!r}"
        raise DataError(f"{root} holds no {as_what} of two or more classes. {_EXPECTED}")
    if len(fitting) > 1:
        names = " and ".join(f.NAME for f in fitting)
        raise DataError(f"{root} can be read as {names}. Say which with data.format.")
    return fitting[0]
