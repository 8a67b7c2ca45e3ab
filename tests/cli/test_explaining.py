import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.test_trained_network import write_traced_bundle
from typer.testing import CliRunner, Result

from pixloop.bundle import MANIFEST
from pixloop.cli.app import app
from pixloop.errors import DataError
from pixloop.files import sha256_file
from pixloop.project import Project
from pixloop.training.classifiers import create_classifier


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose version passed its checks with occlusion."""
    network = create_classifier("test_resnet", 3, 32).eval()
    bundle = write_traced_bundle(tmp_path / "bundle", network, "test_resnet", 32)
    made = Project.init(tmp_path / "project", data=str(tmp_path))
    monkeypatch.setattr(Project, "bundle", lambda self, version: (None, bundle))
    check = {"method": "occlusion", "title": "Occlusion", "pictures": 8}
    gain = {"mean": 0.2, "low": 0.1}
    found = [{**check, "similarity": 0.1, "deletion": gain, "insertion": gain}]
    file = made.state / "explanations" / f"{sha256_file(bundle.path / MANIFEST)}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(found))
    return made


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.png"
    file.write_bytes(b"no picture")
    return file


def explain(project: Project, *files: Path) -> Result:
    out = str(project.folder / "explained")
    command = ["explain", *map(str, files), "--out", out, "--project", str(project.folder)]
    return CliRunner().invoke(app, command)


def test_without_an_explanation_there_is_no_table(project: Project, broken: Path) -> None:
    result = explain(project, broken)
    assert result.exit_code == DataError.exit_code
    assert result.stdout == ""
    assert "broken.png: not a picture" in result.stderr
    assert "1 of 1 pictures" in result.stderr


def test_what_can_be_read_is_told_beside_what_cannot(
    project: Project, broken: Path, tmp_path: Path
) -> None:
    fine = tmp_path / "fine.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(fine)
    result = explain(project, broken, fine)
    assert result.exit_code == DataError.exit_code
    assert (project.folder / "explained" / "fine-explained.png").is_file()
    assert "drawing" in result.stdout
    assert "broken" not in result.stdout
    assert "checked on 8 test pictures that this version carries" in result.stdout
    assert "1 of 2 pictures" in result.stderr
