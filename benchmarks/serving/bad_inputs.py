"""Thousands of bad inputs at one server: does it answer each with a 4xx, live on and stay small?

    python benchmarks/serving/bad_inputs.py [--count 10000] [--work FOLDER]

Mutated pictures, pictures that are too large or broken on purpose, JSON of every wrong form, wrong
content types and bodies that are none. Memory is that of the server before, when it has seen good
pictures, and after. Writes bad_inputs.json into the work folder, which RESULTS.md tells of.
"""

import argparse
import base64
import http.client
import json
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "serving"))

import bad_pictures
from measure import Materials
from running import Running, started
from servers import find_server
from subjects import MODELS, SIZE_NAMES

from pixloop.files import write_json

HERE = Path(__file__).parent

_CLIENTS = 8
_TIMEOUT_S = 90
_WARMING = 600  # good pictures before memory is measured: allocators grow at first


class Input(NamedTuple):
    """A request's body and how it is announced."""

    content_type: str
    body: bytes


def bad_inputs(pictures: Sequence[bytes], seed: int = 0) -> Iterator[Input]:
    """Bad inputs without end; the same seed gives the same. Some mutated pictures still are some.

    Args:
        pictures: whole ones, to be damaged.
        seed: of what is chosen.
    """
    chance = random.Random(seed)  # noqa: S311  (nothing here is secret)
    made = [data for _, data in (*bad_pictures.too_large(), *bad_pictures.broken())]
    makers = (
        lambda: Input(
            "image/jpeg", bad_pictures.mutations(chance.choice(pictures), chance.randrange)
        ),
        lambda: Input("image/jpeg", chance.choice(pictures)[: chance.randrange(2000)]),
        lambda: Input("application/octet-stream", chance.choice(made)),
        lambda: Input("application/octet-stream", chance.randbytes(chance.randrange(4000))),
        lambda: Input(chance.choice(_OTHER_TYPES), chance.choice(pictures)),
        lambda: Input("application/json", chance.choice(_JSON)),
        lambda: Input("application/json", _in_json(chance.choice(made))),
        lambda: Input("application/json", _in_json(chance.randbytes(100))[: chance.randrange(150)]),
        lambda: Input("application/jsonlines", b"\n".join(chance.sample(_JSON, 3))),
    )
    while True:
        yield chance.choice(makers)()


_OTHER_TYPES = ("text/html", "multipart/form-data", "video/mp4", "nonsense", "application/xml")
_JSON = (
    b"", b"{}", b"[]", b"null", b"1e999", b'{"instances": []}', b'{"instances": {}}', b"{" * 50_000,
    b'{"instances": [{"b64": ""}]}', b'{"image": 1}', b'{"image": "?"}', b"\xff\xfe\x00",
    b'{"instances": [{"s3": "s3://a/b"}]}', b'{"image": "' + b"A" * 100_001 + b'"}',
    b'{"instances": [' + b",".join([b'{"b64": "AAAA"}'] * 2000) + b"]}",
)  # fmt: skip


def _in_json(data: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode()}).encode()


def send_all(running: Running, inputs: Sequence[Input]) -> dict[str, int]:
    """Send them by several clients; how many answers of each status there were."""
    statuses: dict[str, int] = {}
    counting = threading.Lock()

    def send(part: Sequence[Input]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=_TIMEOUT_S)
        for content_type, body in part:
            try:
                headers = {"Content-Type": content_type}
                connection.request("POST", running.server.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as e:
                status = type(e).__name__
                connection.close()
            with counting:
                statuses[status] = statuses.get(status, 0) + 1
        connection.close()

    clients = [threading.Thread(target=send, args=(inputs[i::_CLIENTS],)) for i in range(_CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return statuses


def measure_bad_inputs(materials: Materials, count: int) -> dict[str, Any]:
    """Start pixloop's server, send bad inputs and look at it afterwards."""
    server, pictures = find_server("pixloop"), materials.read(SIZE_NAMES[0])
    good = [Input("image/jpeg", pictures[i % len(pictures)]) for i in range(_WARMING)]
    with started(
        server, server.variants[0], materials.folder, materials.work, pictures[0]
    ) as running:
        send_all(running, good)
        right, before = running.ask(pictures[0]), running.memory_mb()
        statuses = send_all(running, list(islice(bad_inputs(pictures), count)))
        running.settle()
        return {
            "sent": count,
            "statuses": statuses,
            "server_errors": sum(
                n for status, n in statuses.items() if status[0] == "5" and status != "503"
            ),
            "unanswered": sum(n for status, n in statuses.items() if not status.isdigit()),
            "memory_before_mb": before,
            "memory_after_mb": running.memory_mb(),
            "alive": running.alive() and running.ask(pictures[0]) == right,
        }


def main() -> int:
    """Measure and print; 1 if something was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    options = parser.parse_args()
    result = measure_bad_inputs(Materials(options.work, MODELS[0], {}), options.count)
    write_json(options.work / "bad_inputs.json", result)
    print(json.dumps(result, indent=2))
    grown = result["memory_after_mb"] / result["memory_before_mb"] - 1
    fine = result["alive"] and not result["server_errors"] and not result["unanswered"]
    return 0 if fine and grown <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
