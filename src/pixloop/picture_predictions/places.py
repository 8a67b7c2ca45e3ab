"""Where pictures lie and answers go: folders here and prefixes on S3, by one small interface.

An address is an absolute path or ``s3://bucket/key``; ``address_of`` makes one of what a person
writes, and ``Stores`` gives what reads and writes there.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import BinaryIO, Protocol

from pixloop.data.formats.layout import entries
from pixloop.errors import ConfigError, DataError, ImageError
from pixloop.files import atomic_path
from pixloop.picture_predictions.sorting import in_order

#: Troubles of the machine or the network, not of one file: a later run may read it.
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOMEM", "EINTR", "EAGAIN", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ENOTCONN", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
}
#: What the system says of names, and of links, at whose end nothing is.
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its address, its size in bytes, and what changes when its content does."""

    address: str
    size: int
    stamp: str


class Store(Protocol):
    """What reads and writes at addresses of one kind. Threads may share one.

    Attributes:
        readers: how many files are read best at the same time.
    """

    readers: int

    def walk(self, place: str, wanted: Callable[[str], bool]) -> Iterator[Found]:
        """The files at ``place`` and below, in the order of their names, in bounded memory.

        Hidden files are passed over, and links to folders. A file that is named itself is given
        without asking ``wanted``, which is told names.

        Raises:
            DataError: there is nothing, or it cannot be read.
        """

    def read(self, file: str) -> bytes:
        """A file's content.

        Raises:
            ImageError: it cannot be read, now or later.
            DataError: a trouble that may pass.
        """

    def open(self, file: str, ahead: int) -> BinaryIO:
        """A file to read here and there; ``ahead``: how many bytes are asked for at once.

        Raises:
            DataError: it cannot be read.
        """

    def stamp(self, file: str) -> str | None:
        """What changes when a file's content does; None where there is no such file.

        Raises:
            DataError: nobody can say.
        """

    def names(self, folder: str) -> set[str]:
        """The names of the files in a folder, which may be missing.

        Raises:
            DataError: it cannot be read.
        """

    def publish(self, local: Path, file: str) -> None:
        """Put a local file there: it appears whole, in the place of what was there.

        Raises:
            DataError: it cannot be written.
        """

    def remove(self, files: Iterable[str]) -> None:
        """Delete files; one that is missing is fine.

        Raises:
            DataError: one cannot be deleted.
        """


def address_of(written: str | Path) -> str:
    """The address of what a person names.

    Raises:
        ConfigError: it is an address of another kind.

    >>> address_of("s3://bucket/pictures/")
    's3://bucket/pictures'
    """
    text = str(written)
    if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
        raise ConfigError(f"{text!a}: the name is no UTF-8. Rename it, or name its folder.")
    if text.startswith("s3://"):
        bucket = text.removeprefix("s3://").partition("/")[0]
        if not bucket:
            raise ConfigError(f"{text} names no bucket; expected s3://bucket/prefix.")
        if "?versionId=" in text:  # s3fs would leave it out
            raise ConfigError(f"{text}: versions of objects cannot be named. Name the object.")
        return text.rstrip("/")
    if "://" in text:
        raise ConfigError(f"{text}: expected a folder, a file or an s3:// address.")
    return os.path.abspath(text)  # noqa: PTH100 (links stay as they are named)


def is_remote(address: str) -> bool:
    """Whether an address is on S3."""
    return address.startswith("s3://")


class Stores:
    """What reads and writes, one for each kind of address, opened when first asked for."""

    def __init__(self) -> None:
        self._folders = Folders()
        self._remote: Store | None = None

    def of(self, address: str) -> Store:
        """What reads and writes there.

        Raises:
            DataError: s3fs, an extra, is missing.
        """
        if not is_remote(address):
            return self._folders
        if self._remote is None:
            # An extra, which takes a second to import.
            from pixloop.picture_predictions.s3 import S3

            self._remote = S3()
        return self._remote


class Folders:
    """The file systems of this machine."""

    readers = 4

    def walk(self, place: str, wanted: Callable[[str], bool]) -> Iterator[Found]:
        """As ``Store``."""
        path = Path(place)
        try:
            status = path.stat()
        except OSError as e:
            raise DataError(f"{place} cannot be read: {e.strerror}.") from e
        if S_ISDIR(status.st_mode):
            yield from _walk(path, wanted)
        else:
            yield _found(place, status)

    def read(self, file: str) -> bytes:
        """As ``Store``."""
        try:
            return Path(file).read_bytes()
        except OSError as e:
            if e.errno in _PASSING:
                raise DataError(f"{file} cannot be read: {e.strerror}.") from e
            reason = f"the file cannot be read: {e.strerror or e}"
            raise ImageError(reason) from e

    def open(self, file: str, ahead: int) -> BinaryIO:
        """As ``Store``."""
        try:
            return Path(file).open("rb")
        except OSError as e:
            raise DataError(f"{file} cannot be read: {e.strerror}.") from e

    def stamp(self, file: str) -> str | None:
        """As ``Store``."""
        try:
            return _found(file, Path(file).stat()).stamp
        except OSError as e:
            if e.errno in _NOWHERE:
                return None
            raise DataError(f"{file} cannot be read: {e.strerror}.") from e

    def names(self, folder: str) -> set[str]:
        """As ``Store``."""
        try:
            with os.scandir(folder) as found:
                return {entry.name for entry in found}
        except OSError as e:
            if e.errno in _NOWHERE:
                return set()
            raise DataError(f"{folder} cannot be read: {e.strerror}.") from e

    def publish(self, local: Path, file: str) -> None:
        """As ``Store``."""
        try:
            with atomic_path(Path(file)) as temporary:
                shutil.copyfile(local, temporary)
        except OSError as e:
            raise DataError(f"{file} cannot be written: {e.strerror}.") from e

    def remove(self, files: Iterable[str]) -> None:
        """As ``Store``."""
        for file in files:
            try:
                Path(file).unlink(missing_ok=True)
            except OSError as e:
                raise DataError(f"{file} cannot be deleted: {e.strerror}.") from e


def _walk(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Found]:
    for name in in_order(entry.name for entry in entries(folder)):
        path = folder / name
        try:
            status = _status(path)
            is_link = S_ISDIR(status.st_mode) and path.is_symlink()
        except FileNotFoundError:
            continue  # deleted meanwhile
        except OSError as e:
            raise DataError(f"{path} cannot be read: {e.strerror}.") from e
        if S_ISDIR(status.st_mode):
            if not is_link:
                yield from _walk(path, wanted)
        # A link to nothing is a picture that cannot be read; pipes and devices are none.
        elif wanted(name) and (S_ISREG(status.st_mode) or S_ISLNK(status.st_mode)):
            yield _found(str(path), status)


def _status(path: Path) -> os.stat_result:
    """Of what a path leads to, in one call; of the link itself where that leads nowhere."""
    try:
        return path.stat()
    except OSError as e:
        if e.errno not in _NOWHERE:
            raise
        return path.lstat()


def _found(address: str, status: os.stat_result) -> Found:
    return Found(address, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")
