import json
import shutil
import subprocess
import sys

import pytest
from tests.conftest import QUICK

from pixloop.config import FILE_NAME
from pixloop.errors import ConfigError, GateRefused, PipelineError, RegistryError
from pixloop.pipeline.runs import Cause
from pixloop.project import Project, project_name


def test_a_run_says_what_it_made(finished):
    project, summary = finished

    assert summary.version == "1"
    assert summary.metrics["accuracy"] >= 0.95
    assert summary.classes == ("blue", "red")
    assert sum(summary.pictures.values()) == 120
    assert [line for line in summary.findings if "red/broken.png" in line]
    assert project.report().read_text(encoding="utf-8").startswith("<!")


def test_a_second_run_reuses_every_step_and_registers_nothing_new(project):
    again = project.run()

    assert {again.steps[name] for name in ("Prepare", "Train", "Export", "Evaluate")} == {"cached"}
    assert again.version == "1"
    assert len(project.registry.list()) == 1


def test_a_run_notes_why_it_is_run_and_reuses_its_steps_all_the_same(project):
    opened = Project.open(project.folder, ["training.epochs=4"])
    summary = opened.run(cause=Cause(by="watch", triggers=("raw_data",)))

    assert {summary.steps[name] for name in ("Prepare", "Train", "Export")} == {"cached"}
    last, first = project.runs()
    assert last.cause == Cause(by="watch", triggers=("raw_data",), settings=("training.epochs=4",))
    assert first.cause == Cause(by="person")
    epochs = (first.folder / "steps" / "Train" / "ml" / "output" / "epochs.jsonl").read_text()
    assert [json.loads(line)["epoch"] for line in epochs.splitlines()] == [1, 2, 3, 4]


def test_a_changed_key_runs_only_what_depends_on_it(project):
    summary = Project.open(project.folder, ["thresholds.max_error=0.3"]).run()

    assert summary.steps["Prepare"] == summary.steps["Train"] == "cached"
    assert summary.steps["Export"] == summary.steps["Evaluate"] == "done"
    assert summary.version == "2"
    assert summary.threshold["max_error"] == 0.3


def test_a_number_of_processes_that_is_none_is_refused_before_anything_is_prepared(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setenv("PIXLOOP_PROCESSES", "two")
    new = Project.init(tmp_path / "new", str(finished[0].folder / "pictures"), settings=QUICK)

    with pytest.raises(PipelineError, match="PIXLOOP_PROCESSES is 'two'"):
        new.run()
    assert not list(new.state.glob("steps/*"))


@pytest.mark.slow
def test_with_the_data_prepared_train_itself_says_that_a_name_is_wrong(project):
    misspelt = Project.open(project.folder, ["training.optimizer=adamww"])

    with pytest.raises(
        ConfigError, match=r"Train failed: training\.optimizer: .* Did you mean adamw"
    ):
        misspelt.run()


@pytest.mark.slow
def test_a_model_below_the_gate_is_refused_by_how_much(project):
    worse = Project.open(
        project.folder, ["training.epochs=1", "training.learning_rate=1e-9", "gate.minimum=0.99"]
    )

    with pytest.raises(GateRefused, match=r"f1_macro is 0\.\d+, 0\.\d+ below the minimum 0\.99"):
        worse.run()

    assert len(project.registry.list()) == 1


@pytest.mark.slow
def test_a_challenger_worse_than_the_champion_is_refused(project):
    project.registry.approve("1")
    worse = Project.open(
        project.folder, ["training.epochs=1", "training.learning_rate=1e-9", "gate.minimum=0"]
    )

    with pytest.raises(GateRefused, match=r"champion|difference"):
        worse.run()


def test_the_champion_is_served_before_the_latest(project):
    registry = project.registry
    assert project.bundle()[0] == "1"

    registry.reject("1", "a test")

    with pytest.raises(RegistryError, match="pixloop run"):
        project.bundle()
    assert project.bundle("1")[0] == "1"
    registry.approve("1")
    assert project.bundle()[0] == "1"


def test_pictures_are_predicted_and_a_broken_one_stops_nothing(finished):
    project, _ = finished
    pictures = project.folder / "pictures"

    answers = list(
        project.predict(
            [
                pictures / "red/0.png",
                pictures / "red/broken.png",
                pictures / "no.png",
                pictures / "blue/0.png",
            ]
        )
    )

    assert [answer.label for answer in answers] == ["red", None, None, "blue"]
    assert "cannot" in answers[1].error or "not a picture" in answers[1].error
    assert "No such file" in answers[2].error


def test_serving_and_predicting_import_no_torch(finished):
    project, _ = finished
    picture = project.folder / "pictures/red/0.png"
    code = (
        "import sys; from pathlib import Path; from pixloop.project import Project;"
        f"print(next(Project.open({str(project.folder)!r}).predict([Path({str(picture)!r})])).label,"
        "'torch' in sys.modules)"
    )

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout.split() == ["red", "False"]


def test_a_csv_of_relative_paths_is_a_project(finished, tmp_path):
    pictures = finished[0].folder / "pictures"
    shutil.copytree(pictures, tmp_path / "pictures")
    lines = [f"pictures/{name}/{i}.png,{name}" for name in ("red", "blue") for i in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))

    project = Project.init(tmp_path / "project", str(tmp_path / "labels.csv"))
    definition = project.definition()

    assert project.config.data.train == str(tmp_path / "labels.csv")
    assert definition["Version"] == "2020-12-01"


def test_no_report_before_the_first_run(tmp_path):
    project = Project.init(tmp_path / "new", str(tmp_path))

    with pytest.raises(PipelineError, match="pixloop run"):
        project.report()


def test_init_overwrites_nothing(tmp_path):
    Project.init(tmp_path, str(tmp_path))
    before = (tmp_path / FILE_NAME).read_text()

    with pytest.raises(ConfigError, match="exists"):
        Project.init(tmp_path, str(tmp_path))
    assert (tmp_path / FILE_NAME).read_text() == before


def test_init_names_data_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Project.init(tmp_path / "p", str(tmp_path / "nowhere"))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("vehicles", "vehicles"),
        ("My cats & dogs", "My-cats-dogs"),
        ("___", "model"),
        ("é", "model"),
    ],
)
def test_a_project_is_named_after_its_folder(folder, name, tmp_path):
    assert project_name(tmp_path / folder) == name


def test_the_lineage_says_where_a_version_comes_from(finished):
    lineage = finished[0].registry.show("latest").lineage

    assert lineage["dataset_sha256"]
    assert lineage["seed"] == 0
    assert lineage["config"]["training.epochs"] == 4
    assert json.dumps(lineage)
