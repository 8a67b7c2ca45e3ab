"""What it takes to prepare 10,000, 100,000 and a million pictures: time and memory.

    python benchmarks/prepare/run.py [--sizes 10000,100000,1000000] [--work FOLDER] [--out FOLDER]

The pictures are drawn first. Then ``prepare`` runs in a process of its own, as a step of the
pipeline does, and its memory and that of all its processes is noted every half second. Writes
results.json, RESULTS.md and prepare.png. What was made goes afterwards: a million pictures take
some 5 GB, their data set and index 6 GB more.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from pictures import write_pictures
from report import plot, table

from pixloop.progress import parse_line

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "serving"))  # behind our own, which has a report too
from hardware import describe_hardware  # noqa: E402

_EVERY_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--work", type=Path, help="a folder with room; a temporary one otherwise")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory(dir=given.work, prefix="pixloop-prepare-") as work:
        runs = [_measure(size, Path(work)) for size in sizes]
    results = {"hardware": describe_hardware(), "runs": runs}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(results) + "\n")
    (given.out / "RESULTS.md").write_text(table(results))
    plot(runs, given.out / "prepare.png")
    print(table(results))


def _measure(size: int, work: Path) -> dict[str, Any]:
    """Draw pictures, prepare them, and take everything away again."""
    pictures, made = work / "pictures", work / "made"
    started = time.monotonic()
    write_pictures(pictures, size, len(os.sched_getaffinity(0)))
    print(f"{size:,} pictures drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)
    os.sync()  # writing them out is not prepare's work
    result = {"pictures": size, **_prepare(pictures, made)}
    info = json.loads((made / "set" / "dataset.json").read_text())
    report = json.loads((made / "set" / "data_report.json").read_text())
    result |= {
        "kept": report["kept"],
        "sha256": info["sha256"],
        "findings": {f["kind"]: f["count"] for f in report["findings"]},
        "index_mb": _megabytes(made / "work"),
        "data_set_mb": _megabytes(made / "set"),
    }
    shutil.rmtree(pictures)
    shutil.rmtree(made)
    return result


def _prepare(pictures: Path, made: Path) -> dict[str, Any]:
    """Prepare in a process of its own, and look at it from here."""
    command = [sys.executable, str(HERE / "prepare_pictures.py"), str(pictures), str(made)]
    notes = made.with_name("notes.txt")
    with notes.open("w") as target:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stderr=target, env={**os.environ, "PIXLOOP_PROGRESS": "lines"}
        )
        watched = _Watched(psutil.Process(process.pid), notes, started)
        while process.poll() is None:
            watched.look()
            time.sleep(_EVERY_S)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit(notes.read_text()[-2000:])
    return {"seconds": round(seconds, 1), **watched.result(seconds)}


class _Watched:
    """A process and all that it starts: its memory, its reading and writing, its phases."""

    def __init__(self, process: psutil.Process, notes: Path, started: float) -> None:
        self._process, self._notes, self._started = process, notes, started
        self._read_to = 0
        self._phases: dict[str, float] = {}  # each with when it was last heard of
        self._io: dict[int, tuple[int, int]] = {}
        self._samples: list[dict[str, float]] = []

    def look(self) -> None:
        now = round(time.monotonic() - self._started, 1)
        self._hear(now)
        own = everyone = shared_out = 0.0
        for each in self._everyone():
            try:
                memory, io = each.memory_full_info(), each.io_counters()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            self._io[each.pid] = io.read_chars, io.write_chars
            everyone += memory.rss
            shared_out += memory.pss
            own = memory.rss if each.pid == self._process.pid else own
        if own:
            used = {"own_mb": own, "rss_mb": everyone, "pss_mb": shared_out}
            self._samples.append({"s": now, **{k: round(v / 1e6, 1) for k, v in used.items()}})

    def result(self, seconds: float) -> dict[str, Any]:
        self._hear(round(seconds, 1))
        begins, phases = 0.0, {}
        for name, end in self._phases.items():
            phases[name] = round(end - begins, 1)
            begins = end
        return {
            "phases": phases,
            "peak_own_mb": max(sample["own_mb"] for sample in self._samples),
            "peak_rss_mb": max(sample["rss_mb"] for sample in self._samples),
            "peak_pss_mb": max(sample["pss_mb"] for sample in self._samples),
            "read_mb": sum(read for read, _ in self._io.values()) / 1e6,
            "written_mb": sum(written for _, written in self._io.values()) / 1e6,
            "samples": self._samples,
        }

    def _everyone(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _hear(self, now: float) -> None:
        """Note of which phase the process has spoken; a phase ends when the next is heard of."""
        with self._notes.open() as file:
            file.seek(self._read_to)
            lines = file.readlines()
            self._read_to = file.tell()
        for line in lines:
            told = parse_line(line)
            if told is not None:
                self._phases[str(told["description"])] = now


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
