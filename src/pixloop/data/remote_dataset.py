"""A prepared data set on S3: what it says of itself, where its shards are, and a note of it.

A *note* is a folder that stands for the data set where a folder is needed, such as the input of a
pipeline's step: dataset.json and the other small files of the data set, and its address. Shards
are fetched from there as they are read::

    note/
      dataset.json  data_report.json …     copies
      address.txt                          s3://bucket/prefix
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pixloop.data.buckets import open_filesystem
from pixloop.data.dataset_info import MANIFEST, DatasetInfo, Shard, parse_info
from pixloop.data.remote_shards import RemoteShard, RemoteShards
from pixloop.data.shard_cache import shard_cache
from pixloop.errors import DataError, SourceError
from pixloop.files import atomic_path

ADDRESS = "address.txt"
_PREFIX = "s3://"
#: What a data set may have besides dataset.json and its shards; a note has it too.
SMALL_FILES = (
    "data_report.json",
    "quarantine.jsonl",
    "quarantine_boxes.jsonl",
    "annotations.jsonl",
    "settings.json",
)

T = TypeVar("T")


def remote_address(place: Path | str) -> str | None:
    """The address that a place is, without a slash at its end; None where it is a path.

    >>> remote_address("s3://bucket/digits/"), remote_address(Path("s3://bucket/digits"))
    ('s3://bucket/digits', 's3://bucket/digits')
    >>> remote_address("digits")
    """
    text = str(place)
    if not text.startswith("s3:/"):
        return None
    return _PREFIX + text.removeprefix("s3:/").strip("/")  # a Path has made one slash of two


def noted_address(folder: Path) -> str | None:
    """The address in a note; None where the folder is none.

    Raises:
        DataError: it is no address on S3.
    """
    try:
        text = (folder / ADDRESS).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if not text.startswith(_PREFIX):
        raise DataError(f"{folder / ADDRESS} says {text!r}: expected an address like s3://b/data.")
    return text


@dataclass(frozen=True)
class RemoteFiles:
    """The shards at an address, as they were listed: name → size in bytes, and ETag."""

    address: str
    found: dict[str, tuple[int, str]]

    def shards(self, wanted: list[Shard]) -> RemoteShards:
        """Some of them, for reading.

        Raises:
            DataError: PIXLOOP_SHARD_CACHE_GB is no number.
        """
        listed = [
            RemoteShard(f"{self.address}/{shard.file}", *self.found[shard.file], shard.rows)
            for shard in wanted
        ]
        return RemoteShards(listed, shard_cache())


def open_remote(address: str, noted: DatasetInfo | None = None) -> tuple[DatasetInfo, RemoteFiles]:
    """What the data set at an address says of itself, and its shards, in one listing.

    Args:
        address: without a slash at its end.
        noted: what a note says that is there.

    Raises:
        DataError: there is no data set, or it is incomplete, damaged, of a newer pixloop, or not
            the one that was noted.
        SourceError: it cannot be read.
    """
    file = f"{address}/{MANIFEST}"
    found = _asked(address, lambda files: (files.cat_file(file), files.find(address, detail=True)))
    if found is None:
        raise _no_data_set(address)
    content, listed = found
    info = parse_info(content, file)
    if noted not in (None, info):
        raise DataError(
            f"{address} holds another data set than when this run began. Run again to use it."
        )
    key = address.removeprefix(_PREFIX)
    shards: dict[str, tuple[int, str]] = {}
    for shard in info.shards:
        entry = listed.get(f"{key}/{shard.file}")
        if entry is None:
            raise DataError(f"{address} is incomplete: {shard.file} is missing.")
        shards[shard.file] = entry["size"], entry["ETag"]
    return info, RemoteFiles(address, shards)


def is_prepared(address: str) -> bool:
    """Whether there is a prepared data set at an address.

    Raises:
        SourceError: nobody can tell: no access, no network, or s3fs is not installed.
    """
    return bool(_asked(address, lambda files: files.isfile(f"{address}/{MANIFEST}")))


def write_note(address: str, folder: Path) -> Path:
    """Make ``folder`` a note of the data set at ``address``.

    What is unchanged is not written again, so that a run's cache knows the folder.

    Raises:
        DataError: there is no data set.
        SourceError: it cannot be read.
    """
    names = (ADDRESS, *SMALL_FILES, MANIFEST)
    contents = _asked(address, lambda files: _read(files, address, names[1:])) or {}
    if MANIFEST not in contents:
        raise _no_data_set(address)
    parse_info(contents[MANIFEST], f"{address}/{MANIFEST}")
    contents[ADDRESS] = f"{address}\n".encode()
    for name in names:  # what makes a folder a data set comes last
        if name in contents:
            _write_new(folder / name, contents[name])
        else:
            (folder / name).unlink(missing_ok=True)
    return folder


def _read(files: Any, address: str, names: Sequence[str]) -> dict[str, bytes]:
    """Of some files those that there are."""
    contents: dict[str, bytes] = {}
    for name in names:
        with suppress(FileNotFoundError):
            contents[name] = files.cat_file(f"{address}/{name}")
    return contents


def _no_data_set(address: str) -> DataError:
    return DataError(f"{address} is no data set: it has no {MANIFEST}.")


def _write_new(target: Path, content: bytes) -> None:
    if not target.exists() or target.read_bytes() != content:
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)


def _asked(address: str, ask: Callable[[Any], T]) -> T | None:
    """What S3 answers; None where there is nothing."""
    try:
        return ask(open_filesystem())
    except FileNotFoundError:
        return None
    except SourceError as e:
        raise SourceError(f"{address}: {e}") from e
    except PermissionError as e:
        raise SourceError(
            f"{address}: no access ({e}). It needs s3:GetObject and s3:ListBucket."
        ) from e
    except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
        raise SourceError(f"{address} cannot be read: {e}") from e
