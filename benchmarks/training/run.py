"""Training's speed, measured: the input alone, real steps against synthetic ones, time to accuracy.

    python benchmarks/training/run.py DATA [--only throughput] [--tiny] [--out results.json]
    python benchmarks/training/run.py DATA --only peers [--peer hf_trainer] [--on intel] [--resume]

DATA holds intel/ (class folders with train and test), bccd/ (Pascal VOC), each of which may be a
data set as the step Prepare writes it, and weights/ with mobilenetv2_100.timm.safetensors and
mobilenet_v2.torchvision.safetensors. ``--tiny`` takes a few steps of small networks, to see that it
works; ``--resume`` keeps the peers' runs that the results hold already.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accuracy import time_to_accuracy
from detection import train_detector
from peers import PEERS, Ground, measure_peers, write_pictures
from subjects import Steps
from throughput import Note, measure_input, measure_network, usable_cores

from pixloop.bundle import Task
from pixloop.config import Config
from pixloop.data.dataset import MANIFEST, Dataset
from pixloop.data.prepare import prepare
from pixloop.files import write_json

NETWORKS = ("resnet50", "mobilenetv3_large_100")
PARTS = ("input", "throughput", "accuracy", "detection", "peers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--network", action="append")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--warm-up", type=int, default=50)
    parser.add_argument("--measured", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1, help="of real and synthetic steps")
    parser.add_argument("--workers", type=int, help="that load pictures")
    parser.add_argument("--epochs", type=int, default=16, help="of the detector")
    parser.add_argument("--detector-size", type=int, default=640)
    parser.add_argument("--most-seconds", type=float, default=3600, help="of the detector")
    parser.add_argument("--on", default="intel", help="the peers' pictures: a folder below DATA")
    parser.add_argument("--peer", action="append", choices=PEERS)
    parser.add_argument("--peer-seconds", type=float, default=1200, help="at most, of one run")
    parser.add_argument("--set", action="append", default=[], help="of pixloop beside its peers")
    parser.add_argument("--resume", action="store_true", help="keep what --out has of the peers")
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    a = parser.parse_args()
    logging.disable(logging.INFO)
    results: dict[str, Any] = {}
    if a.resume and a.out.exists():
        results = json.loads(a.out.read_text())
    begun = time.monotonic()

    def note(name: str, value: Any) -> None:
        results[name] = value
        print(f"{time.monotonic() - begun:6.1f} s  {name}: {value}", flush=True)
        write_json(a.out, results)

    note("torch", torch.__version__)
    note("device", torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    note("cores", usable_cores())
    with tempfile.TemporaryDirectory() as temporary:
        measure(a, note, Path(temporary))
        if "peers" in (a.only or PARTS):
            ground = peers_ground(a, Path(temporary))
            measure_peers(ground, note, results, tuple(a.peer or PEERS), tuple(a.set))


def measure(a: argparse.Namespace, note: Note, work: Path) -> None:
    """The parts that were asked for, or all."""
    size, steps, networks = 224, Steps(a.batch, a.warm_up, a.measured), a.network or NETWORKS
    if a.tiny:
        size, steps, networks = 64, Steps(8, 3, 6), ("mobilenetv3_small_050",)
        a.epochs, a.detector_size = 1, 128
    only, weights = a.only or PARTS, a.data / "weights"
    if set(only) & {"input", "throughput", "accuracy"}:
        intel = prepared(a.data / "intel", work / "intel", "classification")
    if "input" in only:
        measure_input(intel, size, steps, note)
    if "throughput" in only:
        for network in networks:
            loading = {} if a.workers is None else {"workers": a.workers}
            measure_network(network, intel, size, steps, note, a.compiled, a.rounds, **loading)
    if "accuracy" in only:
        file = weights / "mobilenetv2_100.timm.safetensors"
        tiny = {"epochs": 1} if a.tiny else {}
        note("intel", time_to_accuracy(intel, file, **tiny))
        # The first run in a process waits for CUDA's libraries and kernels as well.
        note("intel, again", time_to_accuracy(intel, file, **tiny))
    if "detection" in only:
        bccd = prepared(a.data / "bccd", work / "bccd", "detection")
        file = weights / "mobilenet_v2.torchvision.safetensors"
        found = train_detector(bccd, file, a.detector_size, a.epochs, a.most_seconds)
        note("bccd", found)


def peers_ground(a: argparse.Namespace, work: Path) -> Ground:
    """A data set of pixloop's, and its pictures as files; with ``--tiny`` a few of each class."""
    data = prepared(a.data / a.on, work / a.on, "classification")
    if a.tiny:
        write_pictures(Dataset.open(data), work / "few", each=24)
        data = prepared(work / "few", work / "small", "classification")
    write_pictures(Dataset.open(data), work / "pictures")
    weights = (a.data / "weights" / "mobilenetv2_100.timm.safetensors").resolve()
    return Ground(data, work / "pictures", weights, work, a.peer_seconds, a.tiny)


def prepared(data: Path, work: Path, task: Task) -> Path:
    """The data set of these pictures, made in ``work`` where ``data`` is not one already."""
    for ready in (data, work / "data"):
        if (ready / MANIFEST).exists():
            return ready
    config = Config.model_validate({"task": task, "data": str(data)})
    prepare(config.data, data, None, work / "data", work / "index", task)
    return work / "data"


if __name__ == "__main__":
    main()
