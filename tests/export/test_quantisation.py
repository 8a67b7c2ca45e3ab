"""Post-training quantisation, and graphs of reduced precision in a bundle."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from pixloop.bundle import Graph, Precision, Threshold
from pixloop.config import Config
from pixloop.decoding import RgbArray
from pixloop.errors import ExportError
from pixloop.export import export as export_module
from pixloop.export import openvino, quantisation
from pixloop.export.export import calibrate, open_graph, seal, write_graphs
from pixloop.imaging import Preprocessing, read_input
from pixloop.serving.engines import computes_in_bfloat16

PREPROCESSING = Preprocessing(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PENDING = Threshold(
    score=None, max_error=0.02, confidence=0.95, accepted_share=0, error=None, pictures=0
)


@pytest.fixture(scope="module")
def pixels(pictures: list[bytes]) -> list[RgbArray]:
    return [read_input(picture, PREPROCESSING)[0] for picture in pictures]


@pytest.fixture(scope="module")
def folder(
    network: nn.Module, pixels: list[RgbArray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("quantised")
    openvino.write(network, PREPROCESSING, folder)
    quantisation.write(pixels, PREPROCESSING, folder, "classification")
    return folder


def test_the_files_are_smaller_and_nothing_else_is_left(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in (folder / "graphs").iterdir()}
    assert sizes.keys() == {"model.xml", "model.bin", "model-int8.xml", "model-int8.bin"}
    assert sizes["model-int8.bin"] < 0.5 * sizes["model.bin"]


def test_it_answers_nearly_as_the_network(folder: Path, pixels: list[RgbArray]) -> None:
    graph = Graph(format="openvino", file=quantisation.FILE, precision="int8")
    whole = Graph(format="openvino", file=openvino.FILE)
    batch = np.stack(pixels)
    quantised, expected = (
        open_graph(folder, each, "classification", PREPROCESSING)(batch)[0]
        for each in (graph, whole)
    )
    assert 1e-3 < np.abs(quantised - expected).mean() < 0.3 * np.abs(expected).mean()


@pytest.mark.skipif(not computes_in_bfloat16(), reason="this CPU has no bfloat16")
@pytest.mark.parametrize(
    ("file", "precisions"),
    [(openvino.FILE, ("float32", "bfloat16")), (quantisation.FILE, ("int8", "int8-bfloat16"))],
)
def test_the_rest_is_computed_in_what_the_precision_says(
    file: str, precisions: tuple[Precision, ...], folder: Path, pixels: list[RgbArray]
) -> None:
    graphs = [Graph(format="openvino", file=file, precision=each) for each in precisions]
    first, second = (
        open_graph(folder, graph, "classification", PREPROCESSING)(np.stack(pixels))[0]
        for graph in graphs
    )
    assert np.abs(first - second).max() > 1e-3


def test_the_same_pictures_give_the_same_files(
    folder: Path, pixels: list[RgbArray], network: nn.Module, tmp_path: Path
) -> None:
    openvino.write(network, PREPROCESSING, tmp_path)
    quantisation.write(pixels, PREPROCESSING, tmp_path, "classification")
    weights = [(each / "graphs/model-int8.bin").read_bytes() for each in (folder, tmp_path)]
    assert weights[0] == weights[1]


def test_it_says_nothing(
    folder: Path, pixels: list[RgbArray], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "graphs").mkdir()
    for file in ("model.xml", "model.bin"):
        (tmp_path / "graphs" / file).write_bytes((folder / "graphs" / file).read_bytes())
    quantisation.write(pixels, PREPROCESSING, tmp_path, "classification")
    output, errors = capfd.readouterr()
    assert output == ""
    assert {line.partition(":")[0] for line in errors.splitlines()} <= {"quantising"}


def test_without_pictures_there_is_nothing_to_quantise_by(folder: Path) -> None:
    with pytest.raises(ExportError, match="no validation picture"):
        quantisation.write([], PREPROCESSING, folder, "classification")


def test_a_graph_that_cannot_be_quantised_is_an_export_error(
    pixels: list[RgbArray], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="cannot be quantised"):
        quantisation.write(pixels, PREPROCESSING, tmp_path, "classification")


_OFFLINE = """
import socket, sys
from pathlib import Path

def connect(*arguments):
    print("CONNECTS", arguments)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = socket.create_connection = connect
import numpy as np
from pixloop.export import quantisation
from pixloop.imaging import Preprocessing
pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
preprocessing, folder = Preprocessing(image_size=32), Path(sys.argv[1])
quantisation.write(list(pictures), preprocessing, folder, "classification")
assert "nncf" in sys.modules
print([name for name in sys.modules if "telemetry" in name and not name.startswith("nncf")])
"""


@pytest.mark.slow
def test_nobody_is_told(folder: Path, tmp_path: Path) -> None:
    """NNCF would tell of its use; not under pytest, so this asks a process of its own."""
    (tmp_path / "graphs").mkdir()
    for file in ("model.xml", "model.bin"):
        (tmp_path / "graphs" / file).write_bytes((folder / "graphs" / file).read_bytes())
    home = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", _OFFLINE, str(tmp_path)],
        capture_output=True,
        text=True,
        env=home,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[]\n"
    assert not (tmp_path / "intel").exists()  # where the client keeps who one is


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], pictures: list[bytes]) -> Path:
    return write_dataset(pictures, validation=pictures[:10])


def reduced(config: Config, *precisions: str, **limits: float) -> Config:
    changed = {"formats": ("openvino",), "precisions": precisions, **limits}
    return config.model_copy(update={"export": config.export.model_copy(update=changed)})


def test_graphs_of_reduced_precision_are_certified_and_share_files(
    config: Config,
    model_folder: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export_module, "computes_in_bfloat16", lambda: True)
    loose = {"max_accuracy_loss": 0.9, "max_reduced_difference": 1.0}
    allowed = reduced(config, "float32", "bfloat16", "int8", **loose)
    draft = write_graphs(allowed, model_folder, dataset, tmp_path)
    names = ["openvino", "openvino-bfloat16", "openvino-int8", "openvino-int8-bfloat16"]
    assert [graph.name for graph in draft.manifest.graphs] == names
    assert [result.name for result in draft.certificate.graphs] == names
    assert draft.certificate.max_reduced_difference == 1.0
    assert len({graph.file for graph in draft.manifest.graphs}) == 2
    files = seal(calibrate(draft, PENDING)).manifest.files
    assert {"graphs/model-int8.xml", "graphs/model-int8.bin"} <= files.keys()


def test_what_is_refused_is_told_and_not_shipped(
    config: Config, model_folder: Path, dataset: Path, tmp_path: Path
) -> None:
    strict = reduced(config, "float32", "int8", max_reduced_difference=1e-6)
    draft = write_graphs(strict, model_folder, dataset, tmp_path)
    assert draft.manifest.chosen_graph == "openvino"
    (refused,) = (g for g in draft.certificate.graphs if g.verdict == "refused")
    assert (refused.name, refused.pictures > 0) == ("openvino-int8", True)
    assert refused.largest_probability_difference is not None
    assert "export.max_reduced_difference allows 1e-06" in refused.reason
    assert not list((tmp_path / "graphs").glob("*int8*"))


def test_this_cpu_decides_whether_bfloat16_is_tried(
    config: Config,
    model_folder: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export_module, "computes_in_bfloat16", lambda: False)
    draft = write_graphs(reduced(config, "bfloat16"), model_folder, dataset, tmp_path)
    assert [result.name for result in draft.certificate.graphs] == ["openvino"]
