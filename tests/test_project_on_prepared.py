"""The whole loop on a data set that was prepared before, here and on S3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import QUICK
from tests.moto_s3 import empty_bucket, serve_s3, store

from pixloop.data.dataset import Dataset
from pixloop.data.remote_dataset import ADDRESS
from pixloop.data.shard_cache import FOLDER
from pixloop.pipeline.runs import list_runs
from pixloop.project import Project
from pixloop.run_summary import RunSummary

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # two runs, on few cores


@pytest.fixture
def s3() -> Iterator[Any]:
    with serve_s3() as server, empty_bucket(server) as client:
        yield client


def prepared(project: Project) -> Path:
    (run,) = list_runs(project.state)
    return run.folder / "steps/Prepare/ml/processing/output/dataset"


def weights(project: Project) -> bytes:
    run = list_runs(project.state)[0]
    return (run.folder / "steps/Train/ml/model/weights.safetensors").read_bytes()


def test_a_project_trains_on_what_another_has_prepared(
    s3: Any,
    finished: tuple[Project, RunSummary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    first, expected = finished
    place = prepared(first)
    address = store(s3, place, "sets/colours")
    project = Project.init(tmp_path / "again", address, settings=QUICK)
    summary = project.run()
    assert weights(project) == weights(first)
    # Not to the last bit: which engine evaluates is chosen by its measured speed.
    assert summary.metrics == pytest.approx(expected.metrics, abs=1e-6)
    taken = prepared(project)
    assert not list(taken.rglob("*.parquet"))
    assert (taken / ADDRESS).read_text() == f"{address}\n"
    assert list((tmp_path / "cache").glob("*.parquet"))
    lineage = project.bundle("latest")[1].manifest.lineage
    assert lineage["dataset_sha256"] == Dataset.open(place).info.sha256
    project.run()
    steps = list_runs(project.state)[0].steps
    assert {steps[name].status for name in ("Prepare", "Train", "Export", "Evaluate")} == {"cached"}
