"""What being watched costs a server: captures, a monitor beside it, a challenger in its shadow.

    python materials.py WORK [--untrained]
    python watched.py WORK [--rounds N] [--seconds N] [--output FILE]

A server for each way is up all the time; they are asked in turn, for some seconds each, with 32
connections, so that what else the machine does falls on all of them alike. What is told are ratios
to the server that nobody watches: of answers a second, and of the processor time that an answer
takes, which depends less on what else runs. The monitor is stopped while others are measured.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from load import run_wrk, usable_cores, write_requests
from subjects import MODELS, SIZE_NAMES

from pixloop.files import write_json

CONNECTIONS = 32
#: Nothing beside the server; captures of all requests; these, with a monitor that looks at them;
#: these, with a challenger of the same size.
WAYS = ("alone", "captured", "monitored", "shadowed")
HERE = Path(__file__).parent


def serve(bundle: Path, captures: Path, way: str) -> None:
    """Serve as one of the ways says, until told to stop."""
    from pixloop.config import ServingConfig
    from pixloop.serving.server import serve as serve_bundle

    share = 0.0 if way == "alone" else 1.0
    settings = ServingConfig(
        port=0, capture_share=share, capture_to=str(captures), capture_file_s=2.0
    )
    challenger = (lambda: ("model:2", bundle)) if way == "shadowed" else None
    serve_bundle(bundle, "model:1", settings, captures=captures, challenger=challenger)


def monitor(bundle: Path, captures: Path, state: Path) -> None:
    """Look every two seconds, as 'pixloop monitor --follow' does, until told to stop."""
    from pixloop.bundle import Bundle
    from pixloop.config import Config
    from pixloop.monitoring.monitor import Monitor

    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    config = Config.model_validate({"task": "classification", "data": "none"})
    opened = Monitor(state, config, "1", Bundle.open(bundle), captures, state / "annotations")
    while True:
        began = time.monotonic()
        look = opened.look()
        print(look.new, f"{time.monotonic() - began:.2f}", flush=True)
        time.sleep(2)


@contextmanager
def started(*arguments: object, port: bool = False) -> Iterator[tuple[psutil.Process, str]]:
    """This file in a process of its own, and its address where it serves."""
    command = [sys.executable, str(HERE / "watched.py"), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline() if port else ""
        # Else what it says fills the pipe, and it waits.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield psutil.Process(process.pid), line.strip().rpartition(" ")[2]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def watched(way: str, bundle: Path, work: Path) -> Iterator["Subject"]:
    """A server that is watched in one way."""
    captures = work / f"captures-{way}"
    for folder in (captures, work / "monitoring"):
        shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        server, url = stack.enter_context(started("serve", bundle, captures, way, port=True))
        beside = None
        if way == "monitored":
            beside, _ = stack.enter_context(
                started("monitor", bundle, captures, work / "monitoring")
            )
            time.sleep(5)  # until it has opened its model
            beside.suspend()
        try:
            yield Subject(server, url, beside)
        finally:
            if beside is not None:
                beside.resume()


@dataclass
class Subject:
    """A server, and what watches it from beside."""

    server: psutil.Process
    url: str
    beside: psutil.Process | None

    def ask(self, bodies: Path, seconds: float) -> dict[str, Any]:
        """Ask it for some seconds."""
        if self.beside is not None:
            self.beside.resume()
        before, beside_before = _cpu_s(self.server), _cpu_s(self.beside)
        measured = run_wrk(f"{self.url}/invocations", bodies, CONNECTIONS, seconds)
        cpu, beside = _cpu_s(self.server) - before, _cpu_s(self.beside) - beside_before
        if self.beside is not None:
            self.beside.suspend()
        answered = measured["statuses"].get("200", 0)
        refused = sum(measured["statuses"].values()) - answered
        return {
            "rate": measured["rate"],
            "p50_ms": measured["p50_ms"],
            "p99_ms": measured["p99_ms"],
            "cpu_ms": 1000 * cpu / answered,
            "errors": refused + sum(measured["errors"].values()),
            "monitor_cores": beside / measured["seconds"],
        }


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return times.user + times.system


def _metrics(url: str) -> dict[str, float]:
    """Counts of captures and of the shadow."""
    from urllib.request import urlopen

    with urlopen(f"{url}/metrics") as answer:  # noqa: S310  (our own address)
        lines = answer.read().decode().splitlines()
    wanted = ("pixloop_captured", "pixloop_dropped", "pixloop_shadow")
    found = (line.rpartition(" ") for line in lines if line.startswith(wanted))
    return {name: float(value) for name, _, value in found}


def compare(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds of the ratios to the server that nobody watches in the same round."""
    result: dict[str, Any] = {}
    for way in rounds[0]:
        for size in rounds[0]["alone"]:
            found: dict[str, Any] = {}
            for number in ("rate", "cpu_ms", "p50_ms", "p99_ms"):
                ratios = [each[way][size][number] / each["alone"][size][number] for each in rounds]
                found[number] = {
                    "median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)
                }  # fmt: skip
            found["errors"] = sum(each[way][size]["errors"] for each in rounds)
            found["monitor_cores"] = statistics.median(
                each[way][size]["monitor_cores"] for each in rounds
            )
            result.setdefault(way, {})[size] = found
    return result


def main() -> None:
    """Measure and write."""
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        return
    if sys.argv[1] == "monitor":
        monitor(*map(Path, sys.argv[2:5]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--output", type=Path, default=HERE / "watched.json")
    arguments = parser.parse_args()
    work: Path = arguments.work
    bundle, requests = work / MODELS[0] / "bundle", {}
    for size in reversed(SIZE_NAMES):
        requests[size] = work / "requests" / "watched" / size
        pictures = [path.read_bytes() for path in sorted((work / "pictures" / size).glob("*.jpg"))]
        write_requests(requests[size], pictures, "image/jpeg")
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        subjects = {way: stack.enter_context(watched(way, bundle, work)) for way in arguments.ways}
        for number in range(arguments.rounds):
            # In another order each time: what one leaves to the next falls on each of them.
            turn = number % len(arguments.ways)
            ways = arguments.ways[turn:] + arguments.ways[:turn]
            measured: dict[str, Any] = {way: {} for way in arguments.ways}
            for size, bodies in requests.items():
                for way in ways:
                    measured[way][size] = subjects[way].ask(bodies, arguments.seconds)
            rounds.append(measured)
            print(number, json.dumps(measured), flush=True)
        seen = {
            way: {"memory_mb": subject.server.memory_full_info().uss / 1e6, **_metrics(subject.url)}
            for way, subject in subjects.items()
        }
    compared = compare(rounds)
    write_json(
        arguments.output,
        {"cores": usable_cores(), "compared": compared, "seen": seen, "rounds": rounds},
    )
    print(json.dumps(compared, indent=1), json.dumps(seen, indent=1))


if __name__ == "__main__":
    main()
