"""A tiny world: pictures of one colour, and a graph that tells colours apart."""

import hashlib
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.evaluation.bundles import write_tiny_bundle

from pixloop.bundle import Threshold
from pixloop.data.dataset import DatasetWriter, Row
from pixloop.imaging import Preprocessing

CLASSES = ("blue", "green", "red")
SIDE = 8

Maker = Callable[..., Path]


def picture(label: int, seed: int, muddle: float = 0.0) -> bytes:
    """A PNG whose colour tells its label, the less so the more ``muddle``."""
    rng = np.random.default_rng(seed)
    colour = np.full(3, 60.0)
    colour[2 - label] = 200.0
    colour = colour * (1 - muddle) + rng.uniform(0, 255, 3) * muddle
    pixels = np.clip(colour + rng.normal(0, 5, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def make_dataset(tmp_path: Path) -> Maker:
    """Writes a data set of coloured squares; classes blue, green, red unless told."""
    numbers = itertools.count()

    def make(
        pictures: int = 60, muddle: float = 0.6, classes: Sequence[str] = CLASSES, **bad: bytes
    ) -> Path:
        folder = tmp_path / f"dataset-{next(numbers)}"
        writer = DatasetWriter(folder, tuple(classes))
        for i in range(pictures):
            image = bad.get("image") if bad and i == 7 else picture(i % 3, i, muddle)
            assert image is not None
            name = f"{classes[i % 3]}/{i}.png"
            digest = hashlib.sha256(image).hexdigest()
            writer.add("test", Row(image, name, i % 3, SIDE, SIDE, digest))
        writer.finish()
        return folder

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Maker:
    """Writes a bundle whose graph answers with the strongest colour, ``skill`` times as clearly."""
    numbers = itertools.count()

    def make(
        classes: Sequence[str] = CLASSES,
        score: float | None = 0.6,
        skill: float = 4.0,
        temperature: float = 0.5,
        name: str = "colours",
        threshold: Threshold | None = None,
    ) -> Path:
        return write_tiny_bundle(
            tmp_path / f"bundle-{next(numbers)}",
            _graph(skill),
            {"latency_ms": 0.2},
            score,
            threshold,
            name=name,
            classes=tuple(classes),
            preprocessing=Preprocessing(
                image_size=SIDE, crop_share=1, mean=(0, 0, 0), std=(1, 1, 1)
            ),
            temperature=temperature,
        )

    return make


def _graph(skill: float) -> onnx.ModelProto:
    """Mean colour, its channels turned round so that they are blue, green, red, times skill."""
    weights = (np.eye(3)[::-1] * skill).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
