"""The pictures that labels speak of: found by what labels call them, and laid where labels go."""

import os
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from pixloop.data.formats.layout import PICTURE_SUFFIXES, split_name, walk
from pixloop.decoding import exif_orientation, open_image
from pixloop.errors import DataError

_LYING = frozenset((5, 6, 7, 8))
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{6,}-(?=.)")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff<>:"/\\|?*]')


class Pictures:
    """Finds the file that labels mean, though they were written on another machine.

    Args:
        root: everything below it is searched where a name does not lead straight to a file.
        folders: what names are relative to, tried in this order before the search.
    """

    def __init__(self, root: Path, *folders: Path) -> None:
        self._root = root
        self._folders = folders or (root,)
        self._stems: dict[str, list[Path]] | None = None

    def find(self, written: str, split: str | None = None) -> Path:
        """The file that ``written``, a path or an address, means.

        A file of another folder or suffix counts where no other fits as well; of several, one in a
        folder that is named for ``split`` (train, validation, test) fits better.

        Returns:
            The file; or a path that does not exist where none fits, or several do.
        """
        name = local_name(written)
        for folder in self._folders:
            if os.path.isfile(folder / name):  # noqa: PTH113 (says no to a name that is too long)
                return folder / name
        parts = PurePosixPath(name).parts
        for wanted in (parts, (*parts[:-1], _UPLOAD_PREFIX.sub("", parts[-1]))) if parts else ():
            found = self._best(wanted, split)
            if found is not None:
                return found
        return self._folders[0] / name.lstrip("/")

    def with_stem(self, stem: str) -> list[Path]:
        """The picture files below the root whose name without its suffix is ``stem``."""
        if self._stems is None:
            self._stems = defaultdict(list)
            for file in picture_files(self._root):
                self._stems[_composed(file.stem)].append(file)
        return self._stems.get(_composed(stem), [])

    def _best(self, parts: tuple[str, ...], split: str | None) -> Path | None:
        ranked = [
            (self._rank(file, parts, split), file)
            for file in self.with_stem(PurePosixPath(parts[-1]).stem)
        ]
        best = max((rank for rank, _ in ranked), default=None)
        found = [file for rank, file in ranked if rank == best]
        return found[0] if len(found) == 1 else None

    def _rank(self, file: Path, parts: tuple[str, ...], split: str | None) -> tuple[bool, int, int]:
        """How well a file fits: its suffix, its folders' names from the inside, its split."""
        folders = file.relative_to(self._root).parts[:-1]
        pairs = zip(reversed(folders), reversed(parts[:-1]), strict=False)
        same = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(parts) - 1)
        )
        of_split = sum(split_name(folder) == split for folder in folders) if split else 0
        return file.name == parts[-1], same, of_split


def picture_files(folder: Path) -> Iterator[Path]:
    """The files below a folder that are pictures by their suffix, in no order."""
    return (f for f in walk(folder) if f.suffix.lower() in PICTURE_SUFFIXES)


def local_name(written: str) -> str:
    r"""What a path or address says of where a picture lies, with forward slashes.

    >>> local_name("s3://bucket/a/1%202.jpg"), local_name("https://host/a/1.jpg?size=9")
    ('a/1%202.jpg', 'a/1.jpg')
    >>> local_name("/data/local-files/?d=a/1%202.jpg"), local_name("C:\\a\\1.jpg")
    ('a/1 2.jpg', 'C:/a/1.jpg')
    """
    if written.startswith("/data/local-files/?"):
        named = parse_qs(urlsplit(written).query).get("d", [""])[0]
        return named
    if re.match(r"https?://", written):
        return unquote(urlsplit(written).path).lstrip("/")
    if re.match(r"[a-z0-9]+://", written):
        # A key of S3 and its like is no URL path: a % or ? in it is itself.
        return written.partition("://")[2].partition("/")[2].lstrip("/")
    if "\\" in written and "/" not in written:
        return written.replace("\\", "/")
    return written


def reference_to(picture: Path, folder: Path) -> str:
    """How a label file in ``folder`` names a picture: by its path from there."""
    # Links to the folders are followed, for ".." leads out of where they lead to.
    absolute = picture.parent.resolve() / picture.name
    try:
        return os.path.relpath(absolute, folder.resolve()).replace(os.sep, "/")
    except ValueError:  # another drive of Windows
        return absolute.as_posix()


class PictureLinks:
    """Lays pictures into folders under names that differ by more than suffix and case."""

    def __init__(self) -> None:
        self._taken: set[tuple[Path, str]] = set()

    def add(self, picture: Path, folder: Path) -> Path:
        """Link a picture into ``folder``, or copy it where the file system cannot link.

        Raises:
            DataError: it cannot be read.
        """
        stem = _UNSAFE.sub("_", picture.stem).strip() or "picture"
        name, count = stem, 1
        while (folder, _composed(name).lower()) in self._taken:
            count += 1
            name = f"{stem}-{count}"
        self._taken.add((folder, _composed(name).lower()))
        suffix = picture.suffix if picture.suffix.lower() in PICTURE_SUFFIXES else ".jpg"
        target = folder / (name + suffix)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _link(picture, target)
        except OSError as e:
            raise DataError(f"{picture} cannot be laid into {folder}: {e.strerror or e}.") from e
        return target


def upright_size(picture: Path) -> tuple[int, int]:
    """Width and height of a picture as people see it; only its header is decoded.

    Raises:
        DataError: it is not there, or no picture.
    """
    try:
        with open_image(picture.read_bytes()) as image:
            lies = exif_orientation(image) in _LYING
            return (image.height, image.width) if lies else (image.width, image.height)
    except OSError as e:
        raise DataError(f"{picture} cannot be read: {e.strerror or e}.") from e


def _link(picture: Path, target: Path) -> None:
    try:
        os.link(picture.resolve(), target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(picture, target)


def _composed(name: str) -> str:
    """One spelling of accented letters, of which file systems and archives have two."""
    return unicodedata.normalize("NFC", name)
