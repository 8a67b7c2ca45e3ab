"""How fast graphs are on this machine, measured side by side."""

import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from pixloop.bundle import GraphFormat
from pixloop.serving.engines import Engine, PixelBatch, cpu_name, usable_cores

_WARM_UP = 3
_ROUNDS = 20
_BUDGET_S = 6.0  # a large network is known well enough after fewer rounds
_LEAST_ROUNDS = 3
#: Threads of an engine that has just finished spin for a moment, and would slow the next one.
_PAUSE_S = 0.005
_BATCH = 8


class Machine(BaseModel):
    """Where the latencies were measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    threads: int
    system: str


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one graph is."""

    latency_ms: float  #: median of a lone picture
    pictures_per_s: float  #: in batches of 8


def measure(engines: Mapping[GraphFormat, Engine], image_size: int) -> dict[GraphFormat, Speed]:
    """Time every engine in turn, round after round, so that a busy moment hits all alike."""
    lone = _medians(engines, np.zeros((1, image_size, image_size, 3), np.uint8))
    batch = _medians(engines, np.zeros((_BATCH, image_size, image_size, 3), np.uint8))
    return {f: Speed(lone[f] * 1000, _BATCH / batch[f]) for f in engines}


def describe_machine() -> Machine:
    """What matters of this machine for latency."""
    return Machine(
        cpu=cpu_name(), threads=usable_cores(), system=f"{platform.system()} {platform.machine()}"
    )


def _medians(engines: Mapping[GraphFormat, Engine], pixels: PixelBatch) -> dict[GraphFormat, float]:
    for engine in engines.values():
        _warm_up(engine, pixels)
    times = defaultdict(list)
    order, end = list(engines), time.perf_counter() + _BUDGET_S
    for turn in range(_ROUNDS):
        if turn >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for format_ in order:
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            engines[format_](pixels)
            times[format_].append(time.perf_counter() - start)
        order = order[1:] + order[:1]  # nobody always runs after the same one
    return {format_: statistics.median(each) for format_, each in times.items()}


def _warm_up(engine: Engine, pixels: PixelBatch) -> None:
    end = time.perf_counter() + _BUDGET_S / 10
    for _ in range(_WARM_UP):
        engine(pixels)
        if time.perf_counter() > end:
            return
