"""A tiny trained model and a tiny data set."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.data.dataset import DatasetWriter, Row
from pixloop.decoding import decode_image
from pixloop.imaging import Preprocessing, to_input
from pixloop.training.models import TrainedModel, save_model

CLASSES = ("bird", "cat", "dog")
PREPROCESSING = Preprocessing(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def make_network(name: str = "test_resnet", seed: int = 0) -> nn.Module:
    """A network whose answers differ from picture to picture, as a trained one's do."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=len(CLASSES))
    head = network.get_classifier()
    nn.init.normal_(head.weight, std=1.0)
    # Batch norm's statistics are what training leaves behind; without them answers hardly differ.
    seen = np.stack([to_input(decode_image(make_picture(i)), PREPROCESSING) for i in range(30)])
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.from_numpy(seen))
        head.bias -= network.eval()(torch.from_numpy(seen)).mean(0)
    return network


def make_picture(seed: int, size: int = 40) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(coarse).resize((size, size + seed % 7), Image.Resampling.BILINEAR).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return make_network()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [make_picture(seed) for seed in range(30)]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, network: nn.Module) -> Path:
    folder = tmp_path_factory.mktemp("model")
    lineage = {"dataset_sha256": "d" * 64, "seed": 7}
    save_model(folder, TrainedModel(network, "test_resnet", CLASSES, PREPROCESSING, lineage))
    return folder


@pytest.fixture(scope="session")
def write_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def write(
        pictures: list[bytes],
        classes: tuple[str, ...] = CLASSES,
        validation: Sequence[bytes] = (),
    ) -> Path:
        folder = tmp_path_factory.mktemp("dataset")
        writer = DatasetWriter(folder, classes)
        for split, content in (("test", pictures), ("validation", validation)):
            for i, picture in enumerate(content):
                row = Row(picture, f"{split}/{i}.png", i % len(classes), 40, 40, f"{i:064x}")
                writer.add(split, row)
        writer.finish()
        return folder

    return write


@pytest.fixture(scope="session")
def dataset_folder(write_dataset: Callable[..., Path], pictures: list[bytes]) -> Path:
    return write_dataset(pictures)


@pytest.fixture(scope="session")
def config() -> Config:
    return parse_config(
        {
            "task": "classification",
            "data": "pictures",
            "name": "animals",
            "export": {"precisions": ["float32"]},
        }
    )
