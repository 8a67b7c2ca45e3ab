"""S3: prefixes, single objects, and the pictures that a manifest names there."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pixloop.data.archives import safe_path
from pixloop.data.formats.layout import MANIFEST_SUFFIXES
from pixloop.data.formats.manifest import (
    REFERENCE_KEYS,
    LocalFiles,
    read_entry,
    read_lines,
    reference,
)
from pixloop.errors import DataError, SourceError
from pixloop.files import atomic_path, write_text
from pixloop.progress import progress

_AT_ONCE = 64
_BLOCK = 1_000_000

#: An object's address, where it goes, and its size (None where it was not listed).
Wanted = tuple[str, Path, int | None]


def fetch_objects(uri: str, folder: Path) -> Path:
    """Fetch the object or everything below the prefix ``uri`` into ``folder``.

    An object that is there already is not fetched again.

    Returns:
        The object's file, or ``folder`` for a prefix.

    Raises:
        SourceError: there is nothing, it cannot be read, or s3fs is not installed.
    """
    files = open_filesystem()
    key = uri.removeprefix("s3://").rstrip("/")
    try:
        if not uri.endswith("/") and files.isfile(key):
            target = folder / key.rpartition("/")[2]
            _get_one(files, key, target)
            return target
        if _get(files, _below(files, key, folder, uri), f"fetching {uri}") == 0:
            raise SourceError(f"{uri}: there is no such object or prefix.")
    except SourceError:
        raise
    except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
        raise SourceError(f"{uri} cannot be fetched: {e}") from e
    return folder


def fetch_references(manifest: Path, folder: Path) -> Path:
    """Fetch what a manifest names on S3 and does not have beside it.

    Returns:
        The manifest itself where nothing is missing; else one in ``folder`` that names the
        fetched pictures by their place there, and the others by their full path.

    Raises:
        SourceError: an object cannot be fetched, or s3fs is not installed.
    """
    if manifest.suffix.lower() not in MANIFEST_SUFFIXES or not any(_missing(manifest)):
        return manifest
    files = open_filesystem()
    wanted = ((address[5:], _place(address, folder), None) for address in _missing(manifest))
    try:
        _get(files, wanted, f"fetching pictures of {manifest.name}")
    except SourceError:
        raise
    except Exception as e:  # as above
        raise SourceError(f"a picture of {manifest} cannot be fetched: {e}") from e
    local = folder / manifest.name
    with atomic_path(local) as target, target.open("w", encoding="utf-8") as lines:
        find = LocalFiles(manifest.parent.absolute())
        for _, line in read_lines(manifest):
            lines.write(_localised(line, find, folder) + "\n")
    return local


def _localised(line: str, find: LocalFiles, folder: Path) -> str:
    """A line that names its picture by where it was fetched; preparation reports a broken one."""
    try:
        entry = read_entry(line, "")
        written = reference(entry, "")
    except DataError:
        return line.rstrip("\n")
    place = find(written)
    if written.startswith("s3://") and not os.path.isfile(place):  # noqa: PTH113 (no error for an odd name)
        place = _place(written, folder).relative_to(folder)
    key = next(k for k in REFERENCE_KEYS if entry.get(k) == written)
    return json.dumps(entry | {key: place.as_posix()}, ensure_ascii=False)


def _missing(manifest: Path) -> Iterator[str]:
    find = LocalFiles(manifest.parent)
    for _, line in read_lines(manifest):
        try:
            written = reference(read_entry(line, ""), "")
        except DataError:
            continue
        if written.startswith("s3://") and not os.path.isfile(find(written)):  # noqa: PTH113 (as above)
            yield written


def _place(address: str, folder: Path) -> Path:
    return safe_path(folder / "objects", address.removeprefix("s3://"), "the manifest")


def _below(files: Any, prefix: str, folder: Path, uri: str) -> Iterator[Wanted]:
    for _, _, found in files.walk(prefix, detail=True):
        for info in found.values():
            relative = info["name"].removeprefix(prefix).lstrip("/")
            if relative and not info["name"].endswith("/"):
                yield info["name"], safe_path(folder, relative, uri), info["size"]


def _get(files: Any, wanted: Iterable[Wanted], description: str) -> int:
    """Fetch objects, some at once, each to a ``.part`` that is renamed; how many there are."""
    count = 0
    wanted = iter(wanted)
    with progress(description) as advance:
        while batch := list(itertools.islice(wanted, _AT_ONCE)):
            fresh = {key: target for key, target, size in batch if not _is_there(target, size)}
            parts = {key: target.with_name(target.name + ".part") for key, target in fresh.items()}
            for part in parts.values():
                part.parent.mkdir(parents=True, exist_ok=True)
            if parts:
                files.get(list(parts), [str(part) for part in parts.values()])
            for key, part in parts.items():
                part.replace(fresh[key])
            count += len(batch)
            advance(len(batch))
    return count


def _get_one(files: Any, key: str, target: Path) -> None:
    """Fetch an object that may be large: goes on in its ``.part`` while it is the same object."""
    part = target.with_name(target.name + ".part")
    note = part.with_name(part.name + ".etag")
    info = files.info(key)
    if _is_there(target, info["size"]):
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text(encoding="utf-8") != info["ETag"]:
        part.unlink(missing_ok=True)
        write_text(note, info["ETag"])
    with (
        progress(f"fetching {target.name} (MB)", info["size"] // _BLOCK) as advance,
        files.open(key, "rb", block_size=_BLOCK * 8, cache_type="readahead") as remote,
        part.open("ab") as file,
    ):
        remote.seek(file.tell())
        advance(file.tell() // _BLOCK)
        while block := remote.read(_BLOCK):
            file.write(block)
            advance()
    part.replace(target)
    note.unlink()


def _is_there(target: Path, size: int | None) -> bool:
    return target.is_file() and (size is None or target.stat().st_size == size)


def open_filesystem() -> Any:
    """S3 as s3fs sees it; it works in the process that opened it, and in no fork of it.

    Raises:
        SourceError: s3fs is not installed.
    """
    try:
        import s3fs  # type: ignore[import-untyped, unused-ignore]  # an extra
    except ImportError as e:
        raise SourceError("s3:// needs s3fs: pip install 'pixloop[s3]'.") from e
    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
