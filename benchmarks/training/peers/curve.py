"""Test accuracy against seconds, noted alike by every peer's script; knows nothing of pixloop.

A script of a peer is started with a folder of pictures (``train``, ``validation`` and ``test``,
each with a folder a class) and the weights. After every look at the test pictures it prints one
line of JSON, all that it knows so far: whoever stops it early still has the curve up to there.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

GOALS = (0.85, 0.90)
ARCHITECTURE = "mobilenetv2_100"


class Curve:
    """A clock that stands still while test pictures are looked at.

    Attributes:
        points: seconds and test accuracy of each look.
    """

    def __init__(self, options: argparse.Namespace, *packages: str) -> None:
        self._about = {"recipe": options.recipe, "size": options.size, "epochs": options.epochs}
        names = ("torch", "timm", *packages)
        self._about["versions"] = {name: version(name) for name in names} | {
            "python": sys.version.split()[0]
        }
        self._started = self._stood = 0.0
        self._steps = 0
        self.points: list[tuple[float, float]] = []

    def start(self) -> None:
        """To be called right before the network is built."""
        self._started = time.perf_counter()

    def step(self, steps_an_epoch: int, accuracy: Callable[[], float]) -> None:
        """A training step is done: look in the middle and at the end of each epoch."""
        self._steps += 1
        if self._steps % steps_an_epoch in {0, steps_an_epoch // 2}:
            self.look(accuracy)

    def look(self, accuracy: Callable[[], float]) -> None:
        """Note the accuracy (0 to 1), and print what is known."""
        began = time.perf_counter()
        self.points.append((round(began - self._started - self._stood, 2), accuracy()))
        print(json.dumps(self._about | summary(self.points)), flush=True)
        self._stood += time.perf_counter() - began


def summary(points: list[tuple[float, float]]) -> dict[str, Any]:
    """What a curve says: seconds to each goal and to its best, None where it was not reached."""
    best = max(accuracy for _, accuracy in points)
    marks = {f"{goal:.2f}": goal for goal in GOALS} | {"best": best}
    return {
        "seconds_to": {name: seconds_to(points, mark) for name, mark in marks.items()},
        "best": round(best, 4),
        "curve": points,
    }


def seconds_to(points: list[tuple[float, float]], accuracy: float) -> float | None:
    """When the curve first was at this accuracy."""
    return next((seconds for seconds, reached in points if reached >= accuracy), None)


@torch.no_grad()
def accuracy(network: torch.nn.Module, batches: Iterable[tuple[Any, Any]]) -> float:
    """The share of pictures that the network is right about; it is left in the mode it was in.

    Args:
        batches: pictures float32 (N, 3, H, W), preprocessed, and labels (N,).
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    right = total = 0
    for pictures, labels in batches:
        right += int((network(pictures).argmax(1) == labels).sum())
        total += len(labels)
    for module in training:
        module.training = True
    return right / total


def options(about: str | None, recipes: Iterable[str]) -> argparse.Namespace:
    """A script's command line; torch takes as many threads as ``OMP_NUM_THREADS`` says."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path, help="with train, validation and test")
    parser.add_argument("weights", type=Path, help="timm's mobilenetv2_100, safetensors")
    parser.add_argument("work", type=Path, help="an empty folder")
    parser.add_argument("--recipe", choices=tuple(recipes), required=True)
    parser.add_argument("--size", type=int, required=True, help="pixels of the network's input")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2, help="processes that load pictures")
    return parser.parse_args()
