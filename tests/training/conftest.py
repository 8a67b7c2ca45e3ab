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

from pixloop.config import Config, parse_config
from pixloop.data.dataset import DatasetWriter, Row

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
