"""Load by wrk: what was answered, how fast, and what wrk itself took of the cores."""

import base64
import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = Path(__file__).with_name("wrk.lua")
#: Longer than any answer is waited for; wrk only counts those that take longer.
_TIMEOUT_S = 60
#: Before anything is counted; wrk takes whole seconds.
_WARM_UP_S = 1
_BOUNDARY = "----pictures-of-the-benchmark"

#: A picture → the body that a server wants.
Body = Callable[[bytes], bytes]


def raw(picture: bytes) -> bytes:
    """The picture itself."""
    return picture


def json_base64(key: str) -> Body:
    """A JSON object with the picture as base64."""
    return lambda picture: json.dumps({key: base64.b64encode(picture).decode()}).encode()


def form(field: str) -> Body:
    """A form with the picture as an uploaded file."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="picture.jpg"'
        "\r\nContent-Type: image/jpeg\r\n\r\n"
    )
    return lambda picture: head.encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()


FORM_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def write_requests(folder: Path, bodies: Sequence[bytes], content_type: str) -> None:
    """Write the bodies where wrk.lua finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(bodies):
        (folder / f"{number:02d}").write_bytes(body)
    (folder / "type").write_text(content_type)
    (folder / "count").write_text(str(len(bodies)))


def run_wrk(url: str, requests: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Ask for some seconds, every connection again as soon as it was answered.

    Returns:
        ``rate``: answers with 200 a second · ``p50_ms``, ``p90_ms``, ``p99_ms``: of those; both
        after a warm-up of a second · ``statuses``: how many answers of each · ``errors``: wrk's own
        counts · ``client_cpu_s``: the processor time of wrk · ``seconds``; all three of the whole.
    """
    with tempfile.TemporaryDirectory() as temporary:
        result = Path(temporary) / "result.json"
        duration = f"{max(1, round(seconds)) + _WARM_UP_S}s"
        command = [
            "wrk", "-t", connections, "-c", connections, "-d", duration,
            "--timeout", f"{_TIMEOUT_S}s", "-s", SCRIPT, url, "--", requests, result, _WARM_UP_S,
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=seconds + _WARM_UP_S + 2 * _TIMEOUT_S,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode or not result.exists():
            raise RuntimeError(f"wrk failed: {ended.stdout}{ended.stderr}")
        measured: dict[str, Any] = json.loads(result.read_text())
    latencies = np.array(measured.pop("latencies_us"), np.float64) / 1000
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        **measured,
        "rate": len(latencies) / (measured["seconds"] - _WARM_UP_S),
        **_percentiles(latencies),
        "client_cpu_s": cpu,
    }


def _percentiles(latencies: np.ndarray) -> Mapping[str, float | None]:
    if not len(latencies):
        return {"p50_ms": None, "p90_ms": None, "p99_ms": None}
    found = np.percentile(latencies, [50, 90, 99])
    names = ("p50_ms", "p90_ms", "p99_ms")
    return {name: round(float(ms), 3) for name, ms in zip(names, found, strict=True)}


def usable_cores() -> int:
    """The cores that the server and wrk share."""
    return len(os.sched_getaffinity(0))
