"""Engines that run a graph on this machine, without torch.

An engine takes pictures as ``imaging`` resizes them, and normalises them itself: OpenVINO does it
as part of the graph, which costs next to nothing, the others in an array of floats.

``openvino.py``, ``onnx.py`` and ``torchscript.py`` hold an engine each. A server imports the one
that it uses, since each costs a good part of its start.
"""

import ctypes
import functools
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import OUTPUTS, GraphFormat, Precision, Task
from pixloop.errors import BundleError, ServingError
from pixloop.imaging import Preprocessing, normalise
from pixloop.openvino_runtime import openvino_core

#: Pictures as the network sees them, but for the normalisation: uint8 (N, size, size, 3).
PixelBatch = NDArray[np.uint8]
Logits = NDArray[np.float32]
#: What a graph answers: an array for each of ``bundle.OUTPUTS`` of its task, in that order. Their
#: shapes are those of ``bundle.Graph``; floats are float32, integers int64.
Outputs = tuple[NDArray[Any], ...]
#: Pictures → outputs. Any N ≥ 1; threads may share one.
Engine = Callable[[PixelBatch], Outputs]

#: The package that each format needs.
RUNTIMES: Mapping[GraphFormat, str] = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "torchscript": "torch",
}
#: Where Linux says how much time a container's processes have.
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine uses the machine.

    Attributes:
        threads: that compute, all together.
        streams: batches computed at once where many are asked for; each has its share of threads.
    """

    threads: int
    streams: int


_Maker = Callable[[Path, Sequence[str], Preprocessing, Precision, EngineSettings], Engine]


def open_engine(
    path: Path,
    format_: str,
    task: Task,
    preprocessing: Preprocessing,
    precision: Precision = "float32",
    settings: EngineSettings | None = None,
) -> Engine:
    """Load a graph.

    Args:
        path: the graph's file; OpenVINO's .bin lies beside its .xml.
        format_: ``openvino``, ``onnx``, or ``torchscript``, which needs torch.
        task: what the graph was made for; tells the names of its outputs.
        preprocessing: how pictures are normalised.
        precision: what is computed in.
        settings: without them, a thread and a stream for each usable core.

    Raises:
        BundleError: the file is no such graph, or not one of the task, or its runtime is missing.
    """
    make = _engine(format_)
    if make is None:
        known = ", ".join(RUNTIMES)
        raise BundleError(f"{path}: a {format_} graph is not served; use one of {known}.")
    cores = usable_cores()
    settings = settings or EngineSettings(threads=cores, streams=cores)
    try:
        return make(path, OUTPUTS[task], preprocessing, precision, settings)
    except Exception as e:  # each engine has its own errors, some of them bare RuntimeErrors
        raise BundleError(f"{path} cannot be loaded as an {format_} graph: {e}") from e


def _engine(format_: str) -> _Maker | None:
    """The engine of a format; imported here because a server uses one, and each takes a while."""
    match format_:
        case "openvino":
            from pixloop.serving.openvino import OpenVinoEngine

            return OpenVinoEngine
        case "onnx":
            from pixloop.serving.onnx import OnnxEngine

            return OnnxEngine
        case "torchscript":
            from pixloop.serving.torchscript import TorchScriptEngine

            return TorchScriptEngine
    return None


def check_pixels(pixels: PixelBatch, preprocessing: Preprocessing) -> None:
    """Refuse what is no batch of pictures as the network sees them.

    No engine can be left to notice: on one core OpenVINO takes any shape in silence, reads past
    its end and answers nothing.

    Raises:
        ServingError: it is not uint8 (N, size, size, 3) with N ≥ 1; the message says what it is.
    """
    side = preprocessing.image_size
    if pixels.shape[1:] != (side, side, 3) or not len(pixels) or pixels.dtype != np.uint8:
        raise ServingError(
            f"the graph takes uint8 pixels of shape (N, {side}, {side}, 3), "
            f"not {pixels.dtype} ones of shape {pixels.shape}."
        )


def normalise_batch(pixels: PixelBatch, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """``imaging.normalise`` of every picture: float32 (N, 3, size, size)."""
    return np.stack([normalise(each, preprocessing) for each in pixels])


def side_by_side(engine: Engine) -> Engine:
    """What computes the most pictures a second where several batches are computed at once."""
    return getattr(engine, "streams", engine)


def computes_in_bfloat16() -> bool:
    """Whether this CPU does, so that OpenVINO would not only pretend to."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def computes_on_cuda() -> bool:
    """Whether ONNX Runtime can compute on a GPU here: its build for CUDA, a driver and a GPU."""
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        return False
    # The usual build has no such library, and is not imported to be told so.
    if not any((Path(found.origin).parent / "capi").glob("*onnxruntime_providers_cuda.*")):
        return False
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int()
        works = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        return works and count.value > 0
    except (OSError, AttributeError):
        return False


def usable_cores() -> int:
    """The cores that this process may use, by affinity and its container's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(CGROUP)))


def _quota(cgroup: Path) -> int:
    """The cores' worth of time that a container has, rounded up; many where it has no limit."""
    files = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # version 2 and 1
    for names in files:
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if int(quota) > 0:
                return -(-int(quota) // int(period))
        except (OSError, ValueError):  # not there; or "max"
            continue
    return sys.maxsize


def cpu_name() -> str:
    """What this machine's processor is called."""
    try:
        # Linux; platform.processor() is empty there.
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
