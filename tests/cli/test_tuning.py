"""What ``pixloop tune`` writes into pixloop.yaml, what it leaves alone, and what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixloop.cli.tuning import _offer, tune
from pixloop.errors import ConfigError
from pixloop.project import Project
from pixloop.tuning.tune import TuningResult

YAML = "task: classification\ndata: pictures\ntraining:\n  learning_rate: 0.001\n"
BETTER = {"better": True, "difference": 0.02, "words": "Better."}
NOT_SHOWN = {"better": False, "difference": 0.001, "words": "Not shown to be better."}
WORSE = {"better": False, "difference": -0.01, "words": "Worse."}


def result(verdict: dict[str, object] | None, best: float = 0.003) -> TuningResult:
    """Of a search that found this learning rate."""
    return TuningResult(
        study="colours-1",
        objective="F1",
        trials=7,
        completed=5,
        pruned=2,
        failed=0,
        current={"training.learning_rate": 0.001},
        current_score=0.9,
        best={"training.learning_rate": best},
        best_score=0.95,
        found_better=best != 0.001,
        importance={"training.learning_rate": 1.0},
        verdict=verdict,
        report="tuning.html",
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pixloop.yaml"
    path.write_text(YAML)
    return path


def test_the_best_are_shown_as_a_diff_and_written_with_their_study(file: Path, capsys: Any) -> None:
    assert _offer(file, result(BETTER), yes=True, json=False)
    shown = capsys.readouterr().out
    assert "-  learning_rate: 0.001" in shown
    assert "+  learning_rate: 0.003" in shown
    assert "learning_rate: 0.003" in file.read_text()
    assert "colours-1, 7 trials" in file.read_text()


def test_nobody_is_there_to_ask_and_nothing_is_written(file: Path, capsys: Any) -> None:
    assert not _offer(file, result(BETTER), yes=False, json=False)
    assert "--yes writes it" in capsys.readouterr().err
    assert file.read_text() == YAML


def test_what_the_test_pictures_speak_against_is_not_written(file: Path, capsys: Any) -> None:
    assert not _offer(file, result(WORSE), yes=True, json=True)
    assert "test pictures speak against it" in capsys.readouterr().err
    assert file.read_text() == YAML


def test_what_is_not_shown_to_be_better_is_written_only_when_asked_for(file: Path) -> None:
    assert not _offer(file, result(NOT_SHOWN), yes=False, json=True)
    assert file.read_text() == YAML
    assert _offer(file, result(NOT_SHOWN), yes=True, json=True)


def test_where_nothing_better_was_found_there_is_nothing_to_offer(file: Path, capsys: Any) -> None:
    assert not _offer(file, result(None, best=0.001), yes=True, json=False)
    assert capsys.readouterr().out == ""
    assert file.read_text() == YAML


class Found:
    """In the place of a project's search: its result is known."""

    def __init__(self, found: TuningResult | BaseException) -> None:
        self._found = found

    def run(self, *_: object) -> TuningResult:
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found

    report = run


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[TuningResult | BaseException], None]:
    def finds(what: TuningResult | BaseException) -> None:
        monkeypatch.setattr(Project, "tuning", lambda _: Found(what))

    return finds


@pytest.mark.parametrize("json", [False, True])
def test_what_was_found_with_settings_that_the_file_does_not_have_is_not_written(
    file: Path, found: Any, capsys: Any, json: bool
) -> None:
    found(result(BETTER))
    given = ["training.epochs=1", "tuning.pruner=none", "training.learning_rate=0.001"]
    tune(set_=given, yes=True, trials=3, project=str(file.parent), json=json)
    shown = capsys.readouterr()
    assert shown.err == (
        "Not written: the search ran with --set training.epochs=1, which pixloop.yaml does not "
        "have.\n"
    )
    assert ('"written": false' if json else "+  learning_rate: 0.003") in shown.out
    assert file.read_text() == YAML


def test_what_was_found_with_the_file_s_settings_is_written(file: Path, found: Any) -> None:
    found(result(BETTER))
    tune(set_=["training.learning_rate=1e-3"], yes=True, trials=3, project=str(file.parent))
    assert "learning_rate: 0.003" in file.read_text()


def test_a_report_of_other_settings_says_of_which_study_it_is(
    file: Path, found: Any, capsys: Any
) -> None:
    found(result(BETTER).model_copy(update={"of_present": False}))
    tune(report=True, project=str(file.parent))
    shown = capsys.readouterr().out
    assert "were not searched. The latest search, study colours-1," in shown
    assert file.read_text() == YAML


def test_an_interrupted_search_says_how_to_go_on(file: Path, found: Any, capsys: Any) -> None:
    found(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        tune(project=str(file.parent))
    assert capsys.readouterr().err == "Interrupted. The same command goes on where it was.\n"


@pytest.mark.parametrize("option", ["trials", "parallel", "minutes"])
def test_a_wrong_budget_is_said_of_its_option(file: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{option}: .*\\(it is 0\\)"):
        tune(**{option: 0}, project=str(file.parent))
