"""A tiny world of dark and bright pictures of red, green and blue, and bundles that see colours."""

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

from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import DatasetWriter, Row
from pixloop.imaging import Preprocessing

CLASSES = ("blue", "green", "red")
SIDE = 16

Maker = Callable[..., Path]


def picture(label: int, dark: bool, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    colour = np.full(3, 20.0 if dark else 100.0)
    colour[2 - label] = 60.0 if dark else 220.0
    pixels = np.clip(colour + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def config() -> Config:
    return parse_config(
        {"task": "classification", "data": "."},
        ["slices.least_pictures=15", "robustness.pictures=0"],
    )


@pytest.fixture
def make_dataset(tmp_path: Path) -> Maker:
    """Pictures in three colours, every fourth of them dark."""
    numbers = itertools.count()

    def make(pictures: int = 120, classes: Sequence[str] = CLASSES) -> Path:
        folder = tmp_path / f"dataset-{next(numbers)}"
        writer = DatasetWriter(folder, tuple(classes))
        for i in range(pictures):
            image = picture(i % 3, i % 4 == 0, i)
            digest = hashlib.sha256(image).hexdigest()
            writer.add("test", Row(image, f"{i}.png", i % 3, SIDE, SIDE, digest))
        writer.finish()
        return folder

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Maker:
    """A bundle that names the strongest colour; where pictures are dark, ``in_the_dark`` says."""
    numbers = itertools.count()

    def make(
        in_the_dark: str | None = None,
        classes: Sequence[str] = CLASSES,
        name: str = "colours",
        latency_ms: float = 2.0,
        lineage: dict[str, str] | None = None,
    ) -> Path:
        bias = np.zeros(3, np.float32)
        if in_the_dark is not None:
            bias[list(classes).index(in_the_dark)] = 0.3
        return write_tiny_bundle(
            tmp_path / f"bundle-{next(numbers)}",
            _graph(bias),
            {"latency_ms": latency_ms},
            0.5,
            name=name,
            classes=tuple(classes),
            preprocessing=Preprocessing(
                image_size=SIDE, crop_share=1, mean=(0, 0, 0), std=(1, 1, 1)
            ),
            temperature=1.0,
        )

    return make


def _graph(bias: np.ndarray) -> onnx.ModelProto:
    """Mean colour times twenty as blue, green, red; the bias decides where that is little."""
    weights = (np.eye(3)[::-1] * 20).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weights"], ["seen"]),
        helper.make_node("Add", ["seen", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array((bias * 20).astype(np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
