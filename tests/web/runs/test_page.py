import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from pixloop.errors import PipelineError
from pixloop.pipeline.runs import Cause, RunRecord, StepRecord
from pixloop.web.reports import SANDBOX
from pixloop.web.runs.stopping import stop_run, worker_named
from pixloop.web.runs.telling import expected_seconds
from pixloop.web.site import Site

HOSTILE = '<script>alert("x")</script>'


def add(site: Site, identity: str, **fields: object) -> RunRecord:
    """A run's record, put beside the fixture's."""
    values = {"pid": 2**22 + 1, "started": datetime.now(UTC).isoformat(timespec="seconds")}
    run = RunRecord.model_validate(
        {**values, "id": identity, "folder": site.state / "runs" / identity, **fields}
    )
    run.save()
    return run


@pytest.fixture
def started(site, monkeypatch):
    """What would have been started."""
    commands = []
    monkeypatch.setattr(
        site.jobs, "start", lambda kind, command, about="": commands.append(command)
    )
    return commands


def test_the_list_tells_each_run_and_why_it_was(client, site):
    add(site, "r2", cause=Cause(by="watch", triggers=("raw_data",)), status="failed")
    add(site, "r3", cause=Cause(by="page", settings=("training.epochs=3",)), status="refused")
    text = client.get("/runs").text
    assert "new raw data" in text
    assert "you, from the page: training.epochs=3" in text
    assert "refused by the gate" in text
    assert text.index("/runs/r3") < text.index(site.runs()[-1].id)  # the newest is first
    assert 'href="/models/1"' in text


def test_long_lists_are_paged(client, site):
    for number in range(60):
        then = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        add(site, f"r{number}", started=then.isoformat(), status="done")
    assert client.get("/runs").text.count('<th scope="row">') == 25
    assert client.get("/runs/list?page=3").text.count('<th scope="row">') == 11
    for page in ("0", "4", "-1", "x", "9" * 30):
        assert client.get(f"/runs?page={page}").status_code == 404


def test_before_the_first_run_the_page_says_how_to_begin(new_client):
    assert "No run yet" in new_client.get("/runs").text
    assert "No run has shown yet how long it takes here" in new_client.get("/runs/new").text


def test_a_finished_run_shows_its_steps_its_epochs_and_its_report(client, site):
    [run] = site.runs()
    page = client.get(f"/runs/{run.id}")
    for name in ("Prepare", "Train", "Export", "Evaluate", "Register", "As a table"):
        assert name in page.text
    curves = client.get(f"/runs/{run.id}/epochs.json").json()
    assert curves["epoch"] == [1, 2, 3, 4]
    assert len([score for score in curves["score"] if 0 <= score <= 1]) == 4
    report = client.get(f"/runs/{run.id}/report")
    assert report.status_code == 200
    assert report.headers["content-security-policy"] == SANDBOX


def test_the_end_of_a_step_s_log_is_shown_and_no_other_file(client, site):
    [run] = site.runs()
    log = run.folder / "steps" / "Train" / "log.txt"
    log.write_bytes(b"first\n" + b"x" * 70_000 + b"\xff\nlast\n")
    answer = client.get(f"/runs/{run.id}/log?step=Train")
    assert answer.text.endswith("last\n")
    assert "first" not in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    beside = f"../../../{run.steps['Train'].folder}"
    assert (run.folder / "steps" / beside / "log.txt").is_file()
    for step in (beside, "../Train", "", "Gate"):
        assert client.get(f"/runs/{run.id}/log", params={"step": step}).text == ""


@pytest.mark.parametrize("identity", ["nothing", "..%2F..%2Fetc", "%2e%2e", "a" * 500])
@pytest.mark.parametrize("part", ["", "/log", "/report", "/state", "/epochs.json"])
def test_a_run_that_is_not_in_the_list_is_not_looked_for(client, identity, part):
    assert client.get(f"/runs/{identity}{part}").status_code == 404


def test_whatever_a_record_says_shows_as_text(client, site):
    add(
        site,
        "r2",
        status="failed",
        failure=HOSTILE,
        cause=Cause(by="page", detail=HOSTILE, settings=(f"card.data={HOSTILE}",)),
        steps={HOSTILE: StepRecord(status="failed")},
    )
    for path in ("/runs", "/runs/r2", "/runs/r2/state"):
        assert "<script>alert" not in client.get(path).text
    assert "&lt;script&gt;" in client.get("/runs/r2").text


# ---- starting


def test_only_what_was_changed_is_set_and_the_command_is_shown(client, started):
    filled = {"training.epochs": "3", "training.batch_size": "16", "because": "  a try "}
    told = client.post("/runs/check", data=filled).json()
    assert told["command"] == "pixloop run --set training.epochs=3"
    assert told["changed"] == ["training.epochs"]
    assert told["time"].startswith("About ")
    assert client.post("/runs/start", data=filled).json() == {"location": "/runs"}
    assert started == [("run", "--set=training.epochs=3", "--because=a try")]


def test_what_the_configuration_refuses_starts_nothing(client, started):
    answer = client.post("/runs/start", data={"training.epochs": "-1"})
    assert answer.status_code == 422
    assert answer.json()["errors"].keys() == {"training.epochs"}
    assert not started


@pytest.mark.parametrize("text", ["--on=sagemaker", "-C/tmp", "x --stop y", "$(id)"])
def test_no_value_becomes_an_option(client, started, text):
    client.post("/runs/start", data={"model.name": text, "because": text})
    [command] = started
    assert command[0] == "run"
    assert all(word.startswith(("--set=model.name=", "--because=")) for word in command[1:])


def test_one_runs_at_a_time_and_the_page_says_so_before_the_click(client, site, started, sleeper):
    add(site, "r2", pid=sleeper.pid, steps={"Train": StepRecord(status="running")})
    page = client.get("/runs/new").text
    assert f"A run is at work (process {sleeper.pid})" in page
    answer = client.post("/runs/start", data={})
    assert answer.status_code == 409
    assert not started


def test_a_run_that_never_began_says_what_it_printed(client, site):
    job = site.jobs.start("run", ["run", "--no-such-option"])
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while site.jobs.status(job) == "running":
        assert datetime.now(UTC) < deadline
    text = client.get("/runs/now").text
    assert "did not begin" in text
    assert "no-such-option" in text


# ---- stopping, and again


def test_only_what_is_a_run_or_a_watch_of_pixloop_s_is_stopped(client, site, sleeper):
    add(site, "r2", pid=sleeper.pid, steps={"Train": StepRecord(status="running")})
    assert client.post("/runs/r2/cancel").status_code == 409
    assert sleeper.poll() is None
    assert "no 'pixloop run'" in client.get("/runs/r2").text


@pytest.mark.parametrize("sleeper", [["pixloop", "run"], ["pixloop", "watch"]], indirect=True)
def test_a_run_is_asked_to_stop_as_ctrl_c_does(client, site, sleeper):
    add(site, "r2", pid=sleeper.pid, steps={"Train": StepRecord(status="running")})
    page = client.get("/runs/r2").text
    assert ("Cancel the run" in page) != ("Stop the watch" in page)
    assert ("Stop the watch" in page) == ("watch" in sleeper.args)
    assert "is asked to stop" in client.post("/runs/r2/cancel").text
    assert sleeper.wait(10) == -signal.SIGINT
    assert "was interrupted" in client.get("/runs/r2").text
    assert client.post("/runs/r2/cancel").status_code == 409


def test_what_a_command_line_is():
    assert worker_named(["/bin/python", "/bin/pixloop", "run"]) == "run"
    assert (
        worker_named(["python", "-c", "from pixloop.cli.app import main; main()", "watch"])
        == "watch"
    )
    assert worker_named(["cat", "pixloop", "runs"]) == "other"
    assert worker_named([]) == "other"


def test_a_run_is_run_again_with_its_own_settings_from_where_it_failed(client, site, started):
    steps = {"Prepare": StepRecord(status="done"), "Train": StepRecord(status="failed")}
    add(site, "r2", status="failed", steps=steps, cause=Cause(settings=("training.epochs=3",)))
    assert "from Train on" in client.get("/runs/r2").text
    answer = client.post("/runs/r2/retry")
    assert answer.headers["hx-redirect"] == "/runs"
    [command] = started
    assert command[:2] == ("run", "--set=training.epochs=3")


def test_settings_that_no_longer_hold_are_refused(client, site, started):
    add(site, "r2", status="failed", cause=Cause(settings=("training.epochs=none", "no.key=1")))
    assert client.post("/runs/r2/retry").status_code == 422
    assert not started


# ---- how long it takes


def test_what_a_change_leaves_as_it_was_takes_no_time():
    steps = {"Prepare": 10.0, "Train": 40.0, "Export": 20.0, "Evaluate": 30.0}
    run = RunRecord(
        id="r",
        pid=1,
        started="2026-01-01T00:00:00+00:00",
        parameters={"Epochs": 4},
        steps={name: StepRecord(status="done", seconds=s) for name, s in steps.items()},
    )
    assert expected_seconds([run], ["thresholds.max_error=0.1"]) == 50.0
    assert expected_seconds([run], ["training.epochs=8"]) == 80.0 + 50.0
    assert expected_seconds([run], ["model.name=x"]) == 90.0
    assert expected_seconds([run], ["data.test_share=0.1", "training.epochs=8"]) == 140.0
    assert expected_seconds([run], ["trust.pictures=0"]) == 30.0
    assert expected_seconds([], ["training.epochs=8"]) is None


def test_a_process_of_another_person_is_not_taken_for_a_run(site):
    run = add(site, "r2", pid=os.getpid(), started="2020-01-01T00:00:00+00:00")
    assert site.runs()[-1].id == run.id
    assert site.runs()[-1].status == "interrupted"
    with pytest.raises(PipelineError, match="Nothing works"):
        stop_run(run)
