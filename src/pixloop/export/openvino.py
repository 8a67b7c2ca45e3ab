"""The OpenVINO graph, read from the ONNX one: any batch size, float32 weights."""

import tempfile
from pathlib import Path

from torch import nn

from pixloop.bundle import Graph, Task
from pixloop.errors import ExportError
from pixloop.export import onnx
from pixloop.imaging import Preprocessing
from pixloop.openvino_runtime import import_openvino, openvino_core

FILE = "graphs/model.xml"


def write(
    network: nn.Module,
    preprocessing: Preprocessing,
    folder: Path,
    task: Task = "classification",
) -> Graph:
    """Write ``folder/graphs/model.xml`` and its ``model.bin``.

    The ONNX graph of the folder is read where there is one, else it is made on the side.
    OpenVINO's own reader of ONNX does it: its converter of torch models traces the network once
    more, takes longer, and sends telemetry.

    Args:
        network: in eval mode, float32, on the CPU; of a detector its ``DetectorGraph``.
        preprocessing: gives the size of the input.
        folder: the bundle's.
        task: tells the names of the outputs.

    Raises:
        ExportError: the network cannot be written as ONNX, or OpenVINO cannot read that.
    """
    target = folder / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".openvino.") as temporary:
        source = folder / onnx.FILE
        if not source.is_file():
            made = onnx.write(network, preprocessing, Path(temporary), task)
            source = Path(temporary) / made.file
        try:
            model = openvino_core().read_model(str(source))
            fresh = Path(temporary) / target.name
            # By default the weights would be rounded to 16 bits.
            import_openvino().save_model(model, str(fresh), compress_to_fp16=False)
        except Exception as e:  # OpenVINO raises bare RuntimeErrors
            reason = " ".join(str(e).split())[:300]
            raise ExportError(f"the network cannot be written for OpenVINO: {reason}") from e
        for file in (fresh.with_suffix(".bin"), fresh):
            file.replace(target.parent / file.name)
    return Graph(format="openvino", file=FILE)
