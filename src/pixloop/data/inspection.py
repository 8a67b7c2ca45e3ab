"""Inspecting many files on all cores, in bounded memory, surviving whatever they do."""

import itertools
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from pixloop.data import check
from pixloop.data.check import MAX_FILE_BYTES, Inspection, inspect
from pixloop.data.index import FileState, Index
from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.progress import progress
from pixloop.records import Finding

#: The folder for pictures turned upright, below that of the index.
UPRIGHT = "upright"

_CHUNK = 32
# Other processes take a second or two to start: what is done by then needs none.
_ALONE_S = 2.0

Inspected = list[tuple[FileState, Inspection]]


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_index(work: Path, max_pixels: int) -> Index:
    """The index in the folder ``work``, which forgets what other settings have found."""
    return Index.open(work / "index.sqlite", inspection_settings(max_pixels))


def inspection_settings(max_pixels: int) -> str:
    """What an inspection depends on besides a file's name and content."""
    return f"{check.VERSION} {max_pixels}"


def queue_changed(index: Index, upright: Path) -> None:
    """Queue, of the files that the samples name, those that are new or not as they were."""
    index.queue(_changed(index, upright))


def inspect_queued(index: Index, upright: Path, max_pixels: int) -> None:
    """Inspect what is queued, and keep in the index what is found."""
    with progress("checking pictures", index.count_queued()) as advance:
        for inspected in inspect_files(index.queued(), max_pixels, upright, cores()):
            # A file that could not be opened is no lasting knowledge: it may be there next time.
            index.record(
                (state, inspection)
                for state, inspection in inspected
                if not any(f.kind == "missing_file" for f in inspection.findings)
            )
            advance(len(inspected))


def inspect_files(
    files: Iterable[FileState], max_pixels: int, upright: Path, workers: int
) -> Iterator[Inspected]:
    """Inspect files and yield the results in chunks, in no order.

    Pictures that EXIF turns are written upright to the folder ``upright``, named by their SHA-256.
    A file that kills the process that reads it is found out, and called corrupt, unless it comes in
    the first two seconds: what is done by then is done in this process.

    Raises:
        DataError: no other process can be started; that is no picture's fault.
    """
    chunks = _chunks(iter(files))
    start = time.monotonic()
    while time.monotonic() - start < _ALONE_S:
        chunk = next(chunks, None)
        if chunk is None:
            return
        yield inspect_chunk(chunk, max_pixels, upright)
    yield from _in_processes(chunks, max_pixels, upright, workers)


def inspect_chunk(files: list[FileState], max_pixels: int, upright: Path) -> Inspected:
    """Inspect some files, one after the other."""
    return [(file, _inspect_file(file, max_pixels, upright)) for file in files]


def _changed(index: Index, upright: Path) -> Iterator[FileState]:
    """The files that are new or not as they were, those that are gone with a size of -1."""
    for path, known, turned in index.files():
        try:
            stat = os.stat(path)  # noqa: PTH116 (once a picture: a Path is not worth its price)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            yield FileState(path, -1, 0)
            continue
        if not S_ISREG(stat.st_mode):  # opening a pipe would wait for ever
            yield FileState(path, -1, 0)
            continue
        now = FileState(path, stat.st_size, stat.st_mtime_ns)
        if now != known or (turned and not (upright / turned).is_file()):
            yield now


def _inspect_file(file: FileState, max_pixels: int, upright: Path) -> Inspection:
    if file.size > MAX_FILE_BYTES:
        detail = f"the file has {file.size} bytes; at most {MAX_FILE_BYTES} are read"
        return Inspection("", None, (Finding("too_large", detail),))
    try:
        data = Path(file.path).read_bytes()
    except OSError as e:
        return Inspection("", None, (Finding("missing_file", e.strerror or str(e)),))
    inspection = inspect(data, file.path, max_pixels)
    if inspection.upright is None:
        return inspection
    with atomic_path(upright / inspection.sha256) as target:
        target.write_bytes(inspection.upright)
    return replace(inspection, upright=None)


def _in_processes(
    chunks: Iterator[list[FileState]], max_pixels: int, upright: Path, workers: int
) -> Iterator[Inspected]:
    broken = True
    while broken:
        broken, running = False, dict[Future[Inspected], list[FileState]]()
        with _pool(workers) as pool:
            try:
                while True:
                    for chunk in itertools.islice(chunks, 3 * workers - len(running)):
                        running[_submit(pool, chunk, max_pixels, upright)] = chunk
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        del running[future]
                        yield result
            except BrokenProcessPool:
                broken = True
        if broken:
            _refuse_where_none_starts()
        for chunk in running.values():
            yield from _inspect_apart(chunk, max_pixels, upright)


def _refuse_where_none_starts() -> None:
    with _pool(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool as e:
            raise DataError(
                "The processes that check pictures cannot be started. Each of them imports the "
                "program that started this one: it must be a file, and what it does must stand "
                "under 'if __name__ == \"__main__\":'."
            ) from e


def _inspect_apart(chunk: list[FileState], max_pixels: int, upright: Path) -> Iterator[Inspected]:
    """Inspect files in a process of their own; when it dies, each half of them in its own."""
    with _pool(1) as pool:
        try:
            yield _submit(pool, chunk, max_pixels, upright).result()
            return
        except BrokenProcessPool:
            pass
    if len(chunk) == 1:
        finding = Finding("corrupt", "it takes down the process that reads it")
        yield [(chunk[0], Inspection("", None, (finding,)))]
        return
    half = len(chunk) // 2
    yield from _inspect_apart(chunk[:half], max_pixels, upright)
    yield from _inspect_apart(chunk[half:], max_pixels, upright)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the caller may hold threads, and torch's do not survive a fork.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _submit(
    pool: ProcessPoolExecutor, chunk: list[FileState], max_pixels: int, upright: Path
) -> Future[Inspected]:
    try:
        return pool.submit(inspect_chunk, chunk, max_pixels, upright)
    except BrokenProcessPool as e:
        # Told like a break while it ran, so that the chunk is not lost.
        future: Future[Inspected] = Future()
        future.set_exception(e)
        return future


def _chunks(files: Iterator[FileState]) -> Iterator[list[FileState]]:
    while chunk := list(itertools.islice(files, _CHUNK)):
        yield chunk
