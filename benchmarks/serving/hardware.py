"""What was measured on, and with which versions."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_OWN = ("pixloop", "openvino", "uvicorn", "starlette", "httptools", "opencv-python-headless",
        "simplejpeg", "numpy", "torch", "timm")  # fmt: skip
_PEERS = ("litserve", "bentoml", "torchserve", "ray", "fastapi", "uvicorn", "torch", "torchvision",
          "openvino")  # fmt: skip


def describe_hardware() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "processor": next((x.partition(": ")[2] for x in lines if "model name" in x), "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "extensions": [
            name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
            if f" {name}" in flags
        ],
        "system": platform.system() + " " + platform.release(),
        "python": platform.python_version(),
    }  # fmt: skip


def describe_versions(work: Path) -> dict[str, dict[str, str]]:
    """Versions in pixloop's own environment and in the peers'."""
    return {
        "pixloop": _versions(_OWN),
        **{
            name: _asked(work / name / "bin" / "python")
            for name in ("env-peers", "env-bentoml")
            if (work / name).exists()
        },
        "wrk": {"wrk": _first_line(["wrk", "-v"])},
        "java": {"java": _first_line(["java", "-version"])},
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _asked(python: Path) -> dict[str, str]:
    command = [str(python), __file__]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(ended.stdout))


def _first_line(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "missing"
    return next(iter((ended.stdout + ended.stderr).splitlines()), "").split(" Copyright")[0]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_versions(_PEERS)))
