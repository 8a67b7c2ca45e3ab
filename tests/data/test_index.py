"""The index at scale: what it costs does not grow faster than the pictures."""

import hashlib
from pathlib import Path

import numpy as np

from pixloop.config import DataConfig
from pixloop.data.check import Facts, Inspection
from pixloop.data.findings import write_report
from pixloop.data.index import Entry, FileState, Index
from pixloop.data.rules import apply_rules
from pixloop.records import Finding

_CHUNK = 32


def filled(folder: Path, count: int) -> tuple[Index, int]:
    """An index as it is when ``count`` files have been inspected; how large its log has grown."""
    index = Index.open(folder / "index.sqlite", "settings")
    index.add_samples(
        Entry(f"{i % 10}/{i:06}.jpg", f"/pictures/{i % 10}/{i:06}.jpg", str(i % 10), "train", "")
        for i in range(count)
    )
    index.queue(FileState(path, 3000, 0) for path, _, _ in index.files())
    log, largest = folder / "index.sqlite-wal", 0
    chunk: list[tuple[FileState, Inspection]] = []
    for number, state in enumerate(index.queued()):
        chunk.append((state, found_in(number)))
        if len(chunk) == _CHUNK:
            index.record(chunk)
            largest, chunk = max(largest, log.stat().st_size), []
    index.record(chunk)
    return index, largest


def found_in(number: int) -> Inspection:
    """What is found in a picture: of a hundred one is corrupt, one a copy, one a near-copy."""
    kind = number % 100
    sha256 = hashlib.sha256(str(number - (kind == 10)).encode()).hexdigest()
    if kind == 20:
        return Inspection(sha256, None, (Finding("corrupt", "it ends too early"),))
    random = np.random.default_rng(number - (kind == 30))
    pixels = random.integers(0, 256, 256, np.uint8).tobytes()
    dhash = int(random.integers(0, 2**63))
    grey, square = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
    return Inspection(sha256, Facts(96, 96, "JPEG", "RGB", 1, dhash, pixels, grey, square))


def decided(folder: Path, count: int) -> int:
    """Apply the rules and write the report; how many thousand steps SQLite took."""
    index, _ = filled(folder, count)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    index.db.set_progress_handler(step, 1000)
    apply_rules(index, DataConfig(train="pictures"), "classification", folder)
    report = write_report(index, folder, "classification")
    index.close()
    kinds = {finding["kind"]: finding["count"] for finding in report["findings"]}
    assert kinds["near_duplicate"] == kinds["corrupt"] == count // 100
    return steps


def test_deciding_about_four_times_the_pictures_takes_four_times_the_steps(tmp_path: Path) -> None:
    few, many = decided(tmp_path / "few", 1000), decided(tmp_path / "many", 4000)
    assert many < 4.5 * few


def test_the_log_of_changes_does_not_grow_with_what_is_recorded(tmp_path: Path) -> None:
    index, largest = filled(tmp_path, 6000)
    index.close()
    assert largest < 8_000_000


def test_the_queue_is_read_whole_while_what_it_holds_is_recorded(tmp_path: Path) -> None:
    index, _ = filled(tmp_path, 2500)
    known = dict(index.db.execute("SELECT path, sha256 FROM files"))
    index.close()
    assert len(known) == 2500


def test_files_are_found_by_their_hashes_once_all_are_recorded(tmp_path: Path) -> None:
    index, _ = filled(tmp_path, 1500)
    index.index_hashes()
    plan = index.db.execute("EXPLAIN QUERY PLAN SELECT 1 FROM files WHERE sha256 = 'a'").fetchall()
    index.close()
    assert "files_sha256" in plan[0][-1]
