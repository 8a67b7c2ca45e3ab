"""The examples of how to ask the server, run as they are written."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.serving.in_thread import serving

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.project import Project
from pixloop.serving.app import build_app
from pixloop.serving.predictor import Predictor

DOC = Path(__file__).parents[2] / "docs/serving/clients.md"

pytestmark = pytest.mark.integration


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


@pytest.fixture
def folder(
    make_project: Callable[[Bundle], Project], bundle: Bundle, make_picture: Callable[..., bytes]
) -> Path:
    """A project with the files that the examples name."""
    folder = make_project(bundle).folder
    (folder / "photos").mkdir()
    for path, colour in (("photo", "red"), ("photos/1", "red"), ("photos/2", "blue")):
        (folder / f"{path}.jpg").write_bytes(make_picture(colour, "JPEG"))
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def url(predictor: Predictor) -> Iterator[str]:
    with serving(build_app(predictor, "colours:1", ServingConfig())) as url:
        yield url


def run(command: list[str], folder: Path) -> str:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_shell_examples_work_as_written(folder: Path, url: str) -> None:
    first, several, refused, patient, many = (
        run(["bash", "-euo", "pipefail", "-c", block.replace("http://127.0.0.1:8080", url)], folder)
        for block in blocks("sh")
    )
    assert first.startswith('{"status":')
    assert first.count('"label": "red"') == 2  # the picture as it is, and as JSON
    assert re.findall(r'"label": "(\w+)"', several) == ["red", "blue"]
    assert several.count("\n") == 2
    assert '"urn:pixloop:unreadable-picture"' in refused
    assert '"label": "red"' in patient
    assert many.count("2 pictures") == 2
    assert (folder / "photos.csv").read_text().count("\n") == 3
    labels = pq.read_table(folder / "photos.parquet")["label"].to_pylist()
    assert labels == ["red", "blue"]


def test_the_python_examples_work_as_written(folder: Path, url: str) -> None:
    client, project = (
        run([sys.executable, "-c", block.replace("http://127.0.0.1:8080", url)], folder)
        for block in blocks("python")
    )
    assert re.findall(r"photos/(\d)\.jpg (\w+) [\d.]+ accept", client) == [
        ("1", "red"),
        ("2", "blue"),
    ]
    assert project == "2 {'red': 1, 'blue': 1} 0\n"
