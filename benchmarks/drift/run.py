"""Drift alarms on real pictures: how often they are false, and how soon they are right.

    python benchmarks/drift/run.py DATA [--project FOLDER] [--peer-environment FOLDER]

DATA holds intel/ (class folders with train and test) and weights/. Writes results.json, RESULTS.md
and drift.png beside this file. Takes about half an hour on two cores, most of it Evidently's.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from estimates import judge_estimates
from pictures import SEVERITY, make_project, measure, newest
from report import write_report
from streams import (
    CLEAN_BEFORE,
    CLEAN_STREAMS,
    REFERENCE,
    STREAMS,
    clean_order,
    corrupted_order,
    run_clean,
    run_corrupted,
)

from pixloop.data.corruptions import CORRUPTIONS
from pixloop.files import write_text
from pixloop.monitoring.reference import FOLDER, read_odds
from pixloop.serving.engines import cpu_name, usable_cores

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--project", type=Path, help="kept, and taken again where it is there")
    parser.add_argument("--peer-environment", type=Path, help="likewise, of Evidently")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        project = make_project(arguments.data.resolve(), arguments.project or work / "intel")
        values = project.folder / "values.npz"
        if not values.exists():
            np.savez(values, **measure(project))
        odds = read_odds(newest(project, "Export", "bundle.json") / FOLDER)
        assert odds is not None, "the project was made with monitoring.odds_pictures: 0"
        with np.load(values, allow_pickle=False) as file:
            arrays = dict(file)
        started = time.monotonic()
        ours = {
            "clean_evidence": run_clean(arrays, usable_cores()),
            "from_the_start": run_corrupted(arrays, 0, usable_cores()),
            "after_clean": run_corrupted(arrays, CLEAN_BEFORE, usable_cores()),
        }
        seconds = {"pixloop": round(time.monotonic() - started, 1)}
        started = time.monotonic()
        peer = ask_evidently(arrays, work, arguments.peer_environment or work / "evidently")
        seconds["evidently"] = round(time.monotonic() - started, 1)
    results = {
        "environment": environment(),
        "pool": len(arrays["clean"]),
        "seconds": seconds,
        "pixloop": ours,
        "evidently": peer,
        "accuracy": judge_estimates(arrays, odds),
    }
    # A line a part: thousands of numbers, one below the other, are read by nobody.
    parts = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in results.items())
    write_text(HERE / "results.json", "{\n" + ",\n".join(parts) + "\n}\n")
    write_report(results, HERE)


def ask_evidently(arrays: dict, work: Path, environment_folder: Path) -> dict:
    """What Evidently says of the same streams, look by look."""
    python = environment_folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not python.exists():
        subprocess.run(
            [*uv, "venv", "--quiet", "--python", sys.executable, environment_folder], check=True
        )
        requirements = HERE / "requirements-evidently.txt"
        subprocess.run(
            [*uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True
        )
    streams = {"signals": arrays["signals"], "clean": arrays["clean"]}
    for number in range(CLEAN_STREAMS):
        order = clean_order(len(arrays["clean"]), number)
        streams[f"reference:clean/{number}"] = order[:REFERENCE]
        streams[f"stream:clean/{number}"] = order[REFERENCE:]
    for name in CORRUPTIONS:
        streams[f"{name}:{SEVERITY}"] = arrays[f"{name}:{SEVERITY}"]
        for number in range(STREAMS):
            order, shown = corrupted_order(len(arrays["clean"]), number)
            streams[f"reference:{name}/{number}"] = order[:REFERENCE]
            streams[f"stream:{name}/{number}"] = shown
    np.savez(work / "streams.npz", **streams)
    script = HERE / "evidently_looks.py"
    subprocess.run([python, script, work / "streams.npz", work / "said.json"], check=True)
    return json.loads((work / "said.json").read_text())


def environment() -> dict[str, object]:
    packages = ("pixloop", "numpy", "openvino", "timm", "torch")
    requirements = (HERE / "requirements-evidently.txt").read_text().splitlines()
    return {
        "processor": cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "peer": next(line for line in requirements if "evidently" in line),
    }


if __name__ == "__main__":
    main()
