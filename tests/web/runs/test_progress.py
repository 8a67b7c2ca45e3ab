import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pixloop.pipeline.progress_note import StepProgress
from pixloop.pipeline.runs import RunRecord, StepRecord
from pixloop.web.runs.progress import measure, read_progress, usual_seconds
from pixloop.web.site import Site

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(**steps: tuple[str, float | None]) -> RunRecord:
    return RunRecord(
        id="now",
        pid=1,
        started=BEGAN.isoformat(),
        steps={
            name: StepRecord(status=status, seconds=seconds, started=BEGAN.isoformat())
            for name, (status, seconds) in steps.items()
        },
    )


def told(done: int, total: int | None, at_s: float, since_s: float = 0.0, first: int = 0):
    return StepProgress(
        step="Train",
        description="training",
        done=done,
        total=total,
        note="epoch 1/2",
        at=BEGAN + timedelta(seconds=at_s),
        since=BEGAN + timedelta(seconds=since_s),
        first=first,
    )


RUNNING = record(
    Prepare=("done", 10.0),
    Train=("running", None),
    Export=("waiting", None),
    Gate=("waiting", None),
)


def left(progress, usual, spent_s):
    found = measure(RUNNING, progress, usual, BEGAN + timedelta(seconds=spent_s))
    assert found is not None
    return found


def test_what_earlier_runs_took_is_the_median_of_those_that_did_it():
    runs = [
        record(Train=("cached", 0.1)),
        record(Train=("done", 10.0)),
        record(Train=("failed", 1.0)),
        record(Train=("done", 30.0)),
        record(Train=("done", 20.0)),
        record(Train=("done", 9000.0)),  # the fourth is too long ago
    ]
    assert usual_seconds(runs) == {"Train": 20.0}
    assert usual_seconds(runs, besides="now") == {}


@pytest.mark.parametrize(
    ("progress", "usual", "spent_s", "eta_s", "whole"),
    [
        # By earlier runs alone: 60 - 20 of Train, 5 of Export, 1 for the gate.
        (None, {"Train": 60.0, "Export": 5.0}, 20, 46.0, True),
        # It has taken longer than ever: what comes after it is left.
        (None, {"Train": 60.0, "Export": 5.0}, 100, 6.0, True),
        # By its pace alone, and of the step alone: 30 of 40 units in 15 s.
        (told(30, 40, 15), {}, 15, 5.0, False),
        (told(30, 40, 15), {"Train": 20.0}, 15, 5.0, False),
        # A step that goes on from a checkpoint made 10 units itself, in 15 s.
        (told(30, 40, 15, first=20), {}, 15, 15.0, False),
        # A piece that began late is not slow: 10 of 20 units in 4 s.
        (told(10, 20, 54, since_s=50), {}, 54, 4.0, False),
        # Both, weighed by how far it is: (1 - 0.25) · 45 + 0.25 · 45.
        (told(10, 40, 15), {"Train": 20.0, "Export": 5.0}, 15, 51.0, True),
        # (1 - 0.5) · 90 + 0.5 · 10.
        (told(20, 40, 10), {"Train": 100.0, "Export": 5.0}, 10, 56.0, True),
        # Nothing tells.
        (None, {}, 15, None, False),
        (told(3, None, 15), {"Export": 5.0}, 15, None, False),
        (told(0, 40, 15), {}, 15, None, False),
    ],
)
def test_the_time_that_is_left(progress, usual, spent_s, eta_s, whole):
    found = left(progress, usual, spent_s)
    assert found.eta_s == (None if eta_s is None else pytest.approx(eta_s))
    assert found.whole is whole


def test_the_share_is_of_the_time_where_that_is_known_and_else_of_the_steps():
    found = left(None, {"Train": 60.0, "Export": 9.0}, 20)
    assert found.share == pytest.approx(30 / 80)  # 10 + 20 s are over, 40 + 9 + 1 are left
    assert left(told(20, 40, 15), {}, 15).share == pytest.approx(1.5 / 4)
    assert left(None, {}, 15).share == pytest.approx(1 / 4)


def test_what_another_step_told_last_counts_for_nothing():
    stale = told(30, 40, 15).model_copy(update={"step": "Prepare"})
    found = left(stale, {}, 15)
    assert (found.step, found.description, found.total) == ("Train", "", None)
    assert measure(record(Train=("done", 1.0)), None, {}, BEGAN) is None


def running(site: Site, identity: str, pid: int, started: datetime) -> Path:
    folder = site.state / "runs" / identity
    run = RunRecord(
        id=identity,
        pid=pid,
        started=started.isoformat(),
        steps={"Train": StepRecord(status="running", started=started.isoformat())},
        folder=folder,
    )
    run.save()
    note = {"step": "Train", "description": "training", "done": 2, "total": 8, "at": "2026-03-01"}
    (folder / "progress.json").write_text(json.dumps({**note, "at": started.isoformat()}))
    return folder


def test_the_progress_of_a_run_is_read_from_its_folder(site, sleeper):
    running(site, "mine", sleeper.pid, datetime.now(UTC))
    run = site.runs()[0]
    found = read_progress(site, run)
    assert found is not None
    assert (found.step, found.done, found.total) == ("Train", 2, 8)
    assert found.eta_s is not None  # the fixture's run trained


def test_a_run_whose_process_is_gone_was_interrupted(site, sleeper):
    # The process of that number is younger than the run.
    running(site, "old", sleeper.pid, datetime.now(UTC) - timedelta(days=1))
    running(site, "mine", sleeper.pid, datetime.now(UTC))
    by_id = {run.id: run for run in site.runs()}
    assert by_id["old"].status == by_id["old"].steps["Train"].status == "interrupted"
    assert by_id["mine"].status == "running"
    assert read_progress(site, by_id["old"]) is None
    sleeper.kill()
    sleeper.wait()
    assert {run.id: run.status for run in site.runs()}["mine"] == "interrupted"
