"""The OpenVINO graph in 8-bit integers, by NNCF's post-training quantisation.

Weights and activations become integers by the ranges that activations take on pictures of the
validation split: what the calibration pictures promise may not rest on a model that has seen them.
Labels are not used, and nothing is trained. What is not quantised stays floating point: ``int8``
computes it in float32, ``int8-bfloat16`` in bfloat16; both have the same files.
"""

import contextlib
import io
import logging
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from pixloop.bundle import Graph, Task
from pixloop.decoding import RgbArray
from pixloop.errors import ExportError
from pixloop.export import openvino
from pixloop.imaging import InputArray, Preprocessing
from pixloop.openvino_runtime import import_openvino, openvino_core
from pixloop.progress import progress
from pixloop.serving.engines import normalise_batch

FILE = "graphs/model-int8.xml"
#: Pictures to take ranges from; more hardly change them.
MOST_PICTURES = 300
_TELEMETRY = "openvino_telemetry"


def write(
    pixels: Iterable[RgbArray], preprocessing: Preprocessing, folder: Path, task: Task
) -> Graph:
    """Write ``folder/graphs/model-int8.xml`` and its ``.bin``. Equal input gives equal files.

    Args:
        pixels: pictures to take ranges from, uint8 (size, size, 3) each; the first 300 are taken.
        preprocessing: how they are normalised.
        folder: the bundle's; it holds the OpenVINO graph.
        task: what the graph was made for.

    Raises:
        ExportError: there is no picture, or NNCF cannot quantise the graph.
    """
    target = folder / FILE
    pictures = list(islice(pixels, MOST_PICTURES))
    if not pictures:
        raise ExportError("there is no validation picture to quantise by")
    try:
        model = openvino_core().read_model(str(folder / openvino.FILE))
        quantised = _quantise(model, pictures, preprocessing, task)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".int8.") as temporary:
            fresh = Path(temporary) / target.name
            import_openvino().save_model(quantised, str(fresh), compress_to_fp16=False)
            for file in (fresh.with_suffix(".bin"), fresh):
                file.replace(target.parent / file.name)
    except Exception as e:  # OpenVINO raises bare RuntimeErrors, NNCF many kinds
        reason = " ".join(str(e).split())[:300]
        raise ExportError(f"the network cannot be quantised: {reason}") from e
    return Graph(format="openvino", file=FILE, precision="int8")


def _quantise(
    model: Any, pictures: Sequence[RgbArray], preprocessing: Preprocessing, task: Task
) -> Any:
    nncf = import_nncf()
    # NNCF draws progress bars of its own on standard output.
    with progress("quantising") as advance, contextlib.redirect_stdout(io.StringIO()):

        def take(pixels: RgbArray) -> InputArray:
            advance()
            return normalise_batch(pixels[None], preprocessing)

        return nncf.quantize(
            model,
            nncf.Dataset(pictures, take),
            subset_size=len(pictures),
            # Activations that are not symmetric, as those of SiLU, get ranges that are not.
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=_kept(model, task)),
        )


def _kept(model: Any, task: Task) -> list[str]:
    """What is left as it is: a classifier's last layer.

    It takes no time, and its rounding would reach the logits undamped: without it, they are on
    average three times as far from the model's.
    """
    if task != "classification":
        return []
    layers = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"]
    return [layer.get_friendly_name() for layer in layers[-1:]]


def import_nncf() -> Any:
    """NNCF, without the client that would tell its makers of every use.

    It takes a stub in place of the client where that cannot be imported.
    """
    if "nncf" in sys.modules:
        return sys.modules["nncf"]
    import_openvino()  # first, so that NNCF does not import OpenVINO's converter
    client = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = cast(Any, None)
    try:
        # Imported here because it takes seconds and only this needs it.
        import nncf
    finally:
        if client is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = client
    nncf.set_log_level(logging.ERROR)
    return nncf
