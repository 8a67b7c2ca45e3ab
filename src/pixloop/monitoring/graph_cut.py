"""Exported graphs, cut where a picture's embedding is.

OpenVINO reads its own graphs and ONNX's, so that one walk does for both. It computes in float32.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Task
from pixloop.errors import MonitoringError
from pixloop.openvino_runtime import import_openvino, openvino_core

Floats = NDArray[np.float32]

#: What may stand between the last matrix and the logits, besides what adds constants or multiplies
#: by them, as ONNX's Gemm does.
_MOVES = ("Reshape", "Squeeze", "Unsqueeze", "Convert")
_MATRICES = ("MatMul", "Convolution")
#: What follows a convolution in a backbone, and not the last one of a detector's heads.
_ACTIVATIONS = ("Relu", "PRelu", "Clamp", "HSwish", "Swish", "Gelu", "Mish", "Elu")


@dataclass(frozen=True, slots=True)
class Found:
    """A place to cut.

    Attributes:
        tensor: its name in the graph.
        weights: float32 (D, K), that make logits of an embedding; None of a detector.
        bias: float32 (K,).
        logits: the name of the tensor that the graph answers with.
    """

    tensor: str
    weights: Floats | None = None
    bias: Floats | None = None
    logits: str = ""


def find_embedding(path: Path, task: Task) -> Found | None:
    """Where a graph holds the embedding; None where no such place is found.

    A classifier's is what its last matrix is multiplied with. A detector's is the last of the
    activations over the picture with the most channels: the deepest map of its backbone.
    """
    model = openvino_core().read_model(str(path))
    if task == "classification":
        return _before_last_matrix(model.outputs[0].get_node().input_value(0))
    return _widest_map(model)


def _before_last_matrix(value: Any) -> Found | None:
    bias, scale = np.zeros(1, np.float32), np.ones(1, np.float32)
    logits = _name(value)
    while True:
        node = value.get_node()
        kind = node.get_type_name()
        inputs = [node.input_value(i) for i in range(node.get_input_size())]
        constants = [_constant(each) for each in inputs]
        fed = [each for each, known in zip(inputs, constants, strict=True) if known is None]
        if len(fed) != 1:
            return None
        fixed = [known for known in constants if known is not None]
        if kind in _MATRICES:
            weights = _matrix(node, fixed[0])
            if weights is None:
                return None
            bias = np.broadcast_to(bias, weights.shape[1:])
            return Found(_name(fed[0]), weights * scale, bias, logits)
        if kind == "Add":
            bias = bias + scale * fixed[0].astype(np.float32).reshape(-1)
        elif kind == "Multiply":
            scale = scale * fixed[0].astype(np.float32).reshape(-1)
        elif kind not in _MOVES:
            return None
        value = fed[0]


def _matrix(node: Any, weights: NDArray[Any]) -> Floats | None:
    """The constant of a last layer as (D, K); None where it is no matrix."""
    if node.get_type_name() == "Convolution":
        out, into = weights.shape[:2]
        return weights.reshape(out, into).T if weights.size == out * into else None
    if weights.ndim != 2 or node.get_attributes().get("transpose_a"):
        return None
    return weights.T if node.get_attributes().get("transpose_b") else weights


def _constant(value: Any) -> NDArray[Any] | None:
    """A constant's value, also one that is stored in another type, or a product of constants."""
    node = value.get_node()
    match node.get_type_name():
        case "Constant":
            return np.array(node.get_data())
        case "Convert":
            return _constant(node.input_value(0))
        case "Multiply":
            factors = [_constant(node.input_value(i)) for i in range(2)]
            if factors[0] is not None and factors[1] is not None:
                return np.asarray(factors[0] * factors[1])
    return None


def _widest_map(model: Any) -> Found | None:
    maps = [op.output(0) for op in model.get_ordered_ops() if _is_map(op.output(0))]
    activations = [each for each in maps if each.get_node().get_type_name() in _ACTIVATIONS]
    # Without any, a graph is no usual network, and any of its maps is as good.
    best, most = None, 0
    for each in activations or maps:
        channels = each.get_partial_shape()[1].get_length()
        if channels >= most:
            best, most = each, channels
    return None if best is None else Found(_name(best))


def _is_map(value: Any) -> bool:
    """Whether it is computed, one a picture, (N, channels, height, width) with some extent."""
    kind = value.get_node().get_type_name()
    shape = value.get_partial_shape()
    if kind in ("Constant", "Parameter", "Result") or not value.get_element_type().is_real():
        return False
    if shape.rank.is_dynamic or len(shape) != 4 or shape[0].is_static:
        return False
    sides = [shape[i] for i in (1, 2, 3)]
    return all(s.is_static for s in sides) and sides[1].get_length() * sides[2].get_length() > 1


def _name(value: Any) -> str:
    """The tensor's name, as ONNX gave it; else the operation's."""
    names = sorted(value.get_names())
    return str(names[0] if names else value.get_node().get_friendly_name())


class CutGraph:
    """Computes the tensor of a graph, picture by picture, so that a batch changes nothing.

    Threads may share one; each has its own request.
    """

    def __init__(self, path: Path, tensor: str, threads: int) -> None:
        """Compile the graph as far as the tensor.

        Raises:
            MonitoringError: the graph has no such tensor.
        """
        openvino, core = import_openvino(), openvino_core()
        model = core.read_model(str(path))
        found = next((v for v in _outputs(model) if _name(v) == tensor), None)
        if found is None:
            raise MonitoringError(f"{path} has no tensor {tensor!r}: it is not what was exported.")
        cut = openvino.Model([found], model.get_parameters(), "embedding")
        shape = cut.inputs[0].get_partial_shape()
        shape[0] = 1
        cut.reshape(shape)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(cut, "CPU", settings)
        self._of_thread = threading.local()

    def __call__(self, image: Floats) -> Floats:
        """The tensor of an ``image``, float32 (1, 3, size, size), as a vector (D,).

        What has an extent over the picture is averaged over it.
        """
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        request.infer({0: image}, share_inputs=True)
        found = request.get_output_tensor(0).data
        vector = found.mean(axis=(2, 3)) if found.ndim == 4 else found
        return np.array(vector, np.float32).reshape(-1)


def _outputs(model: Any) -> list[Any]:
    ordered = model.get_ordered_ops()
    return [value for op in ordered if op.get_type_name() != "Result" for value in op.outputs()]
