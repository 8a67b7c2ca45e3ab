"""A bundle that tells red, green and blue apart, made without torch."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pixloop.bundle import Bundle, Graph, Manifest, Threshold, now, write_bundle
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import import_openvino
from pixloop.serving.predictor import Predictor

SIZE = 8
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
    opset = [helper.make_opsetid("", 20)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


@pytest.fixture(scope="session", params=["openvino", "onnx"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    write_graph(folder / "graphs/model.onnx")
    openvino = import_openvino()
    model = openvino.Core().read_model(str(folder / "graphs/model.onnx"))
    openvino.save_model(model, str(folder / "graphs/model.xml"), compress_to_fp16=False)
    manifest = Manifest(
        name="colours",
        created=now(),
        classes=("red", "green", "blue"),
        preprocessing=Preprocessing(image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1)),
        graphs=(
            Graph(format="onnx", file="graphs/model.onnx"),
            Graph(format="openvino", file="graphs/model.xml"),
        ),
        chosen_graph=request.param,
        temperature=1.0,
        threshold=THRESHOLD,
        lineage={},
        versions={},
    )
    return write_bundle(folder, manifest)


@pytest.fixture(scope="session")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor.open(bundle)


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    def make(colour: str | tuple[int, int, int] = "red", format_: str = "PNG") -> bytes:
        buffer = BytesIO()
        Image.new("RGB", (20, 30), colour).save(buffer, format_)
        return buffer.getvalue()

    return make
