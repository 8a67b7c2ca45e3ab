"""One server measured once: every connection count and size of picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limit_process import Limit
from load import run_wrk, write_requests
from running import Running, started
from servers import Server, Variant
from subjects import SIZE_NAMES

CONNECTIONS = (1, 8, 32)
CROWD = 200

#: Says what is being measured.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Materials:
    """What ``materials.py`` made.

    Attributes:
        work: the folder of it all.
        model: one of ``subjects.MODELS``.
        reference: the trained model's top class of every picture, by size.
    """

    work: Path
    model: str
    reference: Mapping[str, list[str]]

    @property
    def folder(self) -> Path:
        """With model/ and bundle/."""
        return self.work / self.model

    def pictures(self, size: str) -> Path:
        """The folder of the pictures of a size."""
        return self.work / "pictures" / size

    def read(self, size: str) -> list[bytes]:
        """The pictures of a size."""
        return [path.read_bytes() for path in sorted(self.pictures(size).glob("*.jpg"))]

    def requests(self, server: Server, size: str) -> Path:
        """The folder of what wrk sends to a server; written when first asked for."""
        folder = self.work / "requests" / server.name / size
        if not (folder / "count").exists():
            write_requests(folder, [server.body(p) for p in self.read(size)], server.content_type)
        return folder


def measure_server(
    server: Server,
    variant: Variant,
    materials: Materials,
    seconds: float,
    limit: Limit | None,
    say: Say,
) -> dict[str, Any]:
    """Start it, measure it and stop it.

    Args:
        server: which.
        variant: its setting.
        materials: what it serves and is sent.
        seconds: of each measurement.
        limit: measured just before and after the loads of 32 connections, where it is given.
        say: is told what is being done.

    Returns:
        What results.json holds of a server in a round.
    """
    first = materials.read(SIZE_NAMES[0])[0]
    say("starting")
    with started(server, variant, materials.folder, materials.work, first) as running:
        loads: dict[str, dict[str, Any]] = {size: {} for size in SIZE_NAMES}
        result: dict[str, Any] = {
            "server": server.name,
            "model": materials.model,
            "variant": variant._asdict(),
            "startup_s": running.startup_s,
            "memory_started_mb": running.memory_mb(),
            "agreement": _agreement(running, materials),
            "loads": loads,
            "limit": {},
        }
        for size in SIZE_NAMES:
            run_wrk(running.url, materials.requests(server, size), 8, 1)
            for connections in CONNECTIONS:
                paired = limit if connections == max(CONNECTIONS) else None
                around = [_limit_rate(paired, materials, size, seconds)]
                say(f"{size}, {connections} connections")
                loads[size][connections] = _load(running, materials, size, connections, seconds)
                around.append(_limit_rate(paired, materials, size, seconds))
                if limit and paired:
                    result["limit"][size] = {
                        "rates": around,
                        "batch": limit.batch(materials.pictures(size)),
                        "lone_ms": limit.lone_latency_ms(materials.pictures(size), seconds),
                    }
        # Last, since it leaves a queue behind.
        for size in SIZE_NAMES:
            say(f"{size}, {CROWD} connections")
            loads[size][CROWD] = _load(running, materials, size, CROWD, seconds)
        result["memory_mb"] = running.memory_mb()
        result["alive"] = running.alive()
    return result


def _limit_rate(
    limit: Limit | None, materials: Materials, size: str, seconds: float
) -> float | None:
    return limit.rate(materials.pictures(size), seconds) if limit else None


def _agreement(running: Running, materials: Materials) -> dict[str, float]:
    """The share of pictures whose top class is the trained model's, by size."""
    shares = {}
    for size in SIZE_NAMES:
        wanted = materials.reference[size]
        answered = [running.ask(picture) for picture in materials.read(size)]
        shares[size] = sum(map(str.__eq__, answered, wanted)) / len(wanted)
    return shares


def _load(
    running: Running, materials: Materials, size: str, connections: int, seconds: float
) -> dict[str, Any]:
    running.settle()
    before = running.cpu_s()
    measured = run_wrk(running.url, materials.requests(running.server, size), connections, seconds)
    cpu = running.cpu_s() - before
    answered = measured["statuses"].get("200", 0)
    measured["cpu_ms_a_request"] = 1000 * cpu / answered if answered else None
    return measured
