"""The loop's state, without HTTP: what is read of each room, and what is made of it."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pixloop.annotation.items import Candidate, Reason
from pixloop.errors import RegistryError
from pixloop.pipeline.lock import exclusive
from pixloop.pipeline.runs import RunRecord, StepRecord
from pixloop.watching.events import Event
from pixloop.web.home.captured import Captured, read_captured
from pixloop.web.home.data import DataState
from pixloop.web.home.loop import Loop, read_loop
from pixloop.web.home.monitoring import Estimate, MonitoringState, OpenAlarm, read_monitoring
from pixloop.web.home.people import AnnotationsState, ReviewState, read_annotations, read_review
from pixloop.web.home.rooms import rooms
from pixloop.web.home.run import RunState, read_run
from pixloop.web.home.server import LocalServer, Served
from pixloop.web.home.timeline import chains
from pixloop.web.home.verdict import judge
from pixloop.web.home.versions import VersionFacts, VersionsState
from pixloop.web.home.watch import WatchingState, holder_of, read_watch

NOON = "2026-03-01T12:00:00+00:00"
WELL = Loop(
    data=DataState("ab" * 32, 1140, 10, 0, NOON),
    run=RunState("done", "r1", NOON, 60.0, version="2", count=1),
    versions=VersionsState(True, 2, "accuracy", VersionFacts("2", 0.98, NOON)),
    endpoint=Served("serving", "http://127.0.0.1:8080", "2", "2", NOON, 10, 4.0),
    monitoring=MonitoringState("2", 247, (), NOON),
    review=ReviewState(0, 3, 5, 0, NOON),
    annotations=AnnotationsState(5, 0, 20, NOON),
    watch=WatchingState(running=True, process=1),
)
DRIFT = OpenAlarm("drift", "Noise is higher than in the reference.", NOON, True)
QUALITY = OpenAlarm("quality", "Of what people checked, 72 % is right.", NOON, True)
NEXT = VersionFacts("3", 0.99, NOON)
FALLEN = Estimate(0.14, 0.997, 151, matters=True)
MANY = Captured(151, 9000)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """Nothing answers: a thread of its own asks, when it comes to it."""
    monkeypatch.setattr("pixloop.web.home.server.ask", lambda site: Served("silent"))


def but(**changes):
    """All is well, but for some fields of some rooms."""
    return replace(
        WELL, **{room: replace(getattr(WELL, room), **more) for room, more in changes.items()}
    )


# ---- the verdict


def test_all_is_well_where_nothing_waits():
    verdict = judge(WELL)
    assert (verdict.kind, verdict.title) == ("good", "All is well")
    assert verdict.words == (
        "Version 2 is the champion, no alarm is open after 247 pictures, and nothing waits for you."
    )
    assert not verdict.todo
    assert not verdict.suggestions


@pytest.mark.parametrize(
    ("loop", "kind", "title", "to"),
    [
        (but(versions={"problem": "refused"}), "bad", "The registry cannot be read", "/models"),
        (but(data={"problem": "torn"}), "bad", "The data set cannot be read", "/data"),
        (but(monitoring={"problem": "x"}), "bad", "Monitoring cannot be read", "/monitoring"),
        (but(review={"problem": "x"}), "bad", "The review queue cannot be read", "/review"),
        (but(watch={"problem": "x"}), "bad", "The watch cannot be read", "#watch"),
        (
            but(monitoring={"alarms": (QUALITY,)}),
            "bad",
            "Too many answers are wrong",
            "/monitoring",
        ),
        (but(run={"kind": "failed"}), "bad", "The last run failed", "/runs/r1"),
        (
            but(endpoint={"state": "silent", "last_words": "port in use"}),
            "bad",
            "The server has failed",
            "/models",
        ),
        (but(endpoint={"state": "refused"}), "bad", "The server refused the champion", "/models"),
        (but(watch={"running": False, "failed": "x"}), "bad", "The watch has failed", "#watch"),
        (but(monitoring={"alarms": (DRIFT,)}), "warn", "Drift: look at it", "/monitoring"),
        (
            but(monitoring={"accuracy": FALLEN}),
            "warn",
            "Answers are likely worse: estimated accuracy 14.0\u00a0%",
            "/monitoring",
        ),
        (
            but(monitoring={"captured": MANY}, watch={"running": False}),
            "warn",
            "151 captured requests were not looked at",
            "/monitoring",
        ),
        (but(endpoint={"version": "1"}), "warn", "Version 1 still serves", "/models"),
        (
            but(endpoint={"state": "stranger"}),
            "warn",
            "Something else has the server's port",
            "/models",
        ),
        (but(endpoint={"failed": 0.2}), "warn", "Requests fail", "/monitoring"),
        (but(run={"kind": "refused"}), "warn", "The gate refused the last model", "/runs/r1"),
        (but(run={"kind": "interrupted"}), "warn", "The last run was interrupted", "/runs/r1"),
        (but(versions={"candidate": NEXT}), "warn", "Version 3 waits for a decision", "/models"),
        (but(review={"asked": 1}), "warn", "1 picture waits for an answer", "/review"),
    ],
)
def test_each_trouble_is_the_headline_and_leads_where_it_is_mended(loop, kind, title, to):
    verdict = judge(loop)
    assert (verdict.kind, verdict.title) == (kind, title)
    assert verdict.todo[0].to == to


def test_the_most_urgent_comes_first():
    loop = but(
        monitoring={"alarms": (DRIFT, QUALITY)},
        run={"kind": "failed", "step": "Train", "failure": "out of memory\nmore"},
        review={"asked": 12},
        versions={"candidate": NEXT, "better": True, "reason": "better on 258 pictures"},
    )
    assert [each.title for each in judge(loop).todo] == [
        "Too many answers are wrong",
        "The last run failed",
        "Drift: look at it",
        "Version 3 waits for a decision",
        "12 pictures wait for an answer",
    ]
    assert judge(loop).todo[1].words == "It stopped in Train: out of memory"


def test_a_version_that_is_no_better_waits_for_nobody():
    verdict = judge(but(versions={"candidate": NEXT, "better": False}))
    assert verdict.kind == "good"
    assert [each.to for each in verdict.suggestions] == ["/models"]


def test_without_a_champion_somebody_must_decide():
    loop = but(versions={"champion": None, "candidate": NEXT, "better": False})
    assert judge(loop).title == "Version 3 waits for a decision"


def test_a_run_at_work_is_told_and_what_waits_goes_before_it():
    at_work = {"kind": "running", "step": "Train"}
    assert (judge(but(run=at_work)).kind, judge(but(run=at_work)).title) == (
        "busy",
        "A run is at work",
    )
    assert judge(but(run=at_work, review={"asked": 2})).kind == "warn"


def test_what_could_be_done_leaves_all_well():
    loop = but(
        endpoint={"state": "silent", "version": ""},
        watch={"running": False},
        annotations={"new": 31},
    )
    verdict = judge(loop)
    assert verdict.kind == "good"
    assert [each.title for each in verdict.suggestions] == [
        "31 new annotations are worth a run",
        "Serve version 2",
        "Start the watch",
    ]


def test_before_the_first_run_there_is_one_thing_to_do():
    loop = replace(but(versions={"count": 0, "champion": None}), run=RunState("none"))
    verdict = judge(loop)
    assert (verdict.kind, verdict.title) == ("calm", "Nothing has happened yet")
    assert [each.to for each in verdict.suggestions] == ["/runs/new"]


def test_nothing_is_called_well_before_the_registry_has_answered():
    assert judge(but(versions={"known": False, "champion": None})).kind == "busy"


@pytest.mark.parametrize(
    ("monitoring", "watching", "overlooked"),
    [
        ({"captured": Captured(30, 1)}, False, True),
        ({"captured": Captured(29, 1)}, False, False),
        ({"captured": Captured(1, 1), "pictures": 0}, False, True),
        ({"captured": Captured(0, 0), "pictures": 0}, False, False),
        ({"captured": Captured(None, 10**9)}, False, True),
        ({"captured": MANY}, True, False),
        ({"captured": MANY, "problem": "torn"}, False, False),
    ],
)
def test_captures_wait_for_a_person_where_many_do_or_nothing_was_ever_looked_at(
    monitoring, watching, overlooked
):
    loop = but(monitoring=monitoring, watch={"running": watching})
    assert loop.overlooked is overlooked
    titles = [each.title for each in judge(loop).todo]
    assert any("not looked at" in title for title in titles) is overlooked


def test_captures_too_many_to_count_are_told_by_their_size():
    loop = but(monitoring={"captured": Captured(None, 25_000_000)}, watch={"running": False})
    assert judge(loop).title == "25 MB of captures were not looked at"


def test_an_open_alarm_says_what_it_costs_once():
    alarm = replace(DRIFT, accuracy=FALLEN)
    verdict = judge(but(monitoring={"alarms": (alarm,), "accuracy": FALLEN}))
    assert [each.title for each in verdict.todo] == ["Drift: look at it"]
    assert verdict.words == (
        "Noise is higher than in the reference; estimated accuracy 14.0\u00a0%, it was 99.7\u00a0%."
    )


def test_an_estimate_that_may_be_chance_leaves_all_well():
    assert judge(but(monitoring={"accuracy": replace(FALLEN, matters=False)})).kind == "good"


def test_no_alarm_counts_the_pictures_that_could_have_raised_one():
    assert "after 200 pictures" in judge(but(monitoring={"before": 47})).words
    words = judge(but(monitoring={"before": 247})).words
    assert "no picture has come since the test of drift began anew" in words


# ---- rooms


def test_rooms_go_round_in_order_and_say_how_they_are():
    found = {room.key: room for room in rooms(WELL)}
    assert list(found) == [
        "data", "run", "versions", "endpoint", "monitoring", "review", "annotations", "watch",
    ]  # fmt: skip
    assert all(room.kind == "good" for room in found.values())
    assert found["data"].state == "abababab"
    assert found["versions"].unit == "accuracy 98.0\u00a0%"
    assert found["endpoint"].lines[0] == "10 requests, half within 4 ms"


@pytest.mark.parametrize("room", ["versions", "data", "monitoring", "review", "annotations"])
def test_a_room_that_cannot_be_read_hides_no_other(room):
    found = {each.key: each for each in rooms(but(**{room: {"problem": "torn"}}))}
    assert (found[room].kind, found[room].state) == ("bad", "cannot be read")
    assert sum(each.kind == "good" for each in found.values()) == 7


def test_a_run_at_work_shows_its_share_and_the_time_left():
    at_work = {"kind": "running", "step": "Train", "share": 0.5, "left_s": 150.0, "note": "epoch 3"}
    run = rooms(but(run=at_work))[1]
    assert (run.figure, run.unit, run.share) == ("Train", "about 2 min left", 0.5)
    assert run.lines == ("epoch 3",)


@pytest.mark.parametrize(
    ("monitoring", "kind", "state", "figure"),
    [
        ({}, "good", "no alarm", "247"),
        ({"captured": MANY}, "warn", "not looked at", "151"),
        ({"captured": MANY, "pictures": 0, "version": ""}, "warn", "not looked at", "151"),
        ({"captured": MANY, "alarms": (DRIFT,)}, "warn", "drift alarm", "247"),
        ({"pictures": 0}, "calm", "no picture yet", "0"),
        ({"before": 247}, "calm", "nothing to say yet", "0"),
        ({"accuracy": FALLEN}, "warn", "likely worse", "247"),
        ({"accuracy": FALLEN, "before": 247}, "warn", "likely worse", "247"),
    ],
)
def test_monitoring_is_good_only_where_pictures_were_looked_at(monitoring, kind, state, figure):
    room = rooms(but(monitoring=monitoring, watch={"running": False}))[4]
    assert (room.kind, room.state, room.figure) == (kind, state, figure)


def test_monitoring_says_what_lies_beside_its_number():
    room = rooms(but(monitoring={"alarms": (DRIFT,), "captured": MANY}, watch={"running": False}))[
        4
    ]
    assert room.lines == (DRIFT.words, "151 captured, not looked at")
    assert rooms(but(monitoring={"before": 247}))[4].unit == "pictures since the test began anew"
    assert rooms(but(monitoring={"before": 240}))[4].lines[0].startswith("7 pictures since")
    worse = rooms(but(monitoring={"before": 247, "accuracy": FALLEN}))[4]
    assert worse.lines == (FALLEN.words, "0 pictures since the test began anew")


def test_rooms_speak_as_the_other_pages_do():
    found = {room.key: room for room in rooms(but(versions={"metric": "f1_macro"}))}
    assert found["versions"].unit == "macro F1 98.0\u00a0%"
    assert (found["review"].figure, found["review"].unit) == ("nothing", "waits")
    assert rooms(but(review={"asked": 1}))[5].unit == "waits for an answer"


# ---- reading


def test_a_finished_project_is_read(site):
    loop = read_loop(site, patient=True)
    assert loop.run.kind == "done"
    assert loop.run.version == "1"
    assert loop.data.classes == 2
    assert loop.data.pictures == 120
    assert loop.versions.count == 1
    assert loop.versions.candidate is not None
    assert judge(loop).title == "Version 1 waits for a decision"
    assert not loop.monitoring.version
    assert not loop.watch.running


def test_an_impatient_look_asks_no_registry(site, monkeypatch):
    monkeypatch.setattr(type(site), "versions", lambda self: pytest.fail("it was asked"))
    loop = read_loop(site, patient=False)
    assert not loop.versions.known
    assert loop.run.kind == "done"


def test_a_registry_that_refuses_is_told(site, monkeypatch):
    def refuse(self):
        raise RegistryError("the registry is gone")

    monkeypatch.setattr(type(site), "versions", refuse)
    assert read_loop(site, patient=True).versions.problem == "the registry is gone"


def running(folder, pid, started):
    steps = {"Prepare": StepRecord(status="done"), "Train": StepRecord(status="running")}
    record = RunRecord(
        id=folder.name, pid=pid, started=started, steps=steps, folder=folder, status="running"
    )
    record.save()


def test_a_run_whose_process_has_gone_was_interrupted(site):
    folder = site.state / "runs" / "20990101T000000000-abcd"
    now = datetime.now(UTC)
    running(folder, os.getpid(), (now + timedelta(seconds=1)).isoformat())
    assert read_run(site, site.runs()).kind == "running"
    # The process is ours, and began long after such a run.
    running(folder, os.getpid(), "2020-01-01T00:00:00+00:00")
    old = next(run for run in site.runs() if run.id == folder.name)
    assert read_run(site, [old]).kind == "interrupted"
    assert read_run(site, [old]).step == "Train"


def test_the_state_of_monitoring_is_read_without_its_tests(site):
    file = site.state / "monitoring" / "1" / "state.npz"
    file.parent.mkdir(parents=True)
    alarm = {"kind": "drift", "words": "Noise.", "since": None, "at": NOON, "acknowledged": False}
    closed = {**alarm, "words": "Old.", "acknowledged": True}
    record = json.dumps({"count": 7, "alarms": [closed, alarm]}).encode()
    np.savez(file, record=np.frombuffer(record, np.uint8))
    found = read_monitoring(site, "1", site.state / "captures")
    assert (found.pictures, [each.words for each in found.alarms]) == (7, ["Noise."])
    assert found.drift is not None
    assert found.drift.since == NOON
    assert read_monitoring(site, "2", site.state / "captures").version == ""


def remember(site, version, **record):
    """What a monitor of a version knows."""
    file = site.state / "monitoring" / version / "state.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = json.dumps({"count": 0, "alarms": [], **record}).encode()
    np.savez(file, record=np.frombuffer(raw, np.uint8))


def captured_in(site, lines, second=1):
    """A published file of captures; its name below the folder."""
    name = f"pets/AllTraffic/2026/05/04/03/02-{second:02}-000-x.jsonl"
    file = site.state / "captures" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}\n" * lines)
    return name


def test_captures_that_no_look_has_read_are_counted(site):
    captures = site.state / "captures"
    assert read_monitoring(site, "1", captures).captured == Captured()
    name = captured_in(site, 5)
    found = read_monitoring(site, "1", captures)
    assert (found.captured.requests, found.version, found.captures) == (5, "", True)
    remember(site, "1", offsets={name: 6})
    assert read_monitoring(site, "1", captures).captured.requests == 3
    # A version that was not looked at yet: the look at another one has read them as well.
    assert read_monitoring(site, "2", captures).captured.requests == 3
    captured_in(site, 4, second=2)
    assert read_monitoring(site, "1", captures).captured.requests == 7


def test_captures_are_counted_anew_only_where_a_folder_of_theirs_has_changed(site, monkeypatch):
    captures, counted = site.state / "captures", []
    captured_in(site, 5)
    monkeypatch.setattr(
        "pixloop.web.home.captured._count", lambda *_: counted.append(1) or Captured(5)
    )
    for _ in range(3):
        read_captured(site, captures, {})
    assert len(counted) == 1
    captured_in(site, 1, second=2)
    read_captured(site, captures, {})
    read_captured(site, captures, {"x": 1})
    assert len(counted) == 3


def test_what_answers_are_estimated_to_be_is_read(site):
    estimate = {"accuracy": 0.14, "reference_accuracy": 0.997, "pictures": 151, "matters": True}
    alarm = {"kind": "drift", "words": "Noise.", "since": NOON, "acknowledged": False}
    remember(site, "1", count=151, first=151, accuracy=estimate)
    found = read_monitoring(site, "1", site.state / "captures")
    assert (found.worse, found.tested) == (FALLEN, 0)
    remember(site, "1", count=151, accuracy=None, alarms=[{**alarm, "accuracy": estimate}])
    found = read_monitoring(site, "1", site.state / "captures")
    assert found.drift is not None
    assert (found.worse, found.drift.accuracy) == (None, FALLEN)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"[]"])
def test_a_damaged_state_of_monitoring_is_told(site, content):
    file = site.state / "monitoring" / "1" / "state.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert "cannot be read" in read_monitoring(site, "", site.state / "captures").problem


def test_the_queue_is_counted_and_a_damaged_one_is_told(site):
    assert read_review(site) == ReviewState()
    sha256 = "0" * 64
    reasons = (Reason("unsure", "x", 0.5),)
    site.project.review.offer([Candidate(sha256, b"x", reasons, {}, "colours:1", NOON)])
    assert read_review(site).waiting == 1
    site.project.review.mark(sha256, "asked")
    assert read_review(site).asked == 1
    (site.state / "review" / "review.db").write_bytes(b"no database at all")
    assert "cannot be used" in read_review(site).problem


def test_annotations_count_from_the_last_run_that_could_learn_from_them(site):
    folder = site.state / "annotations"
    folder.mkdir()
    runs = site.runs()
    before = datetime.fromisoformat(runs[0].started).timestamp() - 5
    for name, at in (("old", before), ("new", before + 10), ("none", before + 10)):
        (folder / f"{name}.json").write_text("{}")
        os.utime(folder / f"{name}.json", (at, at))
    found = read_annotations(site, runs, 20)
    assert (found.count, found.new) == (2, 1)
    assert read_annotations(site, [], 20).new == 2


# ---- the watch


def test_a_watch_in_a_terminal_is_found_by_its_lock(site):
    lock = site.state / "watch" / "watch.lock"
    assert holder_of(lock) == 0
    with exclusive(lock, "busy {pid}"):
        assert holder_of(lock) == os.getpid()
        state = read_watch(site)
        assert (state.running, state.process, state.job) == (True, os.getpid(), "")
        assert {line.name: line.now for line in state.triggers}["raw_data"] == "quiet"
    assert holder_of(lock) == 0
    assert not read_watch(site).running
    lock.write_bytes(b"nobody\xff")
    assert holder_of(lock) == 0


@pytest.mark.parametrize("content", ["", "{", '{"format": 99, "surprise": 1}', "[]"])
def test_a_damaged_state_of_the_watch_is_told(site, content):
    file = site.state / "watch" / "state.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert "cannot be read" in read_watch(site).problem
    assert judge(read_loop(site, patient=False)).title == "The watch cannot be read"


# ---- what triggered what


def event(identity, second, trigger, started, outcome, detail="", version=None):
    return Event(
        id=identity,
        time=f"2026-03-01T12:00:{second:02}+00:00",
        trigger=trigger,
        started=started,
        outcome=outcome,
        detail=detail,
        version=version,
    )


def run_of(identity, second, **more):
    return RunRecord(id=identity, pid=1, started=f"2026-03-01T12:00:{second:02}+00:00", **more)


def test_events_and_runs_become_chains():
    events = [
        event("raw_data-noticed-1", 1, ["raw_data"], "", "noticed"),
        event("run-1-began", 10, ["raw_data"], "run", "began"),
        event("run-1-promotion", 20, ["raw_data"], "promotion", "done", "it is better", "2"),
        event("run-1-done", 21, ["raw_data"], "run", "done", "version 2, in 11 s", "2"),
        event("drift-0-raised", 30, ["drift"], "review", "raised", "Noise is higher.", "2"),
        event("drift-0-review", 31, ["drift"], "review", "done", "9 pictures wait", "2"),
        event("annotations-noticed-1", 40, ["annotations"], "", "noticed"),
    ]
    runs = [
        run_of("by-watch", 10, status="done"),
        run_of("by-hand", 2, status="failed", failure="bad luck\nmore"),
    ]
    found = chains(events, runs, 9)
    assert [(each.why, each.what, each.outcome) for each in found] == [
        ("annotations updated", "", "noticed"),
        ("drift alarm", "pictures for review", "done"),
        ("new raw data", "run 1", "done"),
        ("a person", "a run", "failed"),
    ]
    assert found[1].steps[0].text == "Noise is higher."
    assert found[2].to == "/runs/by-watch"
    assert found[2].steps[0].text == "version 2 became the champion: it is better"
    assert (found[3].to, found[3].text) == ("/runs/by-hand", "bad luck")
    assert len(chains(events, runs, 2)) == 2


def test_alarms_of_two_versions_are_two_chains():
    events = [
        event("drift-0-raised", 1, ["drift"], "review", "raised", "a", "1"),
        event("drift-0-review", 2, ["drift"], "review", "done", "b", "2"),
    ]
    assert len(chains(events, [], 9)) == 2


def test_a_run_that_is_not_over_is_at_work():
    events = [event("run-1-began", 10, ["drift"], "run", "began")]
    found = chains(events, [run_of("it", 59)], 9)
    assert [(each.kind, each.outcome, each.to) for each in found] == [
        ("busy", "at work", "/runs/it")
    ]


def test_foreign_lines_among_the_events_are_passed_over(site):
    folder = site.state / "watch"
    folder.mkdir()
    good = event("run-1-began", 10, ["drift"], "run", "began")
    lines = [good.model_dump_json(), '{"id": 1}', "torn", "null"]
    lines.append(good.model_copy(update={"id": "x", "time": "yesterday"}).model_dump_json())
    (folder / "events.jsonl").write_text("\n".join(lines))
    from pixloop.web.home.loop import read_trail

    assert [each.id for each in read_trail(site)[0]] == ["run-1-began"]


# ---- the server


def test_nobody_waits_for_the_server(new_site, monkeypatch):
    import threading

    asked, answered = threading.Event(), threading.Event()

    def ask(site):
        asked.set()
        answered.wait(10)
        return Served("serving", "http://127.0.0.1:8080", "3", "3")

    monkeypatch.setattr("pixloop.web.home.server.ask", ask)
    server = LocalServer(new_site)
    assert server.look().state == "unknown"
    assert asked.wait(10)
    assert server.look().state == "unknown"
    answered.set()
    for _ in range(200):
        if server.look().answers:
            break
        threading.Event().wait(0.02)
    assert server.look().version == "3"
    assert server.look().since


def test_what_is_wrong_with_the_registry_is_no_failure_of_the_server(new_site, monkeypatch):
    def ask(site):
        raise RegistryError("gone")

    monkeypatch.setattr("pixloop.web.home.server.ask", ask)
    server = LocalServer(new_site)
    server._ask()
    assert server._found.state == "unknown"
