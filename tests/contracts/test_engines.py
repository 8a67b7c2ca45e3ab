"""What every graph and its engine must do alike, over classifiers of several kinds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pixloop.bundle import Graph
from pixloop.errors import BundleError, ServingError
from pixloop.export.export import WRITERS, open_graph
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import (
    Engine,
    Logits,
    PixelBatch,
    computes_in_bfloat16,
    normalise_batch,
    open_engine,
    side_by_side,
)

#: Convolutions, attention, and the two together; all small. And each one's input size.
NETWORKS = {"test_resnet": 32, "test_vit": 160, "test_efficientnet": 48}
GRAPHS = {
    graph.name: graph
    for graph in (
        Graph(format="torchscript", file=""),
        Graph(format="onnx", file=""),
        Graph(format="openvino", file=""),
        Graph(format="openvino", file="", precision="bfloat16"),
    )
}
CLASSES = 5


@pytest.fixture(scope="module", params=NETWORKS)
def architecture(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def network(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=CLASSES).eval()
    nn.init.normal_(network.get_classifier().weight, std=1.0)
    return network


@pytest.fixture(scope="module")
def preprocessing(architecture: str) -> Preprocessing:
    return Preprocessing(image_size=NETWORKS[architecture])


@pytest.fixture(scope="module", params=GRAPHS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    if chosen == "openvino-bfloat16" and not computes_in_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    return chosen


@pytest.fixture(scope="module")
def folder(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def whole(network: nn.Module, preprocessing: Preprocessing, name: str, folder: Path) -> Engine:
    wanted = GRAPHS[name]
    written = WRITERS[wanted.format](network, preprocessing, folder, "classification")
    graph = written.model_copy(update={"precision": wanted.precision})
    return open_graph(folder, graph, "classification", preprocessing)


@pytest.fixture(params=["lone", "streams"])
def engine(request: pytest.FixtureRequest, whole: Engine) -> Engine:
    """The engine, and how it computes when every core is busy anyway."""
    return whole if request.param == "lone" else side_by_side(whole)


@pytest.fixture(scope="module")
def make_pixels(preprocessing: Preprocessing) -> Callable[..., PixelBatch]:
    def make(count: int, seed: int = 0) -> PixelBatch:
        side = preprocessing.image_size
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (count, side, side, 3), np.uint8)

    return make


def expect(network: nn.Module, pixels: PixelBatch, preprocessing: Preprocessing) -> Logits:
    with torch.inference_mode():
        images = torch.from_numpy(normalise_batch(pixels, preprocessing))
        logits: Logits = network(images).numpy()
    return logits


@pytest.mark.parametrize("count", [1, 3, 4, 17])
def test_answers_as_the_network_does(
    engine: Engine,
    name: str,
    network: nn.Module,
    preprocessing: Preprocessing,
    make_pixels: Callable[..., PixelBatch],
    count: int,
) -> None:
    pixels = make_pixels(count)
    (logits,) = engine(pixels)
    assert logits.shape == (count, CLASSES)
    assert logits.dtype == np.float32
    expected = expect(network, pixels, preprocessing)
    if name.endswith("bfloat16"):
        # It has 8 bits of precision; layer upon layer costs some of them.
        assert 2e-4 < np.abs(logits - expected).max() < 0.1 * expected.std()
    else:
        np.testing.assert_allclose(logits, expected, atol=2e-4, rtol=2e-4)


def test_an_answer_stays_as_it_was(engine: Engine, make_pixels: Callable[..., PixelBatch]) -> None:
    (first,) = engine(make_pixels(2))
    kept = first.copy()
    engine(make_pixels(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_the_input_is_left_alone(engine: Engine, make_pixels: Callable[..., PixelBatch]) -> None:
    pixels = make_pixels(2)
    kept = pixels.copy()
    engine(pixels)
    np.testing.assert_array_equal(pixels, kept)


@pytest.mark.parametrize("part", [np.s_[1:3], np.s_[::2], np.s_[::-1], np.s_[:, :, ::-1]])
def test_part_of_a_larger_batch_is_computed_like_a_copy_of_it(
    engine: Engine, make_pixels: Callable[..., PixelBatch], part: slice | tuple[slice, ...]
) -> None:
    pixels = make_pixels(4)[part]
    (logits,) = engine(pixels)
    np.testing.assert_allclose(logits, engine(np.ascontiguousarray(pixels))[0], atol=1e-5)


def test_threads_may_share_one(engine: Engine, make_pixels: Callable[..., PixelBatch]) -> None:
    inputs = [make_pixels(1 + seed % 3, seed) for seed in range(12)]
    alone = [engine(pixels)[0] for pixels in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = [answer[0] for answer in pool.map(engine, inputs)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 7, 7, 3), (1, 3, 7, 7), (7, 7, 3), (0,)])
def test_a_wrong_shape_is_a_serving_error(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(ServingError, match=str(shape)[1:-1]):
        engine(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"<?xml version='1.0'?><net/>"])
def test_a_damaged_file_is_a_bundle_error(format_: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("model.xml" if format_ == "openvino" else "model.onnx")
    path.write_bytes(content)
    with pytest.raises(BundleError, match=path.name):
        open_engine(path, format_, "classification", Preprocessing(image_size=32))


def test_an_unknown_format_names_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with pytest.raises(BundleError, match="openvino, onnx"):
        open_engine(path, "tflite", "classification", Preprocessing(image_size=32))
