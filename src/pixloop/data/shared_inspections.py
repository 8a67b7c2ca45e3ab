"""Inspections that other machines have made, so that many can check the pictures of one data set.

::

    inspections/
      <host>.parquet        what one machine has found: a row a picture
      upright/<sha256>      pictures that EXIF turns, upright

An inspection is believed only of a file with the same content and suffix, inspected under the
same settings: names and times mean nothing, since they differ from machine to machine.
"""

import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.data.check import MAX_FILE_BYTES
from pixloop.data.formats.layout import PICTURE_SUFFIXES, walk
from pixloop.data.index import Entry, FileState, Index, storable
from pixloop.data.inspection import (
    UPRIGHT,
    cores,
    inspect_queued,
    inspection_settings,
    open_index,
    queue_changed,
)
from pixloop.files import atomic_path, sha256_file
from pixloop.progress import progress

_SETTINGS = b"pixloop.inspection"
#: What the index knows of a file's content.
_FACTS = {
    "usable": pa.int8(),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "mode": pa.string(),
    "orientation": pa.int8(),
    "dhash": pa.binary(),
    "thumbnail": pa.binary(),
    "colours": pa.binary(),
    "findings": pa.string(),
}
#: ``upright`` is the SHA-256 of the picture turned upright, where it was.
_COLUMNS = {"sha256": pa.string(), "suffix": pa.string(), **_FACTS, "upright": pa.string()}
_BATCH = 1000
_SELECTED = ", ".join(_FACTS)

_log = logging.getLogger(__name__)


def inspect_share(
    folders: Sequence[Path], output: Path, work: Path, max_pixels: int, host: str
) -> None:
    """Inspect the pictures below some folders, whatever their labels are.

    Args:
        folders: may be missing, where this machine's share is nothing.
        output: the folder for ``<host>.parquet`` and pictures turned upright.
        work: a folder that outlives a kill; the next run with it resumes.
        max_pixels: pictures with more are not decoded.
        host: this machine's name.

    Raises:
        DataError: the index cannot be used, or a disk is full.
    """
    with open_index(work, max_pixels) as index:
        index.add_samples(_entries(folders))
        queue_changed(index, work / UPRIGHT)
        inspect_queued(index, work / UPRIGHT, max_pixels)
        _write(index, output / f"{host}.parquet", work / UPRIGHT, max_pixels)
        _keep_upright(index, work / UPRIGHT, output / UPRIGHT)


def take_over(index: Index, inspections: Path, upright: Path, max_pixels: int) -> None:
    """Of the files that are queued in the index, take over what is known of their content.

    What is not known, damaged or of other settings stays queued.
    """
    _load(index, inspections, inspection_settings(max_pixels))
    with (
        progress("recognising pictures", index.count_queued()) as advance,
        ThreadPoolExecutor(cores()) as pool,
    ):
        queued = index.queued()
        while batch := list(itertools.islice(queued, _BATCH)):
            digests = pool.map(_digest, batch)
            for state, sha256 in zip(batch, digests, strict=True):
                if sha256 is not None:
                    _take_one(index, state, sha256, inspections / UPRIGHT, upright)
            index.db.commit()
            advance(len(batch))
    index.forget_recorded()


def _entries(folders: Sequence[Path]) -> Iterator[Entry]:
    for folder in folders:
        if not folder.is_dir():
            continue
        for file in walk(folder):
            # A file without a suffix may be a picture too, as class folders have it.
            if file.suffix.lower() in PICTURE_SUFFIXES | {""}:
                path = storable(os.path.abspath(file))  # noqa: PTH100 (resolves no links)
                yield Entry(storable(file.name), path, None, "train", "")


def _write(index: Index, target: Path, upright: Path, max_pixels: int) -> None:
    """Write what the index knows, in the order of the hashes: equal knowledge, equal bytes."""
    index.index_hashes()
    metadata = {_SETTINGS: inspection_settings(max_pixels).encode()}
    schema = pa.schema(list(_COLUMNS.items()), metadata)
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        rows = _rows(index, upright)
        while batch := list(itertools.islice(rows, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _rows(index: Index, upright: Path) -> Iterator[dict[str, Any]]:
    found = index.db.execute(
        f"SELECT sha256, path, {_SELECTED} FROM files"  # noqa: S608
        " WHERE path IN (SELECT path FROM samples) AND sha256 != '' ORDER BY sha256, path"
    )
    for sha256, group in itertools.groupby(found, key=lambda row: row[0]):
        by_suffix = {_suffix(path): facts for _, path, *facts in group}
        for suffix, facts in sorted(by_suffix.items(), key=lambda item: item[0]):
            row = {"sha256": sha256, "suffix": suffix, **dict(zip(_FACTS, facts, strict=True))}
            turned = _is_turned(row["orientation"])
            yield {**row, "upright": sha256_file(upright / sha256) if turned else None}


def _keep_upright(index: Index, work: Path, output: Path) -> None:
    for (sha256,) in index.db.execute(
        "SELECT DISTINCT sha256 FROM files WHERE orientation != 1"
        " AND path IN (SELECT path FROM samples)"
    ):
        with atomic_path(output / sha256) as temporary:
            shutil.copyfile(work / sha256, temporary)


def _load(index: Index, inspections: Path, settings: str) -> None:
    """Fill the table ``elsewhere`` with the inspections of these settings."""
    columns = ", ".join(_COLUMNS)
    index.db.execute(f"CREATE TEMP TABLE elsewhere ({columns}, PRIMARY KEY (sha256, suffix))")
    marks = ", ".join("?" * len(_COLUMNS))
    for file in sorted(inspections.glob("*.parquet")):
        try:
            parquet = pq.ParquetFile(file)
            if (parquet.schema_arrow.metadata or {}).get(_SETTINGS) != settings.encode():
                continue
            for batch in parquet.iter_batches(_BATCH, columns=list(_COLUMNS)):
                index.db.executemany(
                    f"INSERT OR IGNORE INTO elsewhere VALUES ({marks})",  # noqa: S608
                    (tuple(row.values()) for row in batch.to_pylist()),
                )
        except (pa.ArrowException, OSError) as e:
            _log.warning("%s cannot be read, so its pictures are checked again: %s", file, e)
    index.db.commit()


def _take_one(index: Index, state: FileState, sha256: str, theirs: Path, ours: Path) -> None:
    key = (sha256, _suffix(state.path))
    known = index.db.execute(
        "SELECT orientation, upright FROM elsewhere WHERE sha256 = ? AND suffix = ?", key
    ).fetchone()
    if known is None:
        return
    orientation, turned = known
    if _is_turned(orientation) and not _take_upright(theirs / sha256, ours / sha256, turned):
        return
    index.db.execute(
        f"INSERT OR REPLACE INTO files (path, size, mtime_ns, sha256, {_SELECTED})"  # noqa: S608
        f" SELECT ?, ?, ?, sha256, {_SELECTED} FROM elsewhere WHERE sha256 = ? AND suffix = ?",
        (*state, *key),
    )


def _take_upright(theirs: Path, ours: Path, sha256: str | None) -> bool:
    """Copy a picture turned upright, if it is the one that was written; says whether it is."""
    try:
        content = theirs.read_bytes()
    except OSError:
        return False
    if hashlib.sha256(content).hexdigest() != sha256:
        return False
    with atomic_path(ours) as temporary:
        temporary.write_bytes(content)
    return True


def _digest(state: FileState) -> str | None:
    """The SHA-256 of a file that can be read and is not too large to be, else None."""
    try:
        return sha256_file(Path(state.path)) if state.size <= MAX_FILE_BYTES else None
    except OSError:
        return None


def _is_turned(orientation: int | None) -> bool:
    return orientation is not None and orientation != 1


def _suffix(path: str) -> str:
    """What of its name an inspection depends on: whether it fits the content."""
    return PurePath(path).suffix.lower()
