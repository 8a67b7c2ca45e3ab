"""The small bundles, with the graph of each engine, and pictures for them."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.small_bundles import letterboxed, manifest, write_detector, write_graph

from pixloop.bundle import BoxScores, Bundle, Graph, GraphFormat, write_bundle
from pixloop.openvino_runtime import import_openvino
from pixloop.project import Project
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import Predictor, open_predictor


def _finish(folder: Path, **fields: Any) -> Bundle:
    """A bundle of the ONNX graph in a folder and of what OpenVINO makes of it."""
    openvino = import_openvino()
    model = openvino.Core().read_model(str(folder / "graphs/model.onnx"))
    openvino.save_model(model, str(folder / "graphs/model.xml"), compress_to_fp16=False)
    graphs = (
        Graph(format="onnx", file="graphs/model.onnx"),
        Graph(format="openvino", file="graphs/model.xml"),
    )
    return write_bundle(folder, manifest(graphs=graphs, **fields))


@pytest.fixture(scope="session", params=["openvino", "onnx"])
def chosen_graph(request: pytest.FixtureRequest) -> GraphFormat:
    chosen: GraphFormat = request.param
    return chosen


@pytest.fixture(scope="session")
def bundle(chosen_graph: GraphFormat, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    write_graph(folder / "graphs/model.onnx")
    return _finish(folder, chosen_graph=chosen_graph)


@pytest.fixture(scope="session")
def detector_bundle(chosen_graph: GraphFormat, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("detector")
    write_detector(folder / "graphs/model.onnx")
    return _finish(
        folder,
        name="things",
        task="detection",
        preprocessing=letterboxed(),
        chosen_graph=chosen_graph,
        box_scores=BoxScores(minimum=0.6),
    )


@pytest.fixture(scope="session")
def predictor(bundle: Bundle) -> Predictor:
    return open_predictor(bundle)


@pytest.fixture(scope="session")
def detector(detector_bundle: Bundle) -> Detector:
    return open_predictor(detector_bundle)


#: A thing in a picture: its colour and its edges.
Thing = tuple[tuple[int, int, int], tuple[int, int, int, int]]


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., bytes]:
    """A dark picture with coloured things in it."""

    def make(*things: Thing, size: tuple[int, int] = (128, 96), **options: Any) -> bytes:
        image = Image.new("RGB", size)
        for colour, edges in things:
            image.paste(colour, edges)
        return encode(image, **options)

    return make


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    def make(colour: str | tuple[int, int, int] = "red", format_: str = "PNG") -> bytes:
        buffer = BytesIO()
        Image.new("RGB", (20, 30), colour).save(buffer, format_)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[Bundle], Project]:
    """A project that serves a bundle, as the note in its state says."""

    def make(bundle: Bundle) -> Project:
        data = tmp_path / "data"
        data.mkdir()
        project = Project.init(tmp_path / "project", str(data), bundle.manifest.task)
        registry = project.state / "registry" / "registry.db"
        registry.parent.mkdir(parents=True)
        registry.touch()
        stat = registry.stat()
        note = {
            "version": "1",
            "bundle": str(bundle.path),
            "registry": [stat.st_mtime_ns, stat.st_size],
        }
        (project.state / "serving.json").write_text(json.dumps(note))
        return project

    return make
