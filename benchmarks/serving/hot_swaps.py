"""Swaps a served model again and again while clients ask: does a request fail, does memory grow?

    python benchmarks/serving/hot_swaps.py BUNDLE OTHER_BUNDLE PICTURE... --swaps 100

Two versions take turns in one server, by its own API, while clients ask without a pause. Every
answer must be that of the version that it names. Memory is that of the server's process, after
every swap.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from pixloop.bundle import Bundle
from pixloop.files import write_json
from pixloop.progress import track
from pixloop.serving.predictor import open_predictor

#: What a model says of each picture, in the form of the server's JSON.
Answers = list[dict[str, Any]]

_counting = threading.Lock()
#: Between what a batch of several pictures and what a lone one gives.
_TOLERANCE = 0.02


@dataclass
class Result:
    """What came of it.

    Attributes:
        swaps: that took over.
        requests: that were answered rightly, by the version that answered.
        failures: what went wrong, in words.
        memory_bytes: of the server, after each swap.
    """

    swaps: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)

    def growth(self, after: int = 10) -> float:
        """How much more memory at the end than after so many swaps: medians of five."""
        first = sorted(self.memory_bytes[after - 5 : after])[2]
        last = sorted(self.memory_bytes[-5:])[2]
        return last / first - 1


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server for several models, and its process."""
    command = [sys.executable, "-m", "pixloop.serving", "--models", str(folder), "--port", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split(" on ")[1].strip(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate()


def swap_under_load(
    bundles: Sequence[Path],
    pictures: Sequence[bytes],
    swaps: int = 100,
    clients: int = 4,
) -> Result:
    """Swap two bundles under load.

    Args:
        bundles: two folders, of one task and of the same classes.
        pictures: what is asked.
        swaps: how often.
        clients: that ask.
    """
    result = Result()
    right = [_answers(bundle, pictures) for bundle in bundles]
    with tempfile.TemporaryDirectory() as folder:
        for number, bundle in enumerate(bundles):
            shutil.copytree(bundle, Path(folder) / str(number))
        with serving(Path(folder)) as (url, process):
            _swap(url, process, pictures, right, swaps, clients, result)
    return result


def _swap(
    url: str,
    process: psutil.Process,
    pictures: Sequence[bytes],
    right: Sequence[Answers],
    swaps: int,
    clients: int,
    result: Result,
) -> None:
    stop = threading.Event()
    model = f"{url}/models/m"
    body = {"model_name": "m", "url": "0", "version": "0"}
    httpx.post(f"{url}/models", json=body, timeout=60).raise_for_status()
    asking = [
        threading.Thread(target=_ask, args=[model, pictures, right, result, stop])
        for _ in range(clients)
    ]
    for thread in asking:
        thread.start()
    try:
        for swap in track(range(1, swaps + 1), "swapping"):
            version = str(swap % 2)
            body = {"url": version, "version": version}
            httpx.put(model, json=body, timeout=60).raise_for_status()
            result.swaps += 1
            result.memory_bytes.append(process.memory_info().rss)
    finally:
        stop.set()
        for thread in asking:
            thread.join()


def _ask(
    model: str,
    pictures: Sequence[bytes],
    right: Sequence[Answers],
    result: Result,
    stop: threading.Event,
) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    with httpx.Client(timeout=60, headers=headers) as http:
        for number in itertools.cycle(range(len(pictures))):
            if stop.is_set():
                return
            try:
                response = http.post(f"{model}/invoke", content=pictures[number])
            except httpx.HTTPError as e:
                result.failures.append(repr(e))
                continue
            if response.status_code != 200:
                result.failures.append(response.text)
                continue
            answer = response.json()
            version = answer["model"].partition(":")[2]
            if not _same(answer["predictions"][0], right[int(version)][number]):
                result.failures.append(f"picture {number}, {answer['model']}: {response.text}")
            with _counting:
                result.requests[version] = result.requests.get(version, 0) + 1


def _answers(bundle: Path, pictures: Sequence[bytes]) -> Answers:
    """What a bundle's model says of each picture, in the form of the server's JSON."""
    predictor = open_predictor(Bundle.open(bundle))
    return [json.loads(json.dumps(asdict(each))) for each in predictor.predict(pictures)]


def _same(answered: Any, right: Any) -> bool:
    """Whether all numbers are, but for rounding; labels that are as likely may change places."""
    shares, expected = answered["probabilities"], right["probabilities"]
    return all(abs(shares[label] - expected[label]) <= _TOLERANCE for label in expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", type=Path, nargs=2)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--output", type=Path, help="gets the result as JSON")
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in options.pictures]
    result = swap_under_load(options.bundles, pictures, options.swaps, options.clients)
    memory = result.memory_bytes
    if options.output:
        write_json(options.output, {**asdict(result), "growth": result.growth()})
    print(f"{result.swaps} swaps, {sum(result.requests.values())} requests: {result.requests}")
    print(f"{len(result.failures)} failed {result.failures[:3]}")
    print(f"memory after 10 swaps {memory[9] / 1e6:.0f} MB, at the end {memory[-1] / 1e6:.0f} MB")
    sys.exit(bool(result.failures))


if __name__ == "__main__":
    main()
