"""How fast graphs are on this machine, measured side by side, as a server computes."""

import math
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from pixloop.serving.engines import Engine, PixelBatch, cpu_name, side_by_side, usable_cores

_WARM_UP = 3
_ROUNDS = 15
_BUDGET_S = 6.0  # a large network is known well enough after fewer rounds
_LEAST_ROUNDS = 3
#: Threads of an engine that has just finished spin for a moment, and would slow the next one.
_PAUSE_S = 0.005
_BATCH = 8
#: What all cores are given to do in a round: so long that starting them does not count, and so
#: short that every graph has many rounds.
_ROUND_S = 0.03


class Machine(BaseModel):
    """Where the latencies were measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    threads: int
    system: str


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one graph is."""

    latency_ms: float  #: median of a lone picture, computed with all threads
    pictures_per_s: float  #: of all cores, each with batches of its own


def measure(engines: Mapping[str, Engine], image_size: int) -> dict[str, Speed]:
    """Time every engine in turn, round after round, so that a busy moment hits all alike.

    Args:
        engines: graph by graph.
        image_size: side of the input, in pixels.
    """
    if not engines:
        return {}
    one = np.zeros((1, image_size, image_size, 3), np.uint8)
    lone = _medians({name: _alone(engine, one) for name, engine in engines.items()})
    # A batch of a large detector takes seconds; what all engines compute is the same.
    most = max(1, min(_BATCH, int(_ROUND_S / statistics.median(lone.values()))))
    pixels = np.repeat(one, most, axis=0)
    batches = max(1, math.ceil(_ROUND_S / (most * statistics.median(lone.values()))))
    cores = usable_cores()
    with ThreadPoolExecutor(cores) as workers:
        busy = _medians(
            {
                name: _busy(side_by_side(engine), pixels, batches, workers, cores)
                for name, engine in engines.items()
            }
        )
    pictures = cores * batches * most
    return {name: Speed(lone[name] * 1000, pictures / busy[name]) for name in engines}


def describe_machine() -> Machine:
    """What matters of this machine for latency."""
    return Machine(
        cpu=cpu_name(), threads=usable_cores(), system=f"{platform.system()} {platform.machine()}"
    )


def _alone(engine: Engine, pixels: PixelBatch) -> Callable[[], object]:
    return lambda: engine(pixels)


def _busy(
    engine: Engine, pixels: PixelBatch, batches: int, workers: ThreadPoolExecutor, cores: int
) -> Callable[[], object]:
    def compute(_: int) -> None:
        for _ in range(batches):
            engine(pixels)

    return lambda: list(workers.map(compute, range(cores)))


def _medians(work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each, in seconds."""
    for do in work.values():
        _warm_up(do)
    times = defaultdict(list)
    order, end = list(work), time.perf_counter() + _BUDGET_S
    for turn in range(_ROUNDS):
        if turn >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for name in order:
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            work[name]()
            times[name].append(time.perf_counter() - start)
        order = order[1:] + order[:1]  # nobody always runs after the same one
    return {name: statistics.median(each) for name, each in times.items()}


def _warm_up(do: Callable[[], object]) -> None:
    end = time.perf_counter() + _BUDGET_S / 10
    for _ in range(_WARM_UP):
        do()
        if time.perf_counter() > end:
            return
