"""Thousands of bad inputs against a running server: what it answers, and what memory it keeps.

python benchmarks/serving/bad_inputs.py BUNDLE --count 10000
"""

import argparse
import base64
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from pixloop.files import write_json

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.serving.bad_pictures import (
    FORMATS,
    broken,
    encode,
    gradient,
    mutations,
    too_large,
)

CLIENTS = 8
#: Until each worker has met each kind of picture; later, memory stays where it is.
WARM_UP = 1500
#: Until what the server gives back is given back.
REST_S = 6.0
#: What a header may say.
_PICTURE, _JSON = "image/jpeg", "application/json"
_OTHERS = (b"", b"{", b"[" * 100_000, b'{"instances": []}', b'{"image": 3}', b'{"image": "?"}')


def bad_inputs(seed: int) -> Iterator[tuple[bytes, str]]:
    """Endless bodies and content types, the same for the same seed."""
    choose = random.Random(seed)  # noqa: S311
    whole = [encode(gradient(320, 240), format_) for format_ in FORMATS]
    hostile = [data for _, data in [*broken(), *too_large()] if len(data) < 200_000]
    while True:
        kind = choose.random()
        if kind < 0.5:
            yield mutations(choose.choice(whole), choose.randrange), _PICTURE
        elif kind < 0.7:
            yield choose.choice(hostile), _PICTURE
        elif kind < 0.85:
            damaged = mutations(choose.choice(whole), choose.randrange)
            yield json.dumps({"image": base64.b64encode(damaged).decode()}).encode(), _JSON
        elif kind < 0.95:
            yield choose.choice(_OTHERS), _JSON
        else:
            yield choose.choice(whole), choose.choice(("text/csv", "multipart/form-data"))


def send(url: str, count: int, seed: int) -> Counter[int]:
    """How often each status was answered; 0 where there was no answer."""
    inputs, lock = bad_inputs(seed), threading.Lock()
    statuses: Counter[int] = Counter()

    def work() -> None:
        with httpx.Client(base_url=url, timeout=120) as client:
            for _ in range(count // CLIENTS):
                with lock:
                    body, media_type = next(inputs)
                headers = {"Content-Type": media_type}
                try:
                    status = client.post("invocations", content=body, headers=headers).status_code
                except httpx.HTTPError:
                    status = 0
                with lock:
                    statuses[status] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        for worker in [pool.submit(work) for _ in range(CLIENTS)]:
            worker.result()
    return statuses


def use(url: str) -> None:
    """Ask what a server is for, so that what it prepares when it is first needed is there."""
    picture = base64.b64encode(encode(gradient(320, 240), "JPEG")).decode()
    body = json.dumps({"instances": [{"b64": picture}] * 16}).encode()

    def work(_: int) -> None:
        for _ in range(10):
            httpx.post(f"{url}/invocations", content=body, headers={"Content-Type": _JSON})

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))


def memory(process: subprocess.Popen[str]) -> int:
    """MB of the server and its children."""
    root = psutil.Process(process.pid)
    tree = [root, *root.children(recursive=True)]
    return round(sum(each.memory_info().rss for each in tree) / 1e6)


def measure(bundle: Path, count: int) -> dict[str, Any]:
    """What becomes of a server that is sent so many, after it was used and warmed up."""
    command = [sys.executable, "-m", "pixloop.serving", str(bundle), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" on ")[1].strip()
            use(url)
            send(url, WARM_UP, seed=0)
            time.sleep(REST_S)
            before = memory(process)
            statuses = send(url, count, seed=1)
            time.sleep(REST_S)
            after = memory(process)
            alive = process.poll() is None and httpx.get(f"{url}/ping").status_code == 200
        finally:
            process.terminate()
    return {
        "sent": statuses.total(),
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "server_errors": sum(n for s, n in statuses.items() if s >= 500 and s != 503),
        "unanswered": statuses[0],
        "memory_before_mb": before,
        "memory_after_mb": after,
        "alive": alive,
    }


def main() -> int:
    """Measure and say; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--output", type=Path, help="a file for the result, as JSON")
    arguments = parser.parse_args()
    found = measure(arguments.bundle, arguments.count)
    print(json.dumps(found))
    if arguments.output:
        write_json(arguments.output, found)
    fine = found["alive"] and not found["server_errors"] and not found["unanswered"]
    return 0 if fine and found["memory_after_mb"] <= 1.1 * found["memory_before_mb"] else 1


if __name__ == "__main__":
    sys.exit(main())
