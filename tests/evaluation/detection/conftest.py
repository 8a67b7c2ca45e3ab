"""A tiny world: coloured squares on black, and a graph that finds them and names their colour."""

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
from tests.evaluation.detection.cases import objects

from pixloop.bundle import BoxScores
from pixloop.data.dataset import DatasetWriter, Objects, Row
from pixloop.imaging import Preprocessing

CLASSES = ("blue", "green", "red")
SIDE = 64
#: The nine places where a square may be, and where the graph looks.
CELLS = [(x, y, x + 20, y + 20) for y in (0, 22, 44) for x in (0, 22, 44)]

Maker = Callable[..., Path]


def picture(seed: int) -> tuple[bytes, Objects]:
    """A PNG with up to five squares. Some are faint, muddled or not where the graph looks."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((SIDE, SIDE, 3))
    things = []
    for cell in rng.permutation(9)[: rng.integers(0, 6)]:
        label, shift = int(rng.integers(3)), int(rng.choice([0, 0, 0, 1, 9]))
        x1, y1, x2, y2 = CELLS[cell]
        x1, x2 = min(x1 + shift, SIDE), min(x2 + shift, SIDE)
        colour = np.zeros(3)
        colour[2 - label] = rng.choice([250, 200, 30])
        colour += rng.uniform(0, 200, 3) * (rng.random() < 0.3)
        pixels[y1:y2, x1:x2] = colour
        things.append(((x1, y1, x2, y2), label))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue(), objects(*things)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Maker:
    """Writes a data set of squares; ``bad`` is what the eighth picture's file holds instead."""
    numbers = itertools.count()

    def make(
        pictures: int = 40, classes: Sequence[str] = CLASSES, bad: bytes = b"", empty: bool = False
    ) -> Path:
        folder = tmp_path / f"dataset-{next(numbers)}"
        writer = DatasetWriter(folder, tuple(classes), "detection")
        for i in range(pictures):
            image, things = picture(i)
            image = bad if bad and i == 7 else image
            things = objects() if empty else things
            digest = hashlib.sha256(image).hexdigest()
            writer.add("test", Row(image, f"squares/{i}.png", -1, SIDE, SIDE, digest, things))
        writer.finish()
        return folder

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Maker:
    """Writes a bundle; ``order`` says which colour the graph takes for which class."""
    numbers = itertools.count()

    def make(
        classes: Sequence[str] = CLASSES,
        score: float | None = 0.7,
        order: tuple[int, int, int] = (0, 1, 2),
        box_scores: BoxScores | None = None,
        name: str = "squares",
    ) -> Path:
        return write_tiny_bundle(
            tmp_path / f"bundle-{next(numbers)}",
            _graph(order),
            {"smallest_iou": 0.99987},
            score,
            name=name,
            task="detection",
            classes=tuple(classes),
            preprocessing=Preprocessing(
                image_size=SIDE, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1)
            ),
            temperature=1.0,
            box_scores=box_scores or BoxScores(slope=1.2, offset=0.3, minimum=0.3),
        )

    return make


def _graph(order: tuple[int, int, int]) -> onnx.ModelProto:
    """Each place's strongest colour names it; how far it is above the mean is its score."""
    constants = {
        "channels": np.array([2 - k for k in order], np.int64),
        "flat": np.array([0, 3, 9], np.int64),
        "first": np.array([1], np.int64),
        "cells": np.array([CELLS], np.float32),
        "tail": np.array([9, 4], np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([1], np.int64),
        "low": np.array(0.0, np.float32),
        "high": np.array(1.0, np.float32),
    }
    nodes = [
        helper.make_node(
            "AveragePool", ["images"], ["pooled"], kernel_shape=[20, 20], strides=[22, 22]
        ),
        helper.make_node("Gather", ["pooled", "channels"], ["turned"], axis=1),
        helper.make_node("Reshape", ["turned", "flat"], ["places"]),
        helper.make_node("ReduceMax", ["places", "first"], ["best"], keepdims=0),
        helper.make_node("ReduceMean", ["places", "first"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["best", "mean"], ["above"]),
        helper.make_node("Clip", ["above", "low", "high"], ["scores"]),
        helper.make_node("ArgMax", ["places"], ["labels"], axis=1, keepdims=0),
        helper.make_node("Shape", ["best"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["batch"]),
        helper.make_node("Concat", ["batch", "tail"], ["whole"], axis=0),
        helper.make_node("Expand", ["cells", "whole"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 9, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 9]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", 9]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
