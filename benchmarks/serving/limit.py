"""The in-process limit: decode, preprocess and infer on every core, with no HTTP.

    python limit.py BUNDLE

Reads one JSON object a line and answers each with one:

- ``{"pictures": FOLDER, "seconds": S, "batch": B}`` → ``{"rate": pictures a second}`` of as many
  threads as there are cores, each with batches of B, through the functions that the server calls;
- ``{"pictures": FOLDER, "seconds": S, "batch": null}`` → ``{"p50_ms": …}`` of one picture after
  the other, each computed with all threads.

Between two questions it only waits, so it can stay while a server is measured.
"""

import json
import statistics
import sys
import threading
import time
from itertools import count, islice
from pathlib import Path

from pipeline import Pipeline
from pixloop.serving.engines import usable_cores


def rate(pipeline: Pipeline, pictures: list[bytes], batch: int, seconds: float) -> float:
    """Pictures a second with all cores at work."""
    cores, done = usable_cores(), [0] * usable_cores()
    started = time.perf_counter()

    def work(worker: int) -> None:
        numbers = count(worker * 7)
        while time.perf_counter() - started < seconds:
            chosen = [pictures[i % len(pictures)] for i in islice(numbers, batch)]
            done[worker] += len(pipeline.labels(chosen, alone=False))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def lone_latency(pipeline: Pipeline, pictures: list[bytes], seconds: float) -> float:
    """The median time of a picture that is alone, in ms."""
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        pipeline.labels([pictures[len(times) % len(pictures)]], alone=True)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def main() -> None:
    """Answer until standard input ends."""
    pipeline = Pipeline(Path(sys.argv[1]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pictures = [path.read_bytes() for path in sorted(Path(asked["pictures"]).glob("*.jpg"))]
        if asked["batch"] is None:
            answer = {"p50_ms": lone_latency(pipeline, pictures, asked["seconds"])}
        else:
            answer = {"rate": rate(pipeline, pictures, asked["batch"], asked["seconds"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
