"""Pooling from the levels of a pyramid, in every format, against torchvision's own."""

import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from pixloop.export import onnx, openvino, torchscript
from pixloop.export.region_pooling import RegionPooling
from pixloop.imaging import Preprocessing
from pixloop.openvino_runtime import openvino_core

SIZE, CHANNELS, SIDE = 64, 2, 3


class Pyramid(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        levels = [nn.functional.avg_pool2d(images[:, :CHANNELS], 2**k) for k in (2, 3, 4)]
        return OrderedDict((str(i), level) for i, level in enumerate(levels))


def pool() -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(["0", "1", "2"], SIDE, 2, canonical_scale=16, canonical_level=3)


class Pooled(nn.Module):
    """The boxes travel in the picture's third channel: its first values, five boxes' edges."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid, self.regions = Pyramid(), RegionPooling(pool(), Pyramid(), SIZE)

    def forward(self, images: Tensor) -> Tensor:
        boxes = torch.unflatten(images[:, 2].flatten(1)[:, :20], 1, (5, 4))
        pooled, order = self.regions(self.pyramid(images), boxes)
        return torch.zeros_like(pooled).index_copy(0, order, pooled).flatten(1)


def make(sides: list[list[float]]) -> Tensor:
    images = torch.rand(len(sides), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for image, five in zip(images, sides, strict=True):
        edges = [[1.0 + i, 2.0, 1.0 + i + side, 2.0 + side] for i, side in enumerate(five)]
        image[2].view(-1)[:20] = torch.tensor(edges).flatten()
    return images


#: Boxes of all three levels in one batch; of one level only, so that the others get none.
CASES = [
    make([[4, 20, 50, 9, 33]]),
    make([[50, 40, 3, 17, 16], [5, 6, 30, 55, 12], [8, 8, 8, 33, 33]]),
    make([[40, 41, 42, 43, 44]]),
    make([[3, 3, 3, 3, 3], [4, 4, 4, 4, 4]]),
]


def expect(images: Tensor) -> Tensor:
    boxes = [image[2].flatten()[:20].view(5, 4) for image in images]
    return pool()(Pyramid()(images), boxes, [(SIZE, SIZE)] * len(images)).flatten(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pooling")
    for module in (onnx, openvino, torchscript):
        module.write(Pooled().eval(), Preprocessing(image_size=SIZE), folder)
    return folder


def test_the_levels_differ() -> None:
    boxes = torch.tensor([[0.0, 0, side, side] for side in (7, 8, 15.9, 16, 40)])
    assert RegionPooling(pool(), Pyramid(), SIZE)._levels(boxes).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("images", CASES)
def test_every_format_pools_as_torchvision(folder: Path, images: Tensor) -> None:
    import onnxruntime

    expected = expect(images).numpy()
    np.testing.assert_allclose(Pooled()(images).numpy(), expected, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        scripted = torch.jit.load(str(folder / torchscript.FILE))
    np.testing.assert_allclose(scripted(images).numpy(), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(str(folder / onnx.FILE))
    (answer,) = session.run(None, {"images": images.numpy()})
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino_core().compile_model(str(folder / openvino.FILE), "CPU", settings)
    np.testing.assert_allclose(model({0: images.numpy()})[0], expected, atol=1e-5)
