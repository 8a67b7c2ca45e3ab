"""A data set that a small network learns in seconds."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import DatasetWriter, Objects, Row

CLASSES = ("blue", "green", "red")


def picture(label: int, random: np.random.Generator) -> Row:
    """Noise that is brighter in the channel of its class."""
    pixels = random.integers(0, 160, size=(20, 24, 3))
    pixels[:, :, 2 - label] += 70
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    return Row(data, f"{CLASSES[label]}/{sha256[:8]}.png", label, 24, 20, sha256)


def write_dataset(folder: Path, train: tuple[int, ...] = (9, 8, 8), validation: int = 4) -> Path:
    """``train`` pictures of each class; ``validation`` of each class that has any."""
    random = np.random.default_rng(0)
    writer = DatasetWriter(folder, CLASSES)
    for label, count in enumerate(train):
        for _ in range(count):
            writer.add("train", picture(label, random))
        for _ in range(validation if count else 0):
            writer.add("validation", picture(label, random))
    writer.finish()
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small only wait for one another's threads."""
    torch.set_num_threads(1)


@pytest.fixture
def make_dataset() -> Callable[..., Path]:
    """``write_dataset``, for data sets of other counts."""
    return write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture
def configure() -> Callable[..., Config]:
    """A configuration for a run of seconds: ``configure(optimizer="sgd", model={...})``."""

    def build(model: dict[str, Any] | None = None, **training: Any) -> Config:
        return parse_config(
            {
                "task": "classification",
                "data": "colours",
                "model": {"name": "test_efficientnet", "pretrained": False, "image_size": 32}
                | (model or {}),
                "training": {"epochs": 2, "batch_size": 8, "workers": 0, "precision": "float32"}
                | training,
            }
        )

    return build


SHAPES = ("bar", "square")


def scene(count: int, random: np.random.Generator) -> Row:
    """Grey noise with ``count`` bright squares or dark bars, apart from each other."""
    pixels = random.integers(90, 130, size=(64, 80, 3))
    corners = random.permutation([(x, y) for x in (2, 42) for y in (2, 34)])[:count]
    boxes, labels = [], random.integers(2, size=count)
    for (left, top), label in zip(corners.tolist(), labels.tolist(), strict=True):
        left, top = left + int(random.integers(10)), top + int(random.integers(6))
        width, height, value = [(26, 10, 20), (20, 20, 240)][label]
        pixels[top : top + height, left : left + width] = value
        boxes.append((left, top, left + width, top + height))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    objects = Objects(
        np.array(boxes, np.float64).reshape(-1, 4), labels.astype(np.int64), np.zeros(count, bool)
    )
    return Row(data, f"{sha256[:8]}.png", -1, 80, 64, sha256, objects)


def write_scenes(folder: Path, train: tuple[int, ...], validation: tuple[int, ...]) -> Path:
    """Pictures with so many objects each."""
    random = np.random.default_rng(0)
    writer = DatasetWriter(folder, SHAPES, "detection")
    for count in train:
        writer.add("train", scene(count, random))
    for count in validation:
        writer.add("validation", scene(count, random))
    writer.finish()
    return folder


@pytest.fixture
def make_scenes() -> Callable[..., Path]:
    """``write_scenes``, for data sets of other counts."""
    return write_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    return write_scenes(folder, (1, 2, 3, 0) * 3, (2, 1, 0, 3))


@pytest.fixture
def configure_detector() -> Callable[..., Config]:
    """A configuration for a run of seconds, as ``configure`` gives for classification."""

    def build(model: dict[str, Any] | None = None, **training: Any) -> Config:
        return parse_config(
            {
                "task": "detection",
                "data": "scenes",
                "model": {
                    "name": "retinanet_mobilenet_v2_fpn",
                    "pretrained": False,
                    "image_size": 64,
                }
                | (model or {}),
                "training": {"epochs": 2, "batch_size": 4, "workers": 0} | training,
            }
        )

    return build
