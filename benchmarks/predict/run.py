"""What prediction in parts costs beside the model: pictures a second, and memory over time.

    python benchmarks/predict/run.py BUNDLE PICTURES [--sizes 10000,100000] [--work FOLDER]
                                     [--out FOLDER]

The pictures of a folder are multiplied by links to as many files as a size says, and are written to
Parquet as well. Then, each in a process of its own, whose memory is noted every fifth of a second:

- ``limit``: the in-process predictor on the same files, read as it asks for them, and no answers
  kept;
- ``files``: ``predict_batch`` on the files;
- ``parquet``: ``predict_batch`` on the Parquet files.

Writes results.json and RESULTS.md. All files are in the system's cache: the disk is not measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pixloop.bundle import MANIFEST
from pixloop.picture_predictions.files import find_pictures

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serving"))
from hardware import describe_hardware  # noqa: E402

WAYS = ("limit", "files", "parquet")
_A_FOLDER, _A_GROUP, _A_FILE = 1_000, 100, 10_000
#: Pictures that are multiplied.
_ORIGINALS = 1_000
_EVERY_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path, help="a folder of pictures")
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--work", type=Path, help="a folder with room; a temporary one otherwise")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(_predict(given.way, given.bundle, given.pictures)))
        return
    if not (given.bundle / MANIFEST).is_file():
        parser.error(f"{given.bundle} is no bundle: a version's is there once it has predicted.")
    originals = list(islice(find_pictures([given.pictures]), _ORIGINALS))
    runs = []
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=given.work, prefix="pixloop-predict-") as work:
            _write(Path(work), originals, size)
            runs += [{"way": way, **_measure(way, given.bundle, Path(work))} for way in WAYS]
    given.out.mkdir(parents=True, exist_ok=True)
    results = {"hardware": describe_hardware(), "runs": runs}
    (given.out / "results.json").write_text(json.dumps(results) + "\n")
    (given.out / "RESULTS.md").write_text(_table(results))
    print(_table(results))


def _write(work: Path, originals: list[Path], size: int) -> None:
    """The pictures as files in folders of a thousand, and as Parquet files."""
    for number, original in enumerate(islice(cycle(originals), size)):
        file = work / f"files/{number // _A_FOLDER:04}/{number:07}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        copy = work / f"originals/{number % len(originals)}.jpg"
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(original.read_bytes())
        os.link(copy, file)
    files = sorted((work / "files").rglob("*.jpg"))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": kind})
    (work / "parquet").mkdir()
    for start in range(0, size, _A_FILE):
        name = work / f"parquet/{start // _A_FILE:04}.parquet"
        with pq.ParquetWriter(name, schema, compression="none") as writer:
            for first in range(start, min(start + _A_FILE, size), _A_GROUP):
                group = files[first : first + _A_GROUP]
                rows = [{"image": {"bytes": f.read_bytes(), "path": f.name}} for f in group]
                writer.write_table(pa.Table.from_pylist(rows, schema))


def _measure(way: str, bundle: Path, work: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, str(bundle), str(work), "--way", way]
    samples: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                samples.append(round(watched.memory_info().rss / 1e6, 1))
            except psutil.NoSuchProcess:
                break
            time.sleep(_EVERY_S)
        assert process.stdout is not None
        result: dict[str, Any] = json.loads(process.stdout.read().splitlines()[-1])
    return result | {"memory_mb": samples}


def _predict(way: str, bundle: Path, work: Path) -> dict[str, Any]:
    """In a process of its own: how many pictures, and in how many seconds."""
    from pixloop.bundle import Bundle
    from pixloop.picture_predictions.batch import predict_batch
    from pixloop.serving.predictor import open_predictor

    opened = Bundle.open(bundle)
    started = time.perf_counter()
    if way == "limit":
        predictor = open_predictor(opened)
        files = sorted((work / "files").rglob("*.jpg"))
        pictures = sum(1 for _ in predictor.predict_each(file.read_bytes() for file in files))
    else:
        pictures = predict_batch(opened, "m:1", [work / way], work / f"{way}-answers").pictures
    return {"pictures": pictures, "seconds": time.perf_counter() - started}


def _table(results: dict[str, Any]) -> str:
    hardware = results["hardware"]
    lines = [
        "# Predicting many pictures",
        "",
        f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gb']} GB, "
        f"Python {hardware['python']}. `python benchmarks/predict/run.py`. The limit is the "
        "predictor alone, over the same files.",
        "",
        "| pictures | way | pictures a second | of the limit | memory, MB: median | at most |",
        "|---|---|---|---|---|---|",
    ]
    limit = 1.0
    for run in results["runs"]:
        rate = run["pictures"] / run["seconds"]
        limit = rate if run["way"] == "limit" else limit
        memory = sorted(run["memory_mb"])
        lines.append(
            f"| {run['pictures']:,} | {run['way']} | {rate:,.0f} | {rate / limit:.2f} | "
            f"{memory[len(memory) // 2]:,.0f} | {memory[-1]:,.0f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
