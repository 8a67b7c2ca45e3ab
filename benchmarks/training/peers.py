"""pixloop beside its peers: seconds to the same test accuracy, on the same pictures and machine.

Each peer has an environment of its own in ``.peers/`` (made here from ``peers/NAME.txt``) and a
script, ``peers/NAME.py``, which says where its settings come from. All run one after the other in
new processes on the same two cores, no GPU; a run of pixloop goes before each peer, and the median
of its runs counts.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plain import write_folder

from pixloop.data.dataset import Dataset

HERE = Path(__file__).parent
CORES = 2
SPLITS = ("train", "validation", "test")
GOALS = ("0.85", "0.90", "best")

Note = Callable[[str, Any], None]


@dataclass(frozen=True)
class Entry:
    """One run of a peer: which script, which of its recipes, how large, how long."""

    peer: str
    recipe: str
    size: int
    epochs: int

    @property
    def name(self) -> str:
        return f"{self.peer}, {self.recipe}, {self.size} px, {self.epochs} epochs"


#: What is documented at its own size, the same at pixloop's size, and shorter.
PLAN = (
    Entry("fastai_learner", "documented", 224, 1),
    Entry("fastai_learner", "documented", 161, 1),
    Entry("fastai_learner", "documented", 161, 3),
    Entry("fastai_learner", "augmented", 161, 5),
    Entry("hf_trainer", "documented", 224, 3),
    Entry("hf_trainer", "documented", 161, 3),
    Entry("hf_trainer", "short", 161, 3),
    Entry("hf_trainer", "short", 161, 6),
    Entry("timm_recipe", "documented", 224, 30),
    Entry("timm_recipe", "documented", 161, 30),
    Entry("timm_recipe", "documented", 161, 6),
    Entry("timm_recipe", "short", 161, 3),
    Entry("timm_recipe", "short", 161, 6),
    Entry("autogluon_multimodal", "documented", 224, 20),
    Entry("autogluon_multimodal", "short", 161, 3),
    Entry("autogluon_multimodal", "short", 161, 6),
)
PEERS = tuple(dict.fromkeys(entry.peer for entry in PLAN))


@dataclass(frozen=True)
class Ground:
    """What all of them get."""

    data: Path  #: pixloop's data set
    pictures: Path  #: the same pictures as files, a folder a split and a class
    weights: Path
    work: Path
    most_seconds: float  #: of one run
    tiny: bool


def measure_peers(
    ground: Ground,
    note: Note,
    results: Mapping[str, Any],
    peers: tuple[str, ...] = PEERS,
    settings: tuple[str, ...] = (),
) -> None:
    """Run what is not among the results yet, and note each run and the comparison.

    Args:
        settings: of pixloop's training, as ``training.KEY=VALUE``.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for peer in peers:
        python = environment(peer)
        key = f"peers, pixloop before {peer}"
        if not _is_run(key, results.get(key)):
            note(key, _pixloop(ground, settings))
        for entry in PLAN:
            key = f"peers, {entry.name}"
            if entry.peer == peer and not _is_run(key, results.get(key)):
                note(key, _peer(entry, python, ground))
    note("peers, compared", compare(results))


def environment(peer: str) -> Path:
    """The Python of the peer's environment, which is made where it is missing or outdated."""
    folder, wanted = HERE / ".peers" / peer, (HERE / "peers" / f"{peer}.txt").read_text()
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise SystemExit(f"{peer} needs an environment, and uv, which makes it, is not installed.")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.11", folder], check=True)
    command = [uv, "pip", "install", "--python", python, "-r", HERE / "peers" / f"{peer}.txt"]
    subprocess.run(command, check=True)
    stamp.write_text(wanted)
    return python


def write_pictures(data: Dataset, folder: Path, each: int | None = None) -> None:
    """The pictures that pixloop trains, validates and tests with, as files."""
    for split in SPLITS:
        write_folder(data, folder / split, split, each)


def compare(results: Mapping[str, Any]) -> dict[str, Any]:
    """pixloop's median, every peer's best, and how many times longer the best peer took.

    ``best`` asks for the highest accuracy that pixloop and the best peer both reached, so that who
    learns less is not called faster. None where nobody reached it, or pixloop did not.
    """
    runs = {key: value for key, value in results.items() if _is_run(key, value)}
    ours = [value["curve"] for key, value in runs.items() if key.startswith("peers, pixloop")]
    theirs = {
        key.removeprefix("peers, "): value["curve"]
        for key, value in runs.items()
        if not key.startswith("peers, pixloop")
    }
    if not ours or not theirs:
        return {}
    shared = min(
        statistics.median_low([_best(curve) for curve in ours]),
        max(_best(curve) for curve in theirs.values()),
    )
    marks = dict(zip(GOALS, (0.85, 0.90, shared), strict=True))
    return {name: _against(ours, theirs, mark) for name, mark in marks.items()}


def _against(ours: list[Any], theirs: Mapping[str, Any], mark: float) -> dict[str, Any]:
    times = {name: _seconds_to(curve, mark) for name, curve in theirs.items()}
    reached = {name: seconds for name, seconds in times.items() if seconds is not None}
    own = [_seconds_to(curve, mark) for curve in ours]
    # A run that does not get there counts as longer than all that do.
    median = statistics.median_low([float("inf") if s is None else s for s in own])
    pixloop = None if median == float("inf") else median
    best = min(reached, key=lambda name: reached[name]) if reached else None
    ratio = round(reached[best] / pixloop, 2) if best and pixloop else None
    return {
        "accuracy": round(mark, 4),
        "pixloop": pixloop,
        "pixloop_runs": own,
        "best_peer": best,
        "ratio": ratio,
        "peers": times,
    }


def _is_run(key: str, value: Any) -> bool:
    return key.startswith("peers, ") and isinstance(value, dict) and "curve" in value


def _best(curve: list[Any]) -> float:
    return max(float(accuracy) for _, accuracy in curve)


def _seconds_to(curve: list[Any], accuracy: float) -> float | None:
    return next((seconds for seconds, reached in curve if reached >= accuracy), None)


def _pixloop(ground: Ground, settings: tuple[str, ...]) -> dict[str, Any]:
    if ground.tiny:
        settings = (*settings, "training.epochs=1")
    chosen = [part for one in settings for part in ("--set", one)]
    command = [sys.executable, HERE / "accuracy.py", ground.data, ground.weights, *chosen]
    return _run(command, ground, "pixloop")


def _peer(entry: Entry, python: Path, ground: Ground) -> dict[str, Any]:
    work = ground.work / entry.name.replace(", ", "-").replace(" ", "")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [python, HERE / "peers" / f"{entry.peer}.py", ground.pictures, ground.weights, work]
    epochs = 1 if ground.tiny else entry.epochs
    chosen = {"recipe": entry.recipe, "size": entry.size, "epochs": epochs, "workers": CORES}
    command += [f"--{key}={value}" for key, value in chosen.items()]
    found = _run(command, ground, entry.name)
    shutil.rmtree(work, ignore_errors=True)
    return found


def _run(command: list[Any], ground: Ground, name: str) -> dict[str, Any]:
    """The last line of JSON that a command printed, even where its time was up before its end."""
    threads = os.environ.get("OMP_NUM_THREADS", str(CORES))
    surroundings = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(ground.work / "hf"),
        "FASTAI_HOME": str(ground.work / "fastai"),
    }
    out, errors = ground.work / "out.txt", ground.work / "errors.txt"
    with out.open("w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=stdout,
            stderr=stderr,
            env=surroundings,
            cwd=ground.work,
            start_new_session=True,  # its workers end with it
        )
        try:
            code = process.wait(ground.most_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    lines = [line for line in out.read_text().splitlines() if line.startswith('{"recipe"')]
    if code or not lines:
        said = errors.read_text()[-2000:]
        return {
            "failed": f"{name} ended with {code} after {ground.most_seconds:.0f} s at most: {said}"
        }
    found: dict[str, Any] = json.loads(lines[-1])
    return found | ({"stopped_after_s": ground.most_seconds} if code is None else {})
