"""How a model uses this machine best: measured once, then remembered.

What is measured is the server's own work, on a picture of noise: each worker decodes a batch,
computes it and makes the answers, with all workers busy. The engine alone would say little: a
stream more also decodes more, and a larger batch saves only what a call costs.
"""

import contextlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from PIL import Image

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.decoding import Size
from pixloop.files import write_json
from pixloop.serving.engines import (
    RUNTIMES,
    EngineSettings,
    PixelBatch,
    cpu_name,
    import_openvino,
    usable_cores,
)
from pixloop.serving.model import Model

_BATCHES = (1, 4, 8, 16)
#: A slower batch is no candidate: what comes after it would wait too long.
_LONGEST_BATCH_S = 0.1
_BUDGET_S = 1.5
_TURN_S = 0.025
#: So fast, of the fastest, is nearly as fast.
_NEARLY = 0.97
#: Raised when what is measured changes, so that what was measured before is not believed.
_MEASUREMENT = 1

log = logging.getLogger("pixloop.serving")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model is computed.

    Attributes:
        streams: batches computed at once, by a worker each.
        threads: that compute, all together.
        max_batch: pictures in a batch at most.
        pictures_per_s: from encoded bytes to answers, as measured; None where nothing was.
    """

    streams: int
    threads: int
    max_batch: int
    pictures_per_s: float | None = None


#: A model whose engine uses the machine as it is told.
Open = Callable[[EngineSettings], Model[Any, Any]]
#: Streams, and pictures in a batch.
_Candidate = tuple[int, int]


def tune(bundle: Bundle, graph: str, settings: ServingConfig) -> Tuning:
    """How to serve a graph here: as the settings say, and where they say nothing, as is fastest.

    What was measured is kept in the user's cache folder, and is measured again where the graph,
    the processor, the cores or the engine's version are others.

    Args:
        bundle: the bundle.
        graph: the name of one of its graphs.
        settings: ``streams``, ``threads`` and ``max_batch`` are read.

    Raises:
        BundleError: the graph cannot be loaded.
    """
    threads = settings.threads or usable_cores()
    if settings.streams and settings.max_batch:
        return Tuning(settings.streams, threads, settings.max_batch)
    streams = [settings.streams] if settings.streams else sorted({1, threads // 2 or 1, threads})
    batches = [settings.max_batch] if settings.max_batch else list(_BATCHES)
    file = _cached(bundle, graph, threads, streams, batches)
    known = _read(file)
    if known is None:
        # Only who measures needs it here; the server opens its model itself.
        from pixloop.serving.predictor import open_predictor

        log.info("measuring how %s is served fastest here; the result is kept", graph)
        known = measure(lambda how: open_predictor(bundle, graph, how), threads, streams, batches)
        _write(file, known)
    return known


def measure(open_: Open, threads: int, streams: Sequence[int], batches: Sequence[int]) -> Tuning:
    """The numbers of streams and of pictures in a batch that answer the most pictures a second.

    It takes about two seconds, and longer only for a model that takes long for one picture.

    Args:
        open_: opens the model.
        threads: that compute, all together.
        streams: candidates.
        batches: candidates; the smallest is tried however long it takes.
    """
    picture = _noise()
    with contextlib.ExitStack() as stack:
        crews = {}
        for count in streams:
            crew = _Crew(open_(EngineSettings(threads, count)), count, max(batches), picture)
            crews[count] = stack.enter_context(crew)
        return _choose(_race(crews, threads, batches), threads)


def _choose(rates: Mapping[_Candidate, float], threads: int) -> Tuning:
    """The smallest batch among those nearly as fast as the fastest: it answers sooner."""
    nearly = [each for each, rate in rates.items() if rate >= _NEARLY * max(rates.values())]
    streams, batch = min(nearly, key=lambda each: (each[1], -rates[each]))
    return Tuning(streams, threads, batch, round(rates[streams, batch], 1))


def _race(
    crews: "Mapping[int, _Crew]", threads: int, batches: Sequence[int]
) -> dict[_Candidate, float]:
    """Each candidate's pictures a second, in its best turn.

    They take turns, so that a busy moment of the machine hits all alike. The best turn counts,
    because what disturbs only ever slows down.
    """
    least = min(batches)
    rates = {}
    for streams, crew in crews.items():
        crew.turn(least)  # an engine's first batch is slow
        rates[streams, least] = crew.turn(least)
    for streams, batch in product(crews, batches):
        # Larger batches are measured only where one is over soon: others wait for it.
        if streams * batch / rates[streams, least] <= _LONGEST_BATCH_S:
            rates.setdefault((streams, batch), 0.0)
    end = time.perf_counter() + _BUDGET_S
    while time.perf_counter() < end:
        for streams, batch in rates:
            rate = crews[streams].turn(batch)
            rates[streams, batch] = max(rates[streams, batch], rate)
    return rates


class _Crew:
    """Workers that answer the same picture over and over, all of them at once."""

    def __init__(
        self, model: Model[Any, Any], workers: int, max_batch: int, picture: bytes
    ) -> None:
        side = model.manifest.preprocessing.image_size
        self._model, self._picture = model, picture
        self._buffers = np.zeros((workers, max_batch, side, side, 3), np.uint8)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="measure")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def turn(self, batch: int) -> float:
        """Pictures a second of all workers together, over a moment or one batch."""
        return sum(self._pool.map(self._work, self._buffers[:, :batch]))

    def _work(self, pixels: PixelBatch) -> float:
        start, done = time.perf_counter(), 0
        while not done or time.perf_counter() < start + _TURN_S:
            sizes = [self._model.prepare(self._picture, each) for each in pixels]
            self._model.answer(pixels, cast(list[Size], sizes), alone=False)
            done += len(pixels)
        return done / (time.perf_counter() - start)


def _noise() -> bytes:
    """A JPEG of 640×480 with about as much detail as a photograph."""
    small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def _cached(
    bundle: Bundle, graph: str, threads: int, streams: Sequence[int], batches: Sequence[int]
) -> Path | None:
    """Where the result is kept; None where there is no place for it."""
    engine = bundle.graph(graph).format
    runtime = import_openvino() if engine == "openvino" else import_module(RUNTIMES[engine])
    facts = {
        "measurement": _MEASUREMENT,
        "graph": graph,
        "files": [bundle.manifest.files[name].sha256 for name in bundle.graph_files(graph)],
        "preprocessing": bundle.manifest.preprocessing.model_dump(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "runtime": runtime.__version__,
        "candidates": [threads, streams, batches],
    }
    key = sha256(json.dumps(facts).encode()).hexdigest()[:32]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as in some containers
        return None
    return home / "pixloop" / "tuning" / f"{key}.json"


def _read(file: Path | None) -> Tuning | None:
    try:
        tuning = Tuning(**json.loads(file.read_bytes())) if file else None
    except (OSError, ValueError, TypeError):  # not there, not to be read, not ours
        return None
    if tuning is None or not all(
        type(each) is int and each > 0
        for each in (tuning.streams, tuning.threads, tuning.max_batch)
    ):
        return None
    return tuning


def _write(file: Path | None, tuning: Tuning) -> None:
    # Where nothing can be kept, the next start measures again.
    with contextlib.suppress(OSError):
        if file is not None:
            write_json(file, asdict(tuning))
