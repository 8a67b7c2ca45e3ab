"""Training's speed, measured: the input alone, and real steps against synthetic ones.

    python benchmarks/training/run.py DATA [--only throughput] [--tiny] [--out results.json]

DATA holds intel/, a data set as the step Prepare writes it. ``--tiny`` takes a few steps of a small
network, to see that it works. Time to accuracy and the detector have no command yet: they are the
functions of ``accuracy.py`` and ``detection.py``.
"""

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from subjects import Steps
from throughput import measure_input, measure_network, usable_cores

NETWORKS = ("resnet50", "mobilenetv3_large_100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", action="append", choices=["input", "throughput"])
    parser.add_argument("--network", action="append")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--warm-up", type=int, default=50)
    parser.add_argument("--measured", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("results.json"))
    a = parser.parse_args()
    logging.disable(logging.INFO)
    results: dict[str, Any] = {}
    begun = time.monotonic()

    def note(name: str, value: Any) -> None:
        results[name] = value
        print(f"{time.monotonic() - begun:6.1f} s  {name}: {value}", flush=True)
        a.out.write_text(json.dumps(results, indent=1))

    note("torch", torch.__version__)
    note("device", torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    note("cores", usable_cores())
    size, steps = 224, Steps(a.batch, a.warm_up, a.measured)
    networks = a.network or NETWORKS
    if a.tiny:
        size, steps, networks = 64, Steps(8, 3, 6), ("mobilenetv3_small_050",)
    only = a.only or ["input", "throughput"]
    if "input" in only:
        measure_input(a.data / "intel", size, steps, note)
    if "throughput" in only:
        for network in networks:
            measure_network(network, a.data / "intel", size, steps, note, a.compiled)


if __name__ == "__main__":
    main()
