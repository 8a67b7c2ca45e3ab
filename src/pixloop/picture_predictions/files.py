"""Which picture files are meant by the files and folders that a person names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pixloop.data.check import MAX_FILE_BYTES
from pixloop.data.formats.layout import PICTURE_SUFFIXES, entries
from pixloop.errors import DataError


def find_pictures(places: Iterable[Path]) -> Iterator[Path]:
    """The picture files at ``places``, as they are found; one folder's names are held at once.

    A file is taken as it is named, whether it exists or not: what is wrong with it is for whoever
    reads it to say. A folder gives the pictures in it and below, by their suffixes, in the order
    of their names; hidden files and links to other folders are passed over, so that a loop of
    links has no end to reach.

    Raises:
        DataError: a folder cannot be read, or has no pictures in it.
    """
    for place in places:
        if place.is_dir():
            empty = True
            for file in _walk(place):
                empty = False
                yield file
            if empty:
                raise DataError(f"there are no pictures in {place}, nor below it. {_expected()}")
        else:
            yield place


def too_large(size: int) -> str | None:
    """Why a picture file of so many bytes is not read; None where it is.

    >>> too_large(60_000_000_000)
    'the file has 60,000,000,000 bytes; at most 200,000,000 are read'
    """
    if size <= MAX_FILE_BYTES:
        return None
    return f"the file has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read"


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(entries(folder), key=lambda entry: entry.name):
        file = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(file)
        # A link to nothing is a picture that cannot be read; pipes and devices are none.
        elif file.suffix.lower() in PICTURE_SUFFIXES and (file.is_file() or not file.exists()):
            yield file


def _expected() -> str:
    return f"Expected files ending in {', '.join(sorted(PICTURE_SUFFIXES))}."
