import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.referenced_bundles import write_referenced_classifier
from typer.testing import CliRunner

from pixloop.bundle import ARCHIVE, MANIFEST
from pixloop.cli.app import app
from pixloop.errors import BundleError, PipelineError
from pixloop.files import pack
from pixloop.project import Project

Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    Project.init(tmp_path / "project", str(tmp_path / "pictures"))
    for name in ("a", "b"):
        write_referenced_classifier(tmp_path / name, name=name)
    return tmp_path / "project"


def compare(project: Path, *arguments: str) -> str:
    command = ["models", "compare", *arguments, "--project", str(project)]
    result = CliRunner().invoke(app, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_two_bundle_folders_are_compared_and_a_page_is_written(
    project: Path, tmp_path: Path
) -> None:
    a, b, page = str(tmp_path / "a"), str(tmp_path / "b"), tmp_path / "page.html"
    said = compare(project, a, b, "--data", f"{a}-dataset", "--out", str(page))
    assert "answer all 120 pictures equally well" in said
    assert "accuracy" in said
    assert "kept when pictures are worse" in said
    assert "<html" in page.read_text(encoding="utf-8")


def test_numbers_are_written_alike_in_words_and_table(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "b" / MANIFEST
    unsure = json.loads(file.read_text(encoding="utf-8")) | {"temperature": 9.0}
    file.write_text(json.dumps(unsure), encoding="utf-8")
    said = compare(
        project, str(tmp_path / "a"), str(tmp_path / "b"), "--data", str(tmp_path / "a-dataset")
    )
    assert "\u2212" in said
    assert not re.search(r"[ (]-\d", said)
    assert re.search(r"\d\xa0% ", said)
    assert " %" not in said


def test_a_model_and_itself_are_said_to_be_the_same(project: Path, tmp_path: Path) -> None:
    a = str(tmp_path / "a")
    assert "are the same model" in compare(project, a, a, "--data", f"{a}-dataset")


def test_archives_are_compared_too_and_programs_read_json(project: Path, tmp_path: Path) -> None:
    a, archive = str(tmp_path / "a"), tmp_path / ARCHIVE
    pack(tmp_path / "b", archive)
    said = compare(project, a, str(archive), "--data", f"{a}-dataset", "--json")
    content = json.loads(said)
    assert content["better"] is None
    assert content["overall"]["pictures"] == 120
    assert Path(content["report"]).is_file()
    assert Path(content["report"]).parent == project / ".pixloop" / "comparisons"


def test_without_a_run_a_data_set_must_be_named(project: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="--data"):
        compare(project, str(tmp_path / "a"), str(tmp_path / "b"))


def test_what_is_no_bundle_is_said(project: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="pictures"):
        compare(
            project,
            str(tmp_path / "a"),
            str(tmp_path / "pictures"),
            "--data",
            str(tmp_path / "a-dataset"),
        )
