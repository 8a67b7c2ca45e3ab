"""What every graph format and its engine must do alike, over classifiers of several kinds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pixloop.bundle import GraphFormat
from pixloop.errors import BundleError, ServingError
from pixloop.export.export import WRITERS, open_graph
from pixloop.imaging import InputArray, Preprocessing
from pixloop.serving.engines import Engine, Logits, open_engine

#: Convolutions, attention, and the two together; all small. And each one's input size.
NETWORKS = {"test_resnet": 32, "test_vit": 160, "test_efficientnet": 48}
FORMATS = tuple(WRITERS)
CLASSES = 5


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    network = timm.create_model(request.param, num_classes=CLASSES).eval()
    nn.init.normal_(network.get_classifier().weight, std=1.0)
    return network, NETWORKS[request.param]


@pytest.fixture(scope="module", params=FORMATS)
def format_(request: pytest.FixtureRequest) -> GraphFormat:
    chosen: GraphFormat = request.param
    return chosen


@pytest.fixture(scope="module")
def folder(network: tuple[nn.Module, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def engine(network: tuple[nn.Module, int], format_: GraphFormat, folder: Path) -> Engine:
    graph = WRITERS[format_](network[0], Preprocessing(image_size=network[1]), folder)
    assert graph.format == format_
    return open_graph(folder, graph)


@pytest.fixture(scope="module")
def make_images(network: tuple[nn.Module, int]) -> Callable[..., InputArray]:
    def make(count: int, seed: int = 0) -> InputArray:
        rng = np.random.default_rng(seed)
        return rng.normal(size=(count, 3, network[1], network[1])).astype(np.float32)

    return make


def expect(network: nn.Module, images: InputArray) -> Logits:
    with torch.inference_mode():
        logits: Logits = network(torch.from_numpy(images)).numpy()
    return logits


@pytest.mark.parametrize("count", [1, 3, 17])
def test_answers_as_the_network_does(
    engine: Engine,
    network: tuple[nn.Module, int],
    make_images: Callable[..., InputArray],
    count: int,
) -> None:
    images = make_images(count)
    (logits,) = engine(images)
    assert logits.shape == (count, CLASSES)
    assert logits.dtype == np.float32
    # bfloat16 would be off by a hundred times this.
    np.testing.assert_allclose(logits, expect(network[0], images), atol=2e-4, rtol=2e-4)


def test_an_answer_stays_as_it_was(engine: Engine, make_images: Callable[..., InputArray]) -> None:
    (first,) = engine(make_images(2))
    kept = first.copy()
    engine(make_images(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_the_input_is_left_alone(engine: Engine, make_images: Callable[..., InputArray]) -> None:
    images = make_images(2)
    kept = images.copy()
    engine(images)
    np.testing.assert_array_equal(images, kept)


def test_threads_may_share_one(engine: Engine, make_images: Callable[..., InputArray]) -> None:
    inputs = [make_images(1 + seed % 3, seed) for seed in range(12)]
    alone = [engine(images)[0] for images in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = [answer[0] for answer in pool.map(engine, inputs)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_wrong_shape_is_a_serving_error(engine: Engine) -> None:
    with pytest.raises(ServingError, match=r"\(1, 1, 7, 7\)"):
        engine(np.zeros((1, 1, 7, 7), np.float32))


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"<?xml version='1.0'?><net/>"])
def test_a_damaged_file_is_a_bundle_error(format_: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("model.xml" if format_ == "openvino" else "model.onnx")
    path.write_bytes(content)
    with pytest.raises(BundleError, match=path.name):
        open_engine(path, format_, "classification")


def test_an_unknown_format_names_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="openvino, onnx"):
        open_engine(tmp_path / "model.tflite", "tflite", "classification")
