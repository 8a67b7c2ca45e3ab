"""A run over another store: two folders stand for two buckets."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.pipeline.folders import Folders

from pixloop.errors import PipelineError
from pixloop.pipeline.local import run_local
from pixloop.pipeline.runs import RunRecord, list_runs

Json = dict[str, Any]


@pytest.fixture
def places(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "store")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".pixloop"


@pytest.fixture
def stored(loop: Json, tmp_path: Path, places: Folders) -> Json:
    """The loop in miniature, with its data in one bucket and its results in the other."""
    shutil.copytree(tmp_path / "data", places.path("s3://raw/data"))
    loop["Parameters"][0]["DefaultValue"] = "s3://raw/data"
    learn = next(step for step in loop["Steps"] if step["Name"] == "Learn")
    learn["Arguments"]["OutputDataConfig"] = {"S3OutputPath": "s3://results/models/"}
    for step in loop["Steps"]:
        for output in (
            step["Arguments"].get("ProcessingOutputConfig", {"Outputs": []}).get("Outputs")
        ):
            address = ["s3://results", output["OutputName"], EXECUTION]
            output["S3Output"]["S3Uri"] = {"Std:Join": {"On": "/", "Values": address}}
    return loop


EXECUTION = {"Get": "Execution.PipelineExecutionId"}


def go(definition: Json, state: Path, places: Folders, execution: str = "e1") -> RunRecord:
    asked: list[Any] = []
    record = run_local(
        definition,
        state,
        register=lambda a: asked.append(a) or {"asked": a},
        places=places,
        execution=execution,
    )
    assert len(asked) == 1
    return record


def ran(trace: Path) -> list[str]:
    lines = trace.read_text().split()
    trace.write_text("")
    return lines


def test_inputs_are_fetched_and_outputs_published_where_the_definition_says(
    stored: Json, state: Path, places: Folders
) -> None:
    record = go(stored, state, places)
    assert record.status == "done"
    assert places.fetched == ["s3://raw/data"]  # what a step made is here already
    assert places.names("s3://results/data/e1") == ["a.txt"]
    assert places.names("s3://results/bundle/e1") == ["weights"]
    [model] = places.names("s3://results/models")
    name = str(record.steps["Learn"].folder).removeprefix("steps/")
    assert model == f"{name}/output/model.tar.gz"


def test_a_training_job_finds_the_name_under_which_its_model_is_published(
    toy: SimpleNamespace, state: Path, places: Folders, trace: Path
) -> None:
    program = "note(os.environ['TRAINING_JOB_NAME']); (ml / 'model/w').touch()"
    step = toy.training("T", program, {})
    step["Arguments"]["OutputDataConfig"] = {"S3OutputPath": "s3://results"}
    run_local(toy.pipeline(step), state, places=places)
    [name] = ran(trace)
    assert places.names("s3://results") == [f"{name}/output/model.tar.gz"]


def test_the_registry_is_told_the_stores_addresses(
    stored: Json, state: Path, places: Folders
) -> None:
    registered = go(stored, state, places).registered
    assert registered == {"asked": {"Bundle": "s3://results/bundle/e1"}}


def test_the_execution_names_the_run(stored: Json, state: Path, places: Folders) -> None:
    assert go(stored, state, places, "aaa").id == "aaa"
    go(stored, state, places, "000")
    assert {record.id for record in list_runs(state)} == {"aaa", "000"}
    assert go(stored, state, places, "aaa").status == "done"  # taken up again


def test_nothing_runs_twice_though_every_copy_is_younger_and_all_is_published_again(
    stored: Json, state: Path, places: Folders, trace: Path
) -> None:
    go(stored, state, places)
    assert ran(trace) == ["Copy", "Learn", "Seal", "Score"]
    record = go(stored, state, places, "e2")
    assert ran(trace) == []
    assert record.steps["Seal"].status == "cached"
    assert places.names("s3://results/bundle/e2") == ["weights"]
    assert json.loads((places.path("s3://results/report/e2") / "r.json").read_text())


def test_changed_content_of_the_same_size_runs_again(
    stored: Json, state: Path, places: Folders, trace: Path
) -> None:
    go(stored, state, places)
    ran(trace)
    (places.path("s3://raw/data") / "a.txt").write_text("4")
    go(stored, state, places, "e2")
    assert ran(trace) == ["Copy", "Learn", "Seal", "Score"]


def test_files_of_this_machine_are_still_read(
    stored: Json, state: Path, places: Folders, tmp_path: Path
) -> None:
    stored["Parameters"][0]["DefaultValue"] = (tmp_path / "data").as_uri()
    assert go(stored, state, places).status == "done"
    assert places.fetched == []


def test_an_input_that_is_not_there_is_named(stored: Json, state: Path, places: Folders) -> None:
    stored["Parameters"][0]["DefaultValue"] = "s3://raw/gone"
    with pytest.raises(PipelineError, match="Copy's input 'raw': nothing is at s3://raw/gone"):
        run_local(stored, state, places=places)
    [record] = list_runs(state)
    assert record.steps["Copy"].status == "failed"


def test_a_training_without_an_address_for_its_model_is_refused(
    toy: SimpleNamespace, state: Path, places: Folders
) -> None:
    step = toy.training("T", "(ml / 'model/w').touch()", {})
    with pytest.raises(PipelineError, match=r"T has no OutputDataConfig\.S3OutputPath"):
        run_local(toy.pipeline(step), state, places=places)
