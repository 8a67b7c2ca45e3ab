import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixloop.errors import PipelineError
from pixloop.files import write_json
from pixloop.pipeline.container import Container, sole_file


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """The folders as SageMaker lays them out."""
    config = tmp_path / "input" / "config"
    write_json(config / "hyperparameters.json", {"training.epochs": "3"})
    write_json(config / "inputdataconfig.json", {"dataset": {"TrainingInputMode": "File"}})
    inputs = {
        name: {"S3Uri": f"s3://b/{name}", "LocalPath": f"/opt/ml/processing/input/{name}"}
        for name in ("train", "test")
    }
    request = [{"InputName": name, "S3Input": value} for name, value in inputs.items()]
    write_json(tmp_path / "config" / "processingjobconfig.json", {"ProcessingInputs": request})
    return Container(tmp_path)


def test_a_training_job_finds_its_settings_and_channels(container: Container) -> None:
    assert container.hyperparameters() == {"training.epochs": "3"}
    assert container.channel("dataset") == container.root / "input/data/dataset"
    assert container.channel("weights") is None


def test_settings_that_a_tuning_job_adds_for_itself_are_left_out(container: Container) -> None:
    added = {"training.epochs": "3", "_tuning_objective_metric": "f1_macro"}
    write_json(container.root / "input/config/hyperparameters.json", added)
    assert container.hyperparameters() == {"training.epochs": "3"}


def test_a_processing_job_finds_its_inputs_and_makes_its_outputs(container: Container) -> None:
    assert container.input("test") == container.root / "processing/input/test"
    assert container.input_address("test") == "s3://b/test"
    assert container.input("champion") is None
    assert container.input_address("champion") is None
    assert container.output("dataset").is_dir()
    hosts = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}
    write_json(container.root / "config" / "resourceconfig.json", hosts)
    assert container.host() == "algo-2"


def test_a_failure_is_left_where_it_is_read_and_no_longer_than_that(container: Container) -> None:
    container.fail("x" * 5000)
    assert (container.root / "output" / "failure").read_text() == "x" * 1024
    assert (container.root / "output" / "message").read_text() == "x" * 1024


def test_the_root_is_opt_ml_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIXLOOP_ML", raising=False)
    assert Container().model == Path("/opt/ml/model")
    monkeypatch.setenv("PIXLOOP_ML", "/somewhere")
    assert Container().model == Path("/somewhere/model")


def test_outside_a_job_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"hyperparameters\.json is missing: .* job"):
        Container(tmp_path).hyperparameters()


def test_a_sole_file_is_followed_to_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").touch()
    (tmp_path / "input").mkdir()
    link = tmp_path / "input" / "labels.csv"
    link.symlink_to(tmp_path / "data" / "labels.csv")
    assert sole_file(tmp_path / "input") == tmp_path / "data" / "labels.csv"
    assert sole_file(tmp_path) is None
    (tmp_path / "input" / "more").touch()
    assert sole_file(tmp_path / "input") is None


def test_a_step_dies_with_its_parent_and_takes_its_own_children_along(tmp_path: Path) -> None:
    child = (
        "import subprocess, sys, os, json, time\n"
        "from pixloop.pipeline.container import die_with_parent\n"
        "die_with_parent()\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(json.dumps([os.getpid(), worker.pid]), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import subprocess, sys, os, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True,\n"
        "                 env={**os.environ, 'PIXLOOP_PARENT': str(os.getpid())})\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pids = json.loads(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Nobody may be there to bury it; a zombie does no harm.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
