"""Extracting zip and tar files that strangers made.

Nothing lands outside the folder; links, devices and encrypted members are refused; and an archive
that unpacks to much more than it is gets stopped on the way.
"""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pixloop.errors import SourceError
from pixloop.progress import progress

MAX_FILES = 10_000_000
# Pictures hardly compress; label files may by a factor of ten or twenty.
MAX_RATIO = 200
RATIO_FREE_BYTES = 1_000_000_000
MAX_BYTES = 4_000_000_000_000
_BLOCK = 1 << 20

_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, NotImplementedError, RuntimeError, ValueError),
)

Member = tuple[str, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is, by its content, a zip or a tar (plain, gz, bz2 or xz)."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def extract(archive: Path, folder: Path) -> None:
    """Extract a zip or tar to ``folder``, which appears only when all of it is there.

    What a killed extraction left beside ``folder`` is removed first.

    Raises:
        SourceError: the archive is damaged, is none, or holds what it should not; the message
            names the member.
    """
    partial = folder.with_name(folder.name + ".part")
    for old in (partial, folder):
        if old.exists():
            shutil.rmtree(old)
    partial.mkdir(parents=True)
    try:
        with progress(f"extracting {archive.name}") as advance:
            left = _allowed_bytes(archive)
            for number, (name, content) in enumerate(_members(archive)):
                if number >= MAX_FILES:
                    raise SourceError(f"{archive} holds more than {MAX_FILES} files.")
                with content:
                    left -= _write(content, safe_path(partial, name, archive), left, archive)
                advance()
    except _BROKEN as e:
        raise SourceError(f"{archive} cannot be extracted: {e}") from e
    partial.replace(folder)


def safe_path(folder: Path, name: str, origin: object) -> Path:
    """Where a member called ``name`` goes below ``folder``.

    Raises:
        SourceError: the name leads elsewhere.

    >>> safe_path(Path("/data"), "cat/./1.jpg", "a.zip").as_posix()
    '/data/cat/1.jpg'
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    # POSIX keeps two leading slashes apart from one; both lead to the root.
    if not parts or parts[0].startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|.*\0", name):
        raise SourceError(f"{origin} holds {name!r}, which would land outside its folder.")
    return folder.joinpath(*parts)


def _members(archive: Path) -> Iterator[Member]:
    """Each file's name and open content, in the order of the archive."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    elif tarfile.is_tarfile(archive):
        yield from _tar_members(archive)
    else:
        raise SourceError(f"{archive} is no zip or tar file.")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            # Systems without modes leave the type's bits empty.
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise SourceError(f"{archive} holds {info.filename!r}, a link or a device.")
            if not info.is_dir():
                yield info.filename, file.open(info)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as file:
        while (info := file.next()) is not None:
            # tarfile remembers every member, and there may be millions.
            file.members = []  # type: ignore[attr-defined]  # typeshed leaves it out
            if info.isdir():
                continue
            content = file.extractfile(info) if info.isfile() else None
            if content is None:
                raise SourceError(f"{archive} holds {info.name!r}, a link or a device.")
            yield info.name, content
        # Only the end of a compressed stream shows that all of it was right.
        while file.fileobj is not None and file.fileobj.read(_BLOCK):
            pass


def _write(content: IO[bytes], target: Path, left: int, archive: Path) -> int:
    """Write a member and return its size; what the archive says of the size is not believed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as file:
        while block := content.read(_BLOCK):
            size += len(block)
            if size > left:
                raise SourceError(
                    f"{archive} unpacks to more than {_allowed_bytes(archive)} bytes, far more"
                    " than its own size allows. If it is right, extract it yourself and give the"
                    " folder."
                )
            file.write(block)
    return size


def _allowed_bytes(archive: Path) -> int:
    return min(MAX_BYTES, max(RATIO_FREE_BYTES, MAX_RATIO * archive.stat().st_size))
