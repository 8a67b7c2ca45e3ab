"""The ONNX graph: one file, any batch size, equal bytes for equal weights."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from pixloop.bundle import INPUT, OUTPUTS, Graph, Task
from pixloop.errors import ExportError
from pixloop.export import region_pooling, suppression
from pixloop.files import atomic_path
from pixloop.imaging import Preprocessing

FILE = "graphs/model.onnx"
#: Pinned, so that a newer torch does not write what an older runtime cannot read.
OPSET = 20
_TRANSLATIONS = {**region_pooling.TRANSLATIONS, **suppression.TRANSLATIONS}


def write(
    network: nn.Module,
    preprocessing: Preprocessing,
    folder: Path,
    task: Task = "classification",
) -> Graph:
    """Write ``folder/graphs/model.onnx``.

    Args:
        network: in eval mode, float32, on the CPU; of a detector its ``DetectorGraph``.
        preprocessing: gives the size of the input.
        folder: the bundle's.
        task: tells the names of the outputs.

    Raises:
        ExportError: torch cannot express the network in ONNX.
    """
    try:
        model = _convert(network, preprocessing.image_size, OUTPUTS[task])
        onnx.checker.check_model(model)
        content = model.SerializeToString(deterministic=True)
    except Exception as e:  # the exporter, the checker and protobuf each have their own
        reason = " ".join(str(e).split())[:300]
        raise ExportError(f"the network cannot be written as ONNX: {reason}") from e
    with atomic_path(folder / FILE) as temporary:
        temporary.write_bytes(content)
    return Graph(format="onnx", file=FILE)


def _convert(network: nn.Module, size: int, outputs: Sequence[str]) -> onnx.ModelProto:
    # Two pictures: torch.export takes a batch of one for a constant.
    example = torch.zeros(2, 3, size, size)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # the exporter prints its progress
        torch.inference_mode(False),
    ):
        warnings.simplefilter("ignore")  # deprecations inside torch and onnxscript
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            custom_translation_table=_TRANSLATIONS,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch gave no program")
    model: onnx.ModelProto = program.model_proto
    # Notes of the exporter: half a megabyte of module names, and no part of the computation.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")
    return model
