"""Inspecting many files on all cores, in bounded memory, surviving whatever they do."""

import functools
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from pixloop.data import check
from pixloop.data.check import MAX_FILE_BYTES, Inspection, inspect
from pixloop.data.index import FileState, Index
from pixloop.data.sqlite_faults import faults_told
from pixloop.errors import DataError
from pixloop.files import atomic_path
from pixloop.progress import progress
from pixloop.records import Finding

#: The folder for pictures turned upright, below that of the index.
UPRIGHT = "upright"

_CHUNK = 32
# Other processes take a second or two to start: what is done by then needs none.
_ALONE_S = 2.0
#: Lies beside the folder for upright pictures meanwhile. Who finds it knows how the last run ended.
_ALONE = "alone"

Inspected = list[tuple[FileState, Inspection]]
#: From files, max_pixels and the folder for upright pictures to what is found, as it is found.
InspectAll = Callable[[Iterable[FileState], int, Path], Iterator[Inspected]]


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def open_index(work: Path, max_pixels: int) -> Iterator[Index]:
    """The index in the folder ``work``, which forgets what other settings have found.

    Raises:
        DataError: it cannot be used, turns out to be damaged, or a disk is full.
    """
    path = work / "index.sqlite"
    with (
        faults_told(path),
        closing(Index.open(path, inspection_settings(max_pixels))) as index,
    ):
        yield index


def inspection_settings(max_pixels: int) -> str:
    """What an inspection depends on besides a file's name and content."""
    return f"{check.VERSION} {max_pixels}"


def queue_changed(index: Index, upright: Path) -> None:
    """Queue, of the files that the samples name, those that are new or not as they were."""
    index.queue(_changed(index, upright))


def inspect_queued(
    index: Index, upright: Path, max_pixels: int, inspect_all: InspectAll | None = None
) -> None:
    """Inspect what is queued, and keep in the index what is found.

    Args:
        index: with a queue.
        upright: the folder for pictures that EXIF turns.
        max_pixels: pictures with more are not decoded.
        inspect_all: who inspects them; this machine's cores unless it is given.
    """
    inspect_all = inspect_all or _on_all_cores
    with progress("checking pictures", index.count_queued()) as advance:
        for inspected in inspect_all(index.queued(), max_pixels, upright):
            # A file that could not be opened is no lasting knowledge: it may be there next time.
            index.record(
                (state, inspection)
                for state, inspection in inspected
                if not any(f.kind == "missing_file" for f in inspection.findings)
            )
            advance(len(inspected))


def _on_all_cores(
    files: Iterable[FileState], max_pixels: int, upright: Path
) -> Iterator[Inspected]:
    return inspect_files(files, max_pixels, upright, cores())


def inspect_files(
    files: Iterable[FileState], max_pixels: int, upright: Path, workers: int
) -> Iterator[Inspected]:
    """Inspect files and yield the results in chunks, in no order.

    Pictures that EXIF turns are written upright to the folder ``upright``, named by their SHA-256.
    A file that kills the process that reads it is found out, and called corrupt. In the first two
    seconds that is this process: then it is found out in the next run, which begins with others.

    Raises:
        DataError: no other process can be started; that is no picture's fault.
    """
    chunks = _chunks(iter(files))
    mark = upright.with_name(_ALONE)
    if not mark.exists():
        yield from _alone(chunks, max_pixels, upright, mark)
    chunk = next(chunks, None)
    if chunk is not None:
        yield from _in_processes(itertools.chain([chunk], chunks), max_pixels, upright, workers)
    mark.unlink(missing_ok=True)


def _alone(
    chunks: Iterator[list[FileState]], max_pixels: int, upright: Path, mark: Path
) -> Iterator[Inspected]:
    """Inspect files in this process for two seconds; ``mark`` stays where it dies of one."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        start = time.monotonic()
        while time.monotonic() - start < _ALONE_S:
            chunk = next(chunks, None)
            if chunk is None:
                return
            yield inspect_chunk(chunk, max_pixels, upright)
    finally:
        mark.unlink(missing_ok=True)


def inspect_safely(files: list[FileState], max_pixels: int) -> Iterator[Inspected]:
    """Inspect some files in another process, which stays for the next ones while it lives.

    Pictures turned upright are in what is found. A file that kills the process is called corrupt.
    """
    try:
        yield _submit(_other_process(), files, max_pixels, None).result()
        return
    except BrokenProcessPool:
        _other_process.cache_clear()
    _refuse_where_none_starts()
    yield from _inspect_apart(files, max_pixels, None)


def inspect_chunk(files: list[FileState], max_pixels: int, upright: Path | None) -> Inspected:
    """Inspect some files, one after the other.

    Pictures turned upright go to the folder ``upright``; without one they are in what is returned.
    """
    found = ((file, _look_at(file, max_pixels)) for file in files)
    return [(f, keep_upright(each, upright) if upright else each) for f, each in found]


def _look_at(file: FileState, max_pixels: int) -> Inspection:
    if file.size > MAX_FILE_BYTES:
        detail = f"the file has {file.size} bytes; at most {MAX_FILE_BYTES} are read"
        return Inspection("", None, (Finding("too_large", detail),))
    try:
        data = Path(file.path).read_bytes()
    except OSError as e:
        return Inspection("", None, (Finding("missing_file", e.strerror or str(e)),))
    return inspect(data, file.path, max_pixels)


def keep_upright(inspection: Inspection, upright: Path) -> Inspection:
    """Move the picture turned upright, where there is one, to the folder ``upright``."""
    if inspection.upright is None:
        return inspection
    with atomic_path(upright / inspection.sha256) as target:
        target.write_bytes(inspection.upright)
    return replace(inspection, upright=None)


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


def _inspect_apart(
    chunk: list[FileState], max_pixels: int, upright: Path | None
) -> Iterator[Inspected]:
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


@functools.cache
def _other_process() -> ProcessPoolExecutor:
    return _pool(1)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the caller may hold threads, and torch's do not survive a fork.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _submit(
    pool: ProcessPoolExecutor, chunk: list[FileState], max_pixels: int, upright: Path | None
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
