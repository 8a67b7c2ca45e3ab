"""Small bundles with a reference for drift, made without torch in a fraction of a second."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.small_bundles import (
    COLOURS,
    SIZE,
    letterboxed,
    manifest,
    write_detector,
)

from pixloop.bundle import BoxScores, Bundle, Manifest, write_bundle
from pixloop.data.dataset import Dataset, DatasetWriter, Objects, Row, SplitName
from pixloop.pipeline.reference import add_reference
from pixloop.serving.engines import open_engine
from pixloop.serving.predictor import Predictor, make_predictor

#: Pictures of each split.
PICTURES = 120


@dataclass(frozen=True)
class _Draft:
    """What ``add_reference`` needs of a draft."""

    folder: Path
    manifest: Manifest

    def predictor(self) -> Predictor:
        graph = self.manifest.graphs[0]
        path = self.folder / graph.file
        task, preprocessing = self.manifest.task, self.manifest.preprocessing
        return make_predictor(self.manifest, open_engine(path, graph.format, task, preprocessing))


def colour_picture(rng: np.random.Generator, colour: int, brightness: float = 0.75) -> bytes:
    """A grainy picture, 24 × 20 pixels, that is mostly of one of ``COLOURS``."""
    pixels = rng.normal(60, 20, (20, 24, 3))
    pixels[..., colour] += 255 * brightness * rng.uniform(0.3, 0.9)
    return _encode(pixels)


def scene_picture(rng: np.random.Generator, colours: list[int]) -> tuple[bytes, Objects]:
    """A dark picture, 96 × 64 pixels, with a box of each of the colours, which stand apart."""
    pixels = rng.normal(20, 8, (64, 96, 3))
    boxes = []
    for place, colour in enumerate(colours):
        x, y = 4 + 32 * place + int(rng.integers(0, 6)), int(rng.integers(4, 30))
        width, height = (int(side) for side in rng.integers(12, 22, 2))
        pixels[y : y + height, x : x + width, colour] = rng.uniform(170, 250)
        boxes.append((x, y, x + width, y + height))
    edges = np.array(boxes, np.float64).reshape(-1, 4)
    objects = Objects(edges, np.array(colours, np.int64), np.zeros(len(boxes), np.bool_))
    return _encode(pixels), objects


def write_referenced_classifier(folder: Path, **changes: Any) -> Bundle:
    """A bundle that tells colours apart, with a reference; ``changes`` are of its manifest.

    Its data set lies beside it, in ``<folder>-dataset``; its pictures are ``colour_picture``'s.
    """
    write_linear_graph(folder / "graphs/model.onnx")
    data = _write_colours(folder.with_name(f"{folder.name}-dataset"))
    return _finish(folder, manifest(temperature=1.5, **changes), data)


def write_referenced_detector(folder: Path, **changes: Any) -> Bundle:
    """A bundle that finds coloured things, with a reference; ``changes`` are of its manifest.

    Its data set lies beside it, in ``<folder>-dataset``; its pictures are ``scene_picture``'s.
    """
    write_detector(folder / "graphs/model.onnx")
    fields: dict[str, Any] = {"name": "things", "task": "detection"}
    scores = BoxScores(slope=0.8, offset=0.3, minimum=0.6)
    fields |= {"preprocessing": letterboxed(), "box_scores": scores, **changes}
    data = _write_scenes(folder.with_name(f"{folder.name}-dataset"))
    return _finish(folder, manifest(**fields), data)


def write_linear_graph(path: Path) -> None:
    """Logits: the means of each channel, times a matrix, plus a bias; as a network's last layer."""
    weights = np.float32(10 * np.eye(3) + 0.5)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["seen"]),
            helper.make_node("Gemm", ["seen", "weights", "bias"], ["logits"], transB=1),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32([0.1, 0, -0.1]), "bias"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def _finish(folder: Path, complete: Manifest, data: Dataset) -> Bundle:
    found = add_reference(_Draft(folder, complete), data)  # type: ignore[arg-type]
    assert found is not None
    return write_bundle(folder, complete.model_copy(update={"reference": found.record}))


def _write_colours(folder: Path) -> Dataset:
    rng, writer = np.random.default_rng(0), DatasetWriter(folder, COLOURS)
    for split, number in _places():
        label = number % 3
        # A few are mistaken for another colour.
        shown = (label + 1) % 3 if number % 10 == 9 else label
        picture = colour_picture(rng, shown)
        writer.add(split, Row(picture, f"{split}/{number}.png", label, 24, 20, f"{split}{number}"))
    writer.finish()
    return Dataset.open(folder)


def _write_scenes(folder: Path) -> Dataset:
    rng, writer = np.random.default_rng(0), DatasetWriter(folder, COLOURS, "detection")
    for split, number in _places():
        colours = [int(c) for c in rng.permutation(3)[: number % 4]]
        picture, objects = scene_picture(rng, colours)
        name = f"{split}/{number}.png"
        writer.add(split, Row(picture, name, -1, 96, 64, f"{split}{number}", objects))
    writer.finish()
    return Dataset.open(folder)


def _places() -> list[tuple[SplitName, int]]:
    splits: tuple[SplitName, ...] = ("train", "calibration", "validation", "test")
    return [(split, number) for split in splits for number in range(PICTURES)]


def _encode(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
