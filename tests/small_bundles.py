"""A bundle that tells red, green and blue apart and one that finds them, made without torch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pixloop.bundle import Bundle, Graph, Manifest, Threshold, now, write_bundle
from pixloop.imaging import Preprocessing

#: Of the classifier's input.
SIZE = 8
#: Of the detector's input.
SIDE = 64
COLOURS = ("red", "green", "blue")
THRESHOLD = Threshold(
    score=0.9, max_error=0.02, confidence=0.95, accepted_share=0.7, error=0.01, pictures=300
)


def by_class(**scores: float | None) -> Threshold:
    """A threshold for each class."""
    share = {"accepted_share": 0.7, "error": 0.01, "pictures": 300}
    groups = [{"classes": (label,), "score": score, **share} for label, score in scores.items()]
    return Threshold.model_validate({**THRESHOLD.model_dump(), "score": None, "groups": groups})


def write_graph(path: Path) -> None:
    """Logits: ten times the mean of each channel."""
    shape = ["N", 3, SIZE, SIZE]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Mul", ["flat", "ten"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.float32([10, 10, 10]), "ten")],
    )
    _save(graph, path)


def write_detector(path: Path) -> None:
    """Finds the red, the green and the blue thing in a picture.

    Of each channel: the box around what is brighter than a half, scored by how bright it is. Where
    nothing is, the score is 0, and the box is nonsense.
    """
    steps = np.arange(SIDE, dtype=np.float32)
    constants = {
        "half": np.float32(0.5),
        "from_start": steps + 1,
        "from_end": SIDE - steps,
        "side": np.float32(SIDE),
        "rows": np.int64([2]),
        "columns": np.int64([3]),
        "last": np.int64([2]),
        "both": np.int64([2, 3]),
        "end": np.int64([-1]),
        "classes": np.int64([0, 1, 2]),
        "zero": np.float32(0),
    }
    node = helper.make_node
    nodes = [
        node("Greater", ["images", "half"], ["bright"]),
        node("Cast", ["bright"], ["mask"], to=TensorProto.FLOAT),
        node("ReduceMax", ["images", "both"], ["brightest"], keepdims=0),
        node("Greater", ["brightest", "half"], ["there"]),
        node("Where", ["there", "brightest", "zero"], ["scores"]),
        node("Mul", ["scores", "zero"], ["nothing"]),
        node("Cast", ["nothing"], ["zeros"], to=TensorProto.INT64),
        node("Add", ["zeros", "classes"], ["labels"]),
    ]
    # An edge is the furthest bright place from the other side.
    for axis, other in (("x", "rows"), ("y", "columns")):
        nodes += [
            node("ReduceMax", ["mask", other], [f"{axis}_mask"], keepdims=0),
            node("Mul", [f"{axis}_mask", "from_end"], [f"{axis}_left"]),
            node("ReduceMax", [f"{axis}_left", "last"], [f"{axis}_size"], keepdims=1),
            node("Sub", ["side", f"{axis}_size"], [f"{axis}1"]),
            node("Mul", [f"{axis}_mask", "from_start"], [f"{axis}_right"]),
            node("ReduceMax", [f"{axis}_right", "last"], [f"{axis}2"], keepdims=1),
        ]
    nodes.append(node("Concat", ["x1", "y1", "x2", "y2"], ["boxes"], axis=2))
    graph = helper.make_graph(
        nodes,
        "things",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", 3]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 3, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    _save(graph, path)


def _save(graph: onnx.GraphProto, path: Path) -> None:
    opset = [helper.make_opsetid("", 20)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def manifest(**fields: Any) -> Manifest:
    """That of a classifier with one ONNX graph; ``fields`` take the place of its own."""
    usual: dict[str, Any] = {
        "name": "colours",
        "created": now(),
        "classes": COLOURS,
        "preprocessing": Preprocessing(image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1)),
        "graphs": (Graph(format="onnx", file="graphs/model.onnx"),),
        "chosen_graph": "onnx",
        "temperature": 1.0,
        "threshold": THRESHOLD,
        "lineage": {},
        "versions": {},
    }
    return Manifest(**usual | fields)


def letterboxed() -> Preprocessing:
    """What the detector is given."""
    return Preprocessing(
        image_size=SIDE,
        resize="letterbox",
        interpolation="bilinear",
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )


def write_colours(folder: Path) -> Bundle:
    """The classifier, without a certificate."""
    write_graph(folder / "graphs/model.onnx")
    return write_bundle(folder, manifest())
