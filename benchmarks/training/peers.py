"""pixloop beside its peers: seconds to the same test accuracy, on the same pictures and machine.

Each peer has an environment of its own in ``.peers/`` (made here from ``peers/NAME.txt``) and a
script, ``peers/NAME.py``, which says where its settings come from. All run one after the other in
new processes on the same two cores, no GPU; a run of pixloop goes before each peer, and the median
of its runs counts.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comparison import compare, is_run
from plain import write_folder
from timed_process import last_result

from pixloop.data.dataset import Dataset

HERE = Path(__file__).parent
CORES = 2
SPLITS = ("train", "validation", "test")

Note = Callable[[str, Any], None]


@dataclass(frozen=True)
class Entry:
    """One run of a peer: which script, which of its recipes, how large, how long."""

    peer: str
    recipe: str
    size: int
    epochs: int
    workers: int = 0  #: processes that load pictures

    @property
    def name(self) -> str:
        loading = f", {self.workers} loading" if self.workers else ""
        return f"{self.peer}, {self.recipe}, {self.size} px, {self.epochs} epochs{loading}"


#: What is documented, with as many processes that load as the tool takes by itself, and what is as
#: fast as we could make it.
PLAN = (
    Entry("fastai_learner", "documented", 224, 1, CORES),
    Entry("fastai_learner", "documented", 161, 1, CORES),
    Entry("fastai_learner", "documented", 161, 3, CORES),
    Entry("fastai_learner", "augmented", 161, 3, CORES),
    Entry("fastai_learner", "short", 224, 3),
    Entry("fastai_learner", "short", 161, 3),
    Entry("hf_trainer", "documented", 224, 3),
    Entry("hf_trainer", "short", 224, 3),
    Entry("hf_trainer", "short", 161, 3),
    Entry("hf_trainer", "short", 161, 6),
    Entry("timm_recipe", "documented", 224, 30, CORES),
    Entry("timm_recipe", "short", 224, 3),
    Entry("timm_recipe", "short", 161, 3),
    Entry("timm_recipe", "short", 161, 6),
    Entry("autogluon_multimodal", "documented", 224, 20, CORES),
    Entry("autogluon_multimodal", "short", 224, 3),
    Entry("autogluon_multimodal", "short", 161, 3),
    Entry("by_hand", "frozen", 224, 0),
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
        if not is_run(key, results.get(key)) and peer != "by_hand":
            note(key, _pixloop(ground, settings))
        for entry in _plan(peer, ground.tiny):
            key = f"peers, {entry.name}"
            if not is_run(key, results.get(key)):
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


def _plan(peer: str, tiny: bool) -> list[Entry]:
    entries = [entry for entry in PLAN if entry.peer == peer]
    if not tiny:
        return entries
    one_a_recipe = {entry.recipe: replace(entry, size=96, epochs=1) for entry in reversed(entries)}
    return list(one_a_recipe.values())


def _pixloop(ground: Ground, settings: tuple[str, ...]) -> dict[str, Any]:
    if ground.tiny:
        settings = (*settings, "training.epochs=1")
    chosen = [part for one in settings for part in ("--set", one)]
    command = [sys.executable, HERE / "accuracy.py", ground.data, ground.weights, *chosen]
    return _run(command, ground)


def _peer(entry: Entry, python: Path, ground: Ground) -> dict[str, Any]:
    work = ground.work / entry.name.replace(", ", "-").replace(" ", "")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [python, HERE / "peers" / f"{entry.peer}.py", ground.pictures, ground.weights, work]
    for key in ("recipe", "size", "epochs", "workers"):
        command.append(f"--{key}={getattr(entry, key)}")
    found = _run(command, ground)
    shutil.rmtree(work, ignore_errors=True)
    return found


def _run(command: list[Any], ground: Ground) -> dict[str, Any]:
    threads = os.environ.get("OMP_NUM_THREADS", str(CORES))
    surroundings = {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(ground.work / "hf"),
        "FASTAI_HOME": str(ground.work / "fastai"),
    }
    return last_result(command, ground.work, ground.most_seconds, surroundings)
