"""S3: prefixes, single objects, and the pictures that a manifest names there."""

import filecmp
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pixloop.data.archives import safe_path
from pixloop.data.fetched_objects import FetchedObjects, fetched_objects
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


class Wanted(NamedTuple):
    """An object, and where it goes. What was not listed has neither size nor ETag."""

    key: str  #: bucket/key
    target: Path
    size: int = 0
    etag: str = ""


def fetch_objects(uri: str, folder: Path) -> Path:
    """Fetch the object or everything below the prefix ``uri`` into ``folder``.

    An object that is there already, in the version that S3 has, is not fetched again. What an
    earlier call has fetched and S3 has no more is deleted.

    Returns:
        The object's file, or ``folder`` for a prefix.

    Raises:
        SourceError: there is nothing, it cannot be read, or s3fs is not installed.
        DataError: what has come cannot be noted, or a disk is full.
    """
    files = open_filesystem()
    key = uri.removeprefix("s3://").rstrip("/")
    try:
        with fetched_objects(folder) as fetched:
            if not uri.endswith("/") and files.isfile(key):
                target = folder / key.rpartition("/")[2]
                _get_one(files, key, target, fetched)
                return target
            if not _get_below(files, key, folder, uri, fetched):
                raise SourceError(f"{uri}: there is no such object or prefix.")
    except DataError:
        raise
    except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
        raise SourceError(f"{uri} cannot be fetched: {e}") from e
    return folder


def fetch_references(manifest: Path, folder: Path) -> Path:
    """Fetch what a manifest names on S3 and does not have beside it.

    What S3 does not have either is passed over: preparation reports it as missing.

    Returns:
        The manifest itself where nothing is missing; else one in ``folder`` that names the
        fetched pictures by their place there, and the others by their full path.

    Raises:
        SourceError: an object cannot be fetched, or s3fs is not installed.
    """
    if manifest.suffix.lower() not in MANIFEST_SUFFIXES or not any(_missing(manifest)):
        return manifest
    files = open_filesystem()
    wanted = (Wanted(address[5:], _place(address, folder)) for address in _missing(manifest))
    for _ in _get(files, wanted, _is_file, f"fetching pictures of {manifest.name}"):
        pass
    local = folder / manifest.name
    with atomic_path(local) as target:
        with target.open("w", encoding="utf-8") as lines:
            find = LocalFiles(manifest.parent.absolute())
            for _, line in read_lines(manifest):
                lines.write(_localised(line, find, folder) + "\n")
        if local.is_file() and filecmp.cmp(target, local, shallow=False):
            # Its time of change stays as well, by which the step Prepare knows what it has read.
            shutil.copystat(local, target)
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


def _get_below(files: Any, prefix: str, folder: Path, uri: str, fetched: FetchedObjects) -> bool:
    """Fetch everything below a prefix; says whether there is something."""

    def is_here(one: Wanted) -> bool:
        return fetched.has(one.target, one.size, one.etag)

    found = False
    for one in _get(files, _below(files, prefix, folder, uri), is_here, f"fetching {uri}"):
        fetched.note(one.target, one.etag)
        found = True
    if found:
        fetched.remove_unseen()
    return found


def _below(files: Any, prefix: str, folder: Path, uri: str) -> Iterator[Wanted]:
    bucket, key, _ = files.split_path(prefix)
    start = f"{key}/" if key else ""
    for item in list_objects(files, bucket, start):
        relative = item["Key"].removeprefix(start).lstrip("/")
        if relative and not relative.endswith("/"):
            target = safe_path(folder, relative, uri)
            yield Wanted(f"{bucket}/{item['Key']}", target, item["Size"], item["ETag"])


def list_objects(
    files: Any, bucket: str, prefix: str, delimiter: str = ""
) -> Iterator[dict[str, Any]]:
    """What is below a prefix, as S3 tells it, a page of a thousand at a time.

    s3fs's own listings hold all of it, and its walk passes over a folder that cannot be listed.

    Args:
        files: of ``open_filesystem``.
        bucket: its name.
        prefix: how keys begin.
        delimiter: what is below the next one in a key is left out.

    Raises:
        SourceError: it cannot be listed to its end.
    """
    more = {"Delimiter": delimiter} if delimiter else {}
    while True:
        try:
            page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
            raise SourceError(f"s3://{bucket}/{prefix} cannot be listed: {e}") from e
        yield from page.get("Contents", ())
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]


def _get(
    files: Any, wanted: Iterable[Wanted], is_here: Callable[[Wanted], bool], description: str
) -> Iterator[Wanted]:
    """Fetch objects that are not here, some at once; gives all but those that are nowhere."""
    wanted = iter(wanted)
    with progress(description) as advance, ThreadPoolExecutor(_AT_ONCE) as pool:
        while batch := list(itertools.islice(wanted, _AT_ONCE)):
            fresh = {one.target: one for one in batch if not is_here(one)}
            yield from (one for one in batch if one.target not in fresh)
            came = pool.map(partial(_fetch, files), fresh.values())
            yield from (one for one, is_there in zip(fresh.values(), came, strict=True) if is_there)
            advance(len(batch))


def _fetch(files: Any, one: Wanted) -> bool:
    """Fetch an object to a ``.part`` that is renamed; says whether there is one.

    Raises:
        SourceError: it cannot be fetched; the message names it.
    """
    part = one.target.with_name(one.target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(one.key, str(part))
        part.replace(one.target)
    except FileNotFoundError:
        return False
    except Exception as e:  # as above
        raise SourceError(f"s3://{one.key} cannot be fetched: {e}") from e
    return True


def _get_one(files: Any, key: str, target: Path, fetched: FetchedObjects) -> None:
    """Fetch an object that may be large: goes on in its ``.part`` while it is the same object."""
    part = target.with_name(target.name + ".part")
    note = part.with_name(part.name + ".etag")
    info = files.info(key)
    if fetched.has(target, info["size"], info["ETag"]):
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
    fetched.note(target, info["ETag"])
    note.unlink()


def _is_file(one: Wanted) -> bool:
    return os.path.isfile(one.target)  # noqa: PTH113 (no error for an odd name)


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
