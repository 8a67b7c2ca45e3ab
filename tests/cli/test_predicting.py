"""The verb ``predict`` with a folder of answers; with a file of them see test_app.py."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.picture_predictions.many_pictures import answers, write_files
from typer.testing import CliRunner

from pixloop.bundle import Bundle
from pixloop.cli.app import app
from pixloop.errors import DataError
from pixloop.picture_predictions.record import PicturePrediction
from pixloop.project import Project


@pytest.fixture
def predict(
    tmp_path: Path, classifier_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """``pixloop predict`` in a project with a version; → exit code, output, errors."""
    folder = tmp_path / "project"
    write_files(tmp_path / "pictures", 5)
    Project.init(folder, str(tmp_path / "pictures"))
    monkeypatch.setattr(Project, "bundle", lambda self, version=None: ("3", classifier_bundle))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["predict", *arguments, "-C", str(folder)])
        message = str(done.exception) if done.exception else ""
        return done.exit_code, done.stdout, done.stderr + message

    return run


@pytest.mark.parametrize("output", ["answers", "answers/", "answers.v2/"])
@pytest.mark.parametrize("option", ["--out", "-o"])
def test_a_name_without_a_formats_suffix_is_a_folder(predict, tmp_path, output, option) -> None:
    code, out, err = predict("pictures", option, output, "--json")
    assert code == 1  # one of them is broken
    summary = json.loads(out)
    assert (summary["pictures"], summary["unreadable"], summary["model"]) == (5, 1, "project:3")
    assert len(answers(tmp_path / output)) == 5
    assert "1 of 5 pictures have no prediction" in err


def test_a_name_with_one_is_a_file(predict, tmp_path) -> None:
    predict("pictures", "--out", "answers.csv")
    assert (tmp_path / "answers.csv").is_file()


def test_what_was_interrupted_is_gone_on_with_for_the_same_pictures(
    predict, tmp_path, monkeypatch
) -> None:
    answer = Project.predict

    def stopping(self: Project, *how: object) -> Iterator[PicturePrediction]:
        yield next(answer(self, *how))
        raise DataError("it stops")

    with monkeypatch.context() as patch:
        patch.setattr(Project, "predict", stopping)
        predict("pictures/0", "--out", "a.csv")
    assert (tmp_path / "a.csv.part").exists()
    _, out, _ = predict("pictures/0", "--out", "a.csv", "--json")
    assert (json.loads(out)["earlier"], json.loads(out)["pictures"]) == (1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(Project, "predict", stopping)
        predict("pictures/0", "--out", "a.csv")
    predict("pictures/1", "--out", "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == ["pictures/1/0001.png", "pictures/1/0004.png"]


def test_restart_goes_on_where_nothing_differs(predict) -> None:
    predict("pictures", "--out", "answers")
    _, out, _ = predict("pictures", "--out", "answers", "--restart", "--json")
    assert json.loads(out)["earlier"] == 5


def test_a_person_reads_what_it_came_to(predict) -> None:
    _, out, _ = predict("pictures", "--out", "answers")
    assert "5 pictures → " in out
    assert "red" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures", "--out", "a", "--url", "http://127.0.0.1:1"], "leave out --url, --on"),
        (["pictures", "--out", "a", "--draw", "drawn"], "leave out --url, --on"),
        (["s3://bucket/a", "--out", "a.csv"], "s3://bucket/a: pictures on S3 .* --out FOLDER"),
        (["s3://bucket/a"], "s3://bucket/a: pictures on S3 .* --out FOLDER"),
        (["pictures", "--ray", "auto"], "need --out FOLDER"),
        (["pictures", "--out", "a.csv", "--restart"], "need --out FOLDER"),
        (["pictures", "--out", "a.xlsx"], "must end in .*or in /"),
        (["gs://bucket/a", "--out", "a"], "gs://bucket/a: expected a folder"),
    ],
)
def test_what_does_not_go_together_is_said(predict, arguments, message) -> None:
    import re

    code, _, err = predict(*arguments)
    assert code != 0
    assert re.search(message, " ".join(err.split()))
