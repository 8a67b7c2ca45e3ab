"""What /monitoring says of a monitor's state, and what it changes."""

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.conftest import QUICK, write_colours
from tests.monitoring.monitored import capture, clean, make_bundle
from tests.web.conftest import client_of

from pixloop.errors import PipelineError
from pixloop.files import sha256_file
from pixloop.model_versions import ModelVersion
from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.quality import Checked
from pixloop.monitoring.state import Record, locked, read_state, write_state
from pixloop.project import Project
from pixloop.project_registry import ProjectRegistry
from pixloop.web.home.monitoring import read_monitoring
from pixloop.web.home.server import LocalServer, Served
from pixloop.web.jobs import Jobs
from pixloop.web.monitoring import watched as monitoring_watched
from pixloop.web.site import Site

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def watched_folder(tmp_path_factory) -> Path:
    """A project whose version 1 was asked about 100 usual pictures and 150 dark ones, and seen."""
    root = tmp_path_factory.mktemp("watched")
    pictures = write_colours(root / "pictures", 3)
    settings = {**QUICK, "serving": {"capture_share": 1.0, "port": 0}}
    project = Project.init(root / "pets", str(pictures), settings=settings)
    make_bundle(project.state / "bundles" / "1")
    random = np.random.default_rng(0)
    capture(project.captures, clean(100, random), random)
    capture(project.captures, clean(150, random, dark=True), random, hour=4)
    project.monitor(known=version_of(project.state / "bundles" / "1")).look()
    return project.folder


@pytest.fixture
def watched(watched_folder, tmp_path, monkeypatch) -> Site:
    """A copy of it; its registry knows versions 1 and 2, and may not be asked."""

    def never(_: ProjectRegistry) -> None:
        raise AssertionError("the registry is asked")

    monkeypatch.setattr(ProjectRegistry, "open", never)
    folder = tmp_path / "pets"
    shutil.copytree(watched_folder, folder)
    first = version_of(folder / ".pixloop/bundles/1")
    second = first.model_copy(update={"version": "2", "champion": False})
    monkeypatch.setattr(Site, "versions", lambda _: (second, first))
    return Site(folder)


@pytest.fixture
def ask(watched: Site) -> TestClient:
    return client_of(watched)


def version_of(bundle: Path) -> ModelVersion:
    return ModelVersion(
        model="pets",
        version="1",
        status="approved",
        champion=True,
        created="2026-05-04T03:02:01+00:00",
        metrics={"accuracy": 0.9},
        chosen_graph="onnx",
        lineage={},
        bundle_sha256=sha256_file(bundle / "bundle.json"),
        bundle="",
        report="",
        run="",
    )


def state_of(site: Site) -> Record:
    return read_state(site.state / "monitoring/1/state.npz")[0]


def change(site: Site, **record: object) -> None:
    """Rewrite what the monitor knows."""
    file = site.state / "monitoring/1/state.npz"
    known, arrays = read_state(file)
    write_state(file, known.model_copy(update=record), arrays)


def set_config(site: Site, before: str, after: str) -> None:
    file = site.folder / "pixloop.yaml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_an_alarm_is_told_with_its_pictures_and_what_to_do(ask, watched):
    page = ask.get("/monitoring").text
    assert "Brightness is lower than in the reference" in page
    assert "Compare the pictures below" in page
    assert "mend it and acknowledge" in page
    assert "/monitoring/1/alarms/drift-0/11.jpg" in page
    for path in ("alarms/drift-0/0.jpg", "alarms/drift-0/11.jpg", "typical/0.jpg"):
        answer = ask.get(f"/monitoring/1/{path}")
        assert answer.headers["Content-Type"] == "image/jpeg"
        Image.open(io.BytesIO(answer.content)).load()


@pytest.mark.parametrize(
    "path",
    [
        "alarms/drift-0/12.jpg",
        "alarms/drift-1/0.jpg",
        "alarms/..%2f..%2f1%2fpictures%2fdrift-0/0.jpg",
        "alarms/../0.jpg",
        "alarms/%2e%2e/0.jpg",
        "typical/1.jpg",
        "typical/-1.jpg",
        "../2/typical/0.jpg",
    ],
)
def test_nothing_but_kept_pictures_is_served(ask, watched, path):
    (watched.state / "monitoring/1/0.jpg").write_bytes(b"\xff\xd8 secret")
    assert ask.get(f"/monitoring/1/{path}").status_code in (404, 409, 422)


def test_acknowledging_twice_begins_the_tests_anew_once(ask, watched):
    for _ in range(2):
        answer = ask.post("/monitoring/1/acknowledge", data={"alarms": "drift-0"})
        assert answer.status_code == 200
        assert "1 earlier alarm" in answer.text
        assert "Nothing can be said yet" in answer.text
    assert state_of(watched).tests == 1


def test_an_alarm_that_the_page_did_not_show_stays_open(ask, watched):
    alarm = state_of(watched).alarms[0]
    change(watched, alarms=[alarm, alarm.model_copy(update={"id": "quality-0", "words": "Worse."})])
    for what in ("acknowledge", "normal"):
        answer = ask.post(f"/monitoring/1/{what}", data={"alarms": "drift-0"})
        assert answer.status_code == 409
        assert "Worse." in answer.text
    assert state_of(watched).tests == 0
    assert ask.post("/monitoring/1/acknowledge", data={}).status_code == 200
    assert state_of(watched).tests == 0


def test_pictures_become_the_normal_once(ask, watched):
    assert "pictures since it began become" in ask.get("/monitoring").text
    for _ in range(2):
        answer = ask.post("/monitoring/1/normal", data={"alarms": "drift-0"})
        assert answer.status_code == 200, answer.text
    record = state_of(watched)
    assert record.tests == 1
    assert record.reference == "reference/000000000250"


def test_too_few_pictures_are_no_normal(ask, watched):
    alarm = state_of(watched).alarms[0]
    change(watched, alarms=[alarm.model_copy(update={"first": 200})])
    page = ask.get("/monitoring").text
    assert "there are 50 since" in page
    assert 'hx-post="/monitoring/1/normal"' not in page
    answer = ask.post("/monitoring/1/normal", data={"alarms": "drift-0"})
    assert answer.status_code == 409
    assert "too few" in answer.text
    assert state_of(watched).tests == 0


def test_closing_does_not_wait_long_for_a_look(ask, watched, monkeypatch):
    monkeypatch.setattr(monitoring_watched, "_PATIENCE_S", 0.05)
    with locked(watched.state / "monitoring/1", -1):
        answer = ask.post("/monitoring/1/acknowledge", data={"alarms": "drift-0"})
    assert answer.status_code == 409
    assert "being looked at right now" in answer.text


def test_what_has_not_changed_is_not_sent_again(ask, watched):
    page = ask.get("/monitoring").text
    address = page.partition('hx-get="/monitoring/1/found')[2].partition('"')[0]
    assert ask.get(f"/monitoring/1/found{address}").status_code == 204
    change(watched, damaged=7)
    answer = ask.get(f"/monitoring/1/found{address}")
    assert answer.status_code == 200
    assert "7 captures could not be read" in answer.text


def test_calm_is_said(ask, watched):
    change(watched, alarms=[])
    page = ask.get("/monitoring").text
    assert "Nothing has moved" in page
    assert "no open alarm" in page
    assert "acknowledge" not in page


FALLEN = AccuracyEstimate(
    accuracy=0.14, low=0.1, high=0.2, from_scores=0.2, reference_accuracy=0.997, pictures=150,
    matters=True,
)  # fmt: skip


def test_answers_that_are_likely_worse_are_no_calm_headline(ask, watched, monkeypatch):
    monkeypatch.setattr("pixloop.monitoring.monitor.accuracy_of", lambda *_: FALLEN)
    assert ask.post("/monitoring/1/normal", data={"alarms": "drift-0"}).status_code == 200
    page = ask.get("/monitoring").text
    assert "Answers are likely worse" in page
    assert "estimated accuracy 14.0\u00a0%" in page
    assert "Nothing has moved" not in page
    home = read_monitoring(watched, "1", watched.project.captures)
    assert home.worse is not None
    assert home.worse.accuracy == 0.14


def test_whoever_takes_pictures_as_normal_is_told_what_they_cost(ask, watched):
    alarm = state_of(watched).alarms[0]
    change(watched, alarms=[alarm.model_copy(update={"accuracy": FALLEN})])
    asked = ask.get("/monitoring").text.partition('hx-confirm="')[2].partition('"')[0]
    assert "Estimated accuracy on them is 14.0\u00a0%, it was 99.7\u00a0%" in asked
    assert "the model gets no better" in asked
    change(watched, alarms=[alarm.model_copy(update={"accuracy": None})])
    asked = ask.get("/monitoring").text.partition('hx-confirm="')[2].partition('"')[0]
    assert "does not make the model any better" in asked


def test_a_normal_is_not_compared_with_itself(ask, watched):
    ask.post("/monitoring/1/normal", data={"alarms": "drift-0"})
    page = ask.get("/monitoring").text
    assert "would be compared with themselves" in page
    assert "there is nothing to compare yet" in page
    assert 'class="statistics"' not in page


def test_after_acknowledging_what_came_before_is_shown_as_such(ask, watched):
    ask.post("/monitoring/1/acknowledge", data={"alarms": "drift-0"})
    page = ask.get("/monitoring").text
    assert "these came before" in page
    assert 'class="statistics"' in page


def test_advice_begins_with_finding_pictures_to_answer_for(ask):
    page = ask.get("/monitoring").text
    assert 'Look for more</i> on <a href="/review">Review</a>, answer for some' in page


def test_a_quality_alarm_leads_to_a_rollback(ask, watched):
    alarm = state_of(watched).alarms[0]
    told = {"id": "quality-0", "kind": "quality", "words": "72 % is right.", "accuracy": None}
    change(watched, alarms=[alarm.model_copy(update=told)])
    page = ask.get("/monitoring").text
    assert "roll back to it" in page
    assert "Take as normal" not in page


def test_checked_quality_is_drawn(ask, watched):
    at = datetime(2026, 5, 4, tzinfo=UTC)
    checked = [
        Checked(sha256=str(i), at=at, value=float(i % 10 > 0), pair=("cat", "cat"))
        for i in range(120)
    ]
    plain = ",".join(each.model_dump_json() for each in checked)
    (watched.state / "monitoring/1/checked.json").write_text(f"[{plain}]")
    page = ask.get("/monitoring").text
    assert "120 pictures that were drawn at random" in page
    assert 'aria-label="Quality over time"' in page


def test_without_a_version_a_run_is_named(new_client):
    assert "pixloop run" in new_client.get("/monitoring").text


def test_captures_that_are_off_are_told(ask, watched):
    set_config(watched, "capture_share: 1.0", "capture_share: 0")
    page = ask.get("/monitoring").text
    assert "Captures are off" in page
    assert "capture_share: 1.0" in page
    assert "Brightness is lower" in page  # what was seen before is still shown
    assert "Nothing was captured yet" not in ask.get("/monitoring?version=2").text


def test_of_a_version_that_nobody_looked_at_nothing_is_told(ask, watched):
    assert "was looked at yet" in ask.get("/monitoring?version=2").text
    shutil.rmtree(watched.project.captures)
    assert "Nothing was captured yet" in ask.get("/monitoring?version=2").text


@pytest.mark.parametrize("damaged", ["state.npz", "checked.json"])
def test_a_damaged_state_is_told(ask, watched, damaged):
    (watched.state / "monitoring/1" / damaged).write_bytes(b"{")
    for path in ("/monitoring", "/monitoring/1/looks"):
        assert ask.get(path).status_code == 200
    page = ask.get("/monitoring").text
    assert damaged in page
    assert "is not what pixloop writes" in page
    answer = ask.post("/monitoring/1/acknowledge", data={"alarms": "drift-0"})
    assert answer.status_code == 409


def test_missing_observations_are_told(ask, watched):
    shutil.rmtree(watched.state / "monitoring/1/observations")
    page = ask.get("/monitoring")
    assert page.status_code == 200
    assert "observations" in page.text
    assert "cannot be read" in page.text


def test_a_version_that_is_not_there_is_refused(ask):
    answer = ask.get("/monitoring", params={"version": HOSTILE})
    assert answer.status_code == 422
    assert HOSTILE not in answer.text
    assert ask.get("/monitoring/3/found").status_code == 422
    assert ask.get("/monitoring/x/found").status_code == 404


def test_words_of_alarms_and_classes_are_escaped(ask, watched):
    alarm = state_of(watched).alarms[0]
    hostile = {"words": HOSTILE, "detail": HOSTILE, "acknowledged": True}
    change(watched, alarms=[alarm, alarm.model_copy(update={"id": "drift-9", **hostile})])
    page = ask.get("/monitoring").text
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 2


def test_looking_is_a_job(ask, watched, monkeypatch):
    started = []
    monkeypatch.setattr(Jobs, "start", lambda self, *given: started.append(given))
    assert ask.post("/monitoring/2/look").status_code == 200
    assert started[0][:2] == ("monitor", ["monitor", "--version=2"])

    def busy(self: Jobs, *given: object) -> None:
        raise PipelineError("'pixloop monitor' is at work already")

    monkeypatch.setattr(Jobs, "start", busy)
    assert ask.post("/monitoring/2/look").status_code == 409


def test_what_waits_to_be_looked_at_is_counted(ask, watched):
    assert "nothing captured since" in ask.get("/monitoring/1/looks").text
    random = np.random.default_rng(3)
    capture(watched.project.captures, clean(3, random), random, hour=5)
    text = ask.get("/monitoring/1/looks").text
    assert "3 captured requests wait" in text
    assert "it is not now" in text


WRITES = "The server writes what it keeps every"


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Served("serving", requests=7), True),
        (Served("serving", requests=0), False),
        (Served("silent"), False),
        (Served("stranger", requests=7), False),
    ],
)
def test_why_nothing_is_there_to_look_at_is_told(ask, watched, monkeypatch, served, said):
    monkeypatch.setattr(LocalServer, "look", lambda _: served)
    text = ask.get("/monitoring/1/looks").text
    assert (f"{WRITES} 60 s" in text) is said
    random = np.random.default_rng(3)
    capture(watched.project.captures, clean(3, random), random, hour=5)
    assert WRITES not in ask.get("/monitoring/1/looks").text


def test_a_look_that_came_too_early_says_when_another_may_see_something(ask, watched, monkeypatch):
    monkeypatch.setattr(LocalServer, "look", lambda _: Served())
    end_look(watched, datetime.now(UTC), 0)
    assert f"{WRITES} 60 s" in ask.get("/monitoring/1/looks").text
    end_look(watched, datetime.now(UTC) - timedelta(minutes=5), 0)
    assert WRITES not in ask.get("/monitoring/1/looks").text
    set_config(watched, "capture_share: 1.0", "capture_share: 0")
    end_look(watched, datetime.now(UTC), 0)
    assert WRITES not in ask.get("/monitoring/1/looks").text


def end_look(site: Site, at: datetime, code: int) -> Path:
    """Note a look that a page has started, and that has ended; the folder of its job."""
    folder = site.state / "web/jobs/20260504T030201-000000"
    folder.mkdir(parents=True, exist_ok=True)
    job = {"id": folder.name, "kind": "monitor", "command": ["monitor"], "pid": 0, "born": 0}
    (folder / "job.json").write_text(json.dumps({**job, "started": at.isoformat()}))
    (folder / "ended.json").write_text(json.dumps({"code": code}))
    return folder


def test_a_look_that_failed_is_told_as_text(ask, watched):
    folder = end_look(watched, datetime(2026, 5, 4, tzinfo=UTC), 1)
    (folder / "log.txt").write_text(HOSTILE)
    text = ask.get("/monitoring/1/looks").text
    assert "The last look failed" in text
    assert "&lt;script&gt;" in text


def test_without_a_server_that_is_said(ask):
    assert "no server answers" in ask.get("/monitoring/server").text
