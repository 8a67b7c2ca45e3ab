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
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
from PIL import Image

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.decoding import Size
from pixloop.files import write_json
from pixloop.openvino_runtime import import_openvino
from pixloop.serving.engines import (
    RUNTIMES,
    EngineSettings,
    PixelBatch,
    cpu_name,
    usable_cores,
)
from pixloop.serving.model import Model

_BATCHES = (1, 2, 4, 8)
_USUAL_BATCH = 4
#: A slower batch is no candidate: what comes after it would wait too long.
_LONGEST_BATCH_S = 0.1
_BUDGET_S = 1.5
_TURN_S = 0.025
#: So good, compared with the best, is nearly as good.
_NEARLY = 0.97
#: A batch that costs so much of the cheapest's is as cheap. Of these the largest is taken: it also
#: saves a loaded server work that is not measured here (8 instead of 4: 4 % more requests).
_AS_CHEAP = 0.98
#: The share of the cores that this process must get for the clock to be believed.
_QUIET = 0.8
#: Raised when what is measured changes, so that what was measured before is not believed.
_MEASUREMENT = 2

log = logging.getLogger("pixloop.serving")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model is computed.

    Attributes:
        streams: batches computed at once, by a worker each.
        threads: that compute, all together.
        max_batch: pictures in a batch at most.
        pictures_per_s: from encoded bytes to answers; None where nothing was measured, or not
            reliably, since the machine was busy.
    """

    streams: int
    threads: int
    max_batch: int
    pictures_per_s: float | None = None


#: A model whose engine uses the machine as it is told.
Open = Callable[[EngineSettings], Model[Any, Any]]
#: Streams, and pictures in a batch.
Candidate = tuple[int, int]


def tune(bundle: Bundle, graph: str, settings: ServingConfig) -> Tuning:
    """How to serve a graph here: as the settings say, and where they say nothing, as is fastest.

    What was measured reliably is kept in the user's cache folder, and is measured again where the
    graph, the processor, the cores or the engine's version are others.

    Args:
        bundle: the bundle.
        graph: the name of one of its graphs.
        settings: ``streams``, ``threads`` and ``max_batch`` are read.
    """
    threads = settings.threads or usable_cores()
    if settings.streams and settings.max_batch:
        return Tuning(settings.streams, threads, settings.max_batch)
    streams = [settings.streams] if settings.streams else sorted({1, threads // 2 or 1, threads})
    batches = [settings.max_batch] if settings.max_batch else list(_BATCHES)
    file = _cached(bundle, graph, threads, streams, batches)
    known = _read(file)
    if known is None:
        log.info("measuring how %s is served fastest here", graph)
        known = _measure_apart(bundle, graph, threads, streams, batches)
        if known.pictures_per_s is not None:
            _write(file, known)
    return known


def _measure_apart(
    bundle: Bundle, graph: str, threads: int, streams: Sequence[int], batches: Sequence[int]
) -> Tuning:
    """``measure`` in a process of its own: the server would keep the memory that it takes."""
    request = json.dumps([str(bundle.path), graph, threads, streams, batches])
    command = [sys.executable, "-P", "-m", "pixloop.serving.tuning", request]
    done = subprocess.run(command, capture_output=True, check=False)
    found = _parse(done.stdout)
    if found is None:
        log.warning("it could not be measured: %s", done.stderr.decode(errors="replace")[-500:])
        return Tuning(
            max(streams), threads, _USUAL_BATCH if _USUAL_BATCH in batches else batches[0]
        )
    return found


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
        return choose(_race(crews, sorted(batches), threads), threads)


class _Turn(NamedTuple):
    """What some workers did in a moment: times by the clock, and of all cores together."""

    pictures: int
    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Score:
    """How some streams with batches of a size did, over several turns.

    Attributes:
        pictures: that were answered.
        cpu_s: that they took of the processor, all cores together.
        fastest: pictures a second, by the clock, in the best turn.
        cores: that were at work in the turn where the most were.
    """

    pictures: int = 0
    cpu_s: float = 0.0
    fastest: float = 0.0
    cores: float = 0.0

    def add(self, turn: _Turn) -> None:
        """Count a turn."""
        self.pictures += turn.pictures
        self.cpu_s += turn.cpu_s
        self.fastest = max(self.fastest, turn.pictures / turn.wall_s)
        self.cores = max(self.cores, turn.cpu_s / turn.wall_s)


def choose(scores: Mapping[Candidate, Score], threads: int) -> Tuning:
    """What is best by the scores.

    The clock tells which number of streams keeps the cores busiest, but only where this process
    has the machine to itself; on a busy one the most streams are taken, which is nearly always
    right, and ``pictures_per_s`` is None. Of the batches that cost hardly more of the processor
    than the cheapest, the largest is taken. What a batch costs is the same however busy the machine
    is.

    Args:
        scores: of each candidate; every number of streams has at least one.
        threads: that compute, all together.
    """
    fastest: dict[int, float] = {}
    for (count, _), score in scores.items():
        fastest[count] = max(fastest.get(count, 0.0), score.fastest)
    streams = most = max(fastest)
    cores = max(score.cores for (count, _), score in scores.items() if count == most)
    quiet = cores >= _QUIET * min(most, threads)
    if quiet and fastest[most] < _NEARLY * max(fastest.values()):
        streams = max(fastest, key=lambda count: fastest[count])
    costs = {
        batch: score.cpu_s / score.pictures
        for (count, batch), score in scores.items()
        if count == streams
    }
    batch = max(batch for batch, cost in costs.items() if _AS_CHEAP * cost <= min(costs.values()))
    rate = round(scores[streams, batch].fastest, 1) if quiet else None
    return Tuning(streams, threads, batch, rate)


def _race(
    crews: "Mapping[int, _Crew]", batches: Sequence[int], threads: int
) -> dict[Candidate, Score]:
    """The candidates take turns, so that a busy moment of the machine hits all alike."""
    scores = {}
    for streams, crew in crews.items():
        crew.turn(batches[0])  # the first of its kind is slow
        scores[streams, batches[0]] = first = Score()
        first.add(crew.turn(batches[0]))
        for batch in batches[1:]:
            if first.cpu_s / first.pictures * batch * streams / threads <= _LONGEST_BATCH_S:
                crew.turn(batch)
                scores[streams, batch] = Score()
    end = time.perf_counter() + _BUDGET_S
    while time.perf_counter() < end or not all(score.pictures for score in scores.values()):
        for (streams, batch), score in scores.items():
            score.add(crews[streams].turn(batch))
    return scores


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

    def turn(self, batch: int) -> _Turn:
        """Work for a moment, each worker on a batch at least."""
        cpu, start = time.process_time(), time.perf_counter()
        pictures = sum(self._pool.map(self._work, self._buffers[:, :batch]))
        return _Turn(pictures, time.perf_counter() - start, time.process_time() - cpu)

    def _work(self, pixels: PixelBatch) -> int:
        done, end = 0, time.perf_counter() + _TURN_S
        while not done or time.perf_counter() < end:
            sizes = [self._model.prepare(self._picture, each) for each in pixels]
            self._model.answer(pixels, cast(list[Size], sizes), alone=False)
            done += len(pixels)
        return done


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
        return _parse(file.read_bytes()) if file else None
    except OSError:  # not there, or not for us to read
        return None


def _parse(text: bytes) -> Tuning | None:
    try:
        tuning = Tuning(**json.loads(text))
    except (ValueError, TypeError):
        return None
    counts = (tuning.streams, tuning.threads, tuning.max_batch)
    return tuning if all(type(each) is int and each > 0 for each in counts) else None


def _write(file: Path | None, tuning: Tuning) -> None:
    # Where nothing can be kept, the next start measures again.
    with contextlib.suppress(OSError):
        if file is not None:
            write_json(file, asdict(tuning))


def _main(request: str) -> None:
    path, graph, threads, streams, batches = json.loads(request)
    # Only who measures needs it; the server has its own.
    from pixloop.serving.predictor import open_predictor

    bundle = Bundle.open(Path(path))
    tuning = measure(lambda how: open_predictor(bundle, graph, how), threads, streams, batches)
    print(json.dumps(asdict(tuning)))


if __name__ == "__main__":
    _main(sys.argv[1])
