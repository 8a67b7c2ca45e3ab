"""A bundle that tells red, green and blue apart and one that finds them, made without torch."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pixloop.bundle import (
    BoxScores,
    Bundle,
    Graph,
    GraphFormat,
    Manifest,
    Threshold,
    now,
    write_bundle,
)
from pixloop.imaging import Preprocessing
from pixloop.serving.detector import Detector
from pixloop.serving.engines import import_openvino
from pixloop.serving.predictor import Predictor, open_predictor

SIZE = 8
#: Of the detector's input.
SIDE = 64
THRESHOLD = Threshold(
    score=0.9, max_error=0.02, confidence=0.95, accepted_share=0.7, error=0.01, pictures=300
)


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


def _finish(folder: Path, manifest: dict[str, Any]) -> Bundle:
    """A bundle of the ONNX graph in a folder and of what OpenVINO makes of it."""
    openvino = import_openvino()
    model = openvino.Core().read_model(str(folder / "graphs/model.onnx"))
    openvino.save_model(model, str(folder / "graphs/model.xml"), compress_to_fp16=False)
    complete = Manifest(
        created=now(),
        classes=("red", "green", "blue"),
        graphs=(
            Graph(format="onnx", file="graphs/model.onnx"),
            Graph(format="openvino", file="graphs/model.xml"),
        ),
        temperature=1.0,
        threshold=THRESHOLD,
        lineage={},
        versions={},
        **manifest,
    )
    return write_bundle(folder, complete)


@pytest.fixture(scope="session", params=["openvino", "onnx"])
def chosen_graph(request: pytest.FixtureRequest) -> GraphFormat:
    chosen: GraphFormat = request.param
    return chosen


@pytest.fixture(scope="session")
def bundle(chosen_graph: GraphFormat, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    write_graph(folder / "graphs/model.onnx")
    preprocessing = Preprocessing(image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    return _finish(
        folder,
        {"name": "colours", "preprocessing": preprocessing, "chosen_graph": chosen_graph},
    )


@pytest.fixture(scope="session")
def detector_bundle(chosen_graph: GraphFormat, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("detector")
    write_detector(folder / "graphs/model.onnx")
    preprocessing = Preprocessing(
        image_size=SIDE,
        resize="letterbox",
        interpolation="bilinear",
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    manifest = {
        "name": "things",
        "task": "detection",
        "preprocessing": preprocessing,
        "chosen_graph": chosen_graph,
        "box_scores": BoxScores(minimum=0.6),
    }
    return _finish(folder, manifest)


@pytest.fixture(scope="session")
def predictor(bundle: Bundle) -> Predictor:
    return open_predictor(bundle)


@pytest.fixture(scope="session")
def detector(detector_bundle: Bundle) -> Detector:
    return open_predictor(detector_bundle)


#: A thing in a picture: its colour and its edges.
Thing = tuple[tuple[int, int, int], tuple[int, int, int, int]]


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., bytes]:
    """A dark picture with coloured things in it."""

    def make(*things: Thing, size: tuple[int, int] = (128, 96), **options: Any) -> bytes:
        image = Image.new("RGB", size)
        for colour, edges in things:
            image.paste(colour, edges)
        return encode(image, **options)

    return make


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    def make(colour: str | tuple[int, int, int] = "red", format_: str = "PNG") -> bytes:
        buffer = BytesIO()
        Image.new("RGB", (20, 30), colour).save(buffer, format_)
        return buffer.getvalue()

    return make
