import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.watching.fake_parts import Killed, Parts, Trouble, told, watch_until, watcher

from pixloop.errors import GateRefused, PipelineError
from pixloop.pipeline.lock import exclusive
from pixloop.watching.events import read_events
from pixloop.watching.parts import OpenAlarm
from pixloop.watching.state import Memory
from pixloop.watching.watcher import exit_code

DRIFT = OpenAlarm("drift-1", "drift", "1", "brightness is lower", "2026-01-01T00:00:00+00:00")


def settled(folder: Path) -> Parts:
    """A project that has had its first run, with version 1 as its champion."""
    parts = Parts()
    assert watcher(folder, parts).watch(once=True) == ["done"]
    assert parts.champions == ["1"]
    parts.calls.clear()
    parts.now += 10
    return parts


# ---- What starts a run


def test_the_first_watch_makes_the_first_version(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    assert parts.runs == ["pictures-1 0 "]
    assert parts.asked_for == [("raw_data",)]
    assert told(tmp_path) == [
        "raw_data noticed", "raw_data run began", "raw_data promotion done", "raw_data run done"
    ]  # fmt: skip


def test_nothing_new_starts_nothing(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    assert watcher(tmp_path, parts).watch(once=True) == []
    assert "run" not in parts.calls


def test_new_pictures_start_a_run(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"
    assert watcher(tmp_path, parts).watch(once=True) == ["done"]
    assert parts.champions == ["1", "2"]


def test_two_triggers_at_once_give_one_run(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.head = "pictures-2", "abc"
    parts.annotate(20)
    enabled = ("raw_data", "annotations", "commit")
    assert watcher(tmp_path, parts, enabled=enabled).watch(once=True) == ["done"]
    began = [e for e in read_events(tmp_path) if e.outcome == "began"][-1]
    assert began.trigger == enabled


@pytest.mark.parametrize("times", [1, 3])
def test_triggers_during_a_run_give_one_run_more(tmp_path: Path, times: int) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"

    def during() -> None:
        if len(parts.runs) == 1:
            for number in range(times):
                parts.raw = f"pictures-{3 + number}"
            parts.annotate(50)

    parts.during_run = during
    assert watcher(tmp_path, parts).watch(once=True) == ["done", "done"]
    assert parts.runs[-1] == f"pictures-{2 + times} 50 "


def test_what_changes_back_during_a_run_gives_none(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"
    assert watcher(tmp_path, parts).watch(once=True) == ["done"]
    assert len(parts.runs) == 2


def test_too_few_annotations_wait_for_more(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.annotate(19)
    watched = watcher(tmp_path, parts)
    assert watched.watch(once=True) == []
    assert watched.due.waits == {"annotations": "for annotations: 19 of 20"}
    parts.annotate(1)
    assert watcher(tmp_path, parts).watch(once=True) == ["done"]


def test_a_run_takes_the_annotations_that_were_too_few(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.annotate(19)
    parts.raw = "pictures-2"
    watcher(tmp_path, parts).watch(once=True)
    parts.now += 10
    parts.annotate(1)
    assert watcher(tmp_path, parts).watch(once=True) == []  # one is new, not twenty


def test_pictures_must_be_still_before_a_run_takes_them(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    copied = iter(range(2, 8))
    watched = watcher(tmp_path, parts, settle_s=30.0)
    mark = parts.mark

    def copying(source: str, since: float) -> Any:
        number = next(copied, None) if source == "raw_data" else None
        parts.raw = f"pictures-{number}" if number else parts.raw
        return mark(source, since)

    parts.mark = copying  # type: ignore[method-assign]
    watch_until(watched, lambda: len(parts.runs) == 2)
    assert parts.runs[-1] == "pictures-7 0 "


def test_what_never_is_still_is_taken_at_last(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    mark = parts.mark

    def copying(source: str, since: float) -> Any:
        parts.raw = f"pictures-{parts.now}"
        return mark(source, since)

    parts.mark = copying  # type: ignore[method-assign]
    watch_until(watcher(tmp_path, parts, settle_s=30.0), lambda: len(parts.runs) == 2)
    assert parts.now > 1000 + 20 * 30


def test_a_commit_counts_where_it_is_enabled(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.head = "abc"
    assert watcher(tmp_path, parts).watch(once=True) == []
    assert watcher(tmp_path, parts, enabled=("commit",)).watch(once=True) == ["done"]


def test_the_schedule_runs_where_something_has_changed(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    schedule = {"enabled": ("schedule",), "every_s": 3600.0}
    parts.raw = "pictures-2"
    assert watcher(tmp_path, parts, **schedule).watch(once=True) == []  # its time has not come
    watch_until(watcher(tmp_path, parts, **schedule), lambda: len(parts.runs) == 2)
    assert parts.now >= 1000 + 3600
    watch_until(
        watcher(tmp_path, parts, **schedule), lambda: "schedule unchanged" in told(tmp_path)
    )
    assert parts.now >= 1000 + 7200
    assert len(parts.runs) == 2


# ---- Drift, quality, promotion


def test_drift_asks_people_and_runs_once_they_have_answered(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms = [DRIFT]
    enabled = ("drift",)
    watched = watcher(tmp_path, parts, enabled=enabled)
    assert watched.watch(once=True) == []
    assert parts.calls.count("collect") == 1
    assert watched.due.waits == {"drift": "for annotations: 0 of 20"}
    parts.annotate(20)
    assert watcher(tmp_path, parts, enabled=enabled).watch(once=True) == ["done"]
    assert parts.calls.count("collect") == 1
    assert parts.champions == ["1", "2"]
    # What answered the alarm takes the pictures since for normal.
    watcher(tmp_path, parts, enabled=enabled).watch(once=True)
    assert parts.normal == [f"2 since {DRIFT.since}"]
    assert [line for line in told(tmp_path) if line.startswith("drift")] == [
        "drift review raised", "drift review done", "drift run began", "drift promotion done",
        "drift run done", "drift normal done",
    ]  # fmt: skip


def test_a_new_normal_waits_until_there_are_enough_pictures(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms, parts.enough = [DRIFT], False
    parts.annotate(20)
    for _ in range(3):
        watcher(tmp_path, parts).watch(once=True)
    assert parts.normal == []
    parts.enough = True
    for _ in range(3):
        watcher(tmp_path, parts).watch(once=True)
    assert len(parts.normal) == 1


def test_until_it_has_its_new_normal_a_version_raises_no_drift(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms, parts.enough = [DRIFT], False
    parts.annotate(20)
    watcher(tmp_path, parts).watch(once=True)
    parts.alarms = [replace(DRIFT, id="drift-2", version="2")]
    watcher(tmp_path, parts).watch(once=True)
    assert parts.calls.count("collect") == 1
    parts.enough = True
    watcher(tmp_path, parts).watch(once=True)  # it begins anew, so an alarm is a new one
    assert parts.calls.count("collect") == 2


def test_acknowledged_drift_waits_for_nothing(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms = [DRIFT]
    watcher(tmp_path, parts).watch(once=True)
    parts.alarms = []
    watched = watcher(tmp_path, parts)
    watched.watch(once=True)
    assert watched.due.waits == {}


def test_drift_that_is_not_enabled_starts_nothing(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms = [DRIFT]
    assert watcher(tmp_path, parts, enabled=("raw_data",)).watch(once=True) == []
    assert "collect" not in parts.calls


def quality(version: str) -> OpenAlarm:
    return OpenAlarm(f"quality-{version}", "quality", version, "accuracy 0.7, below 0.85")


def test_a_quality_alarm_rolls_back_once_and_for_good(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"
    watcher(tmp_path, parts).watch(once=True)
    parts.raw = "pictures-3"
    watcher(tmp_path, parts).watch(once=True)
    assert parts.champions == ["1", "2", "3"]
    parts.alarms = [quality("3")]
    for _ in range(3):
        watcher(tmp_path, parts).watch(once=True)
    assert (parts.champions, parts.rejected) == (["1", "2"], ["3"])
    # The same data give the same version, which does not come back.
    parts.alarms, parts.raw = [], "pictures-4"
    watcher(tmp_path, parts).watch(once=True)
    parts.raw = "pictures-3"
    watcher(tmp_path, parts).watch(once=True)
    assert parts.champions == ["1", "2", "4"]


def test_without_a_champion_before_it_stays(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms = [quality("1")]
    for _ in range(3):
        watcher(tmp_path, parts).watch(once=True)
    assert (parts.champions, parts.rejected) == (["1"], [])
    assert parts.calls.count("roll back") == 1
    assert told(tmp_path)[-1] == "quality rollback refused"


def test_without_automation_people_decide(tmp_path: Path) -> None:
    parts = Parts()
    parts.alarms = [quality("1")]
    assert watcher(tmp_path, parts, automatic=False).watch(once=True) == ["done"]
    assert parts.champions == []
    assert {"promote", "roll back"}.isdisjoint(parts.calls)
    assert {"raw_data promotion waiting", "quality rollback waiting"} <= set(told(tmp_path))


def test_what_was_not_shown_better_is_not_promoted(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.good = "pictures-2", lambda version: False
    assert watcher(tmp_path, parts).watch(once=True) == ["done"]
    assert parts.champions == ["1"]


def test_what_was_compared_with_another_champion_is_compared_again(tmp_path: Path) -> None:
    parts = settled(tmp_path)

    def someone_decides() -> None:
        if len(parts.runs) == 1:
            parts.champions.append("0")
        assert parts.champion() == "0"

    parts.raw, parts.during_run = "pictures-2", someone_decides
    assert watcher(tmp_path, parts).watch(once=True) == ["done", "done"]
    assert parts.champions == ["1", "0", "2"]


def test_alarms_are_seen_while_a_run_is_at_work(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"
    watcher(tmp_path, parts).watch(once=True)
    parts.raw = "pictures-3"

    def during() -> None:
        parts.alarms = [quality("2")]
        deadline = time.monotonic() + 60
        while "2" not in parts.rejected:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    parts.during_run = during
    watcher(tmp_path, parts, look_s=0.01).watch(once=True)
    # Version 3 was compared with one that was rolled back meanwhile, and so once more.
    assert parts.champions == ["1", "3"]
    assert [line for line in told(tmp_path) if "promotion" in line][-2:] == [
        "raw_data promotion refused", "raw_data promotion done"
    ]  # fmt: skip


# ---- Failures


def test_a_refusing_gate_is_an_outcome(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.fails["run"] = "pictures-2", GateRefused("accuracy 0.1, below 0.8")
    outcomes = watcher(tmp_path, parts).watch(once=True)
    assert outcomes == ["refused"]
    assert exit_code(outcomes) == 3
    assert watcher(tmp_path, parts).watch(once=True) == []  # the same data give the same model


def test_failures_are_tried_again_later_and_later(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.fails["run"] = "pictures-2", Trouble("no disk")
    began = parts.now
    watch_until(watcher(tmp_path, parts), lambda: parts.calls.count("run") == 8)
    assert parts.now - began >= 30 * (2**7 - 1)
    del parts.fails["run"]
    watch_until(watcher(tmp_path, parts), lambda: len(parts.runs) == 2)
    assert Counter(told(tmp_path))["raw_data run failed"] == 8


def test_what_has_changed_since_a_failure_is_tried_at_once(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.fails["run"] = "pictures-2", Trouble("a bad picture")
    watch_until(watcher(tmp_path, parts), lambda: parts.calls.count("run") == 5)
    began = parts.now
    del parts.fails["run"]
    parts.raw = "pictures-3"
    watch_until(watcher(tmp_path, parts), lambda: len(parts.runs) == 2)
    assert parts.now - began <= 20


def test_a_single_watch_tries_a_failure_once(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.fails["run"] = "pictures-2", Trouble("no disk")
    for _ in range(2):
        outcomes = watcher(tmp_path, parts).watch(once=True)
        assert outcomes == ["failed"]
        assert exit_code(outcomes) == 1


def test_a_single_watch_tells_of_a_look_that_failed(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.fails["look"] = Trouble("the state is damaged")
    assert exit_code(watcher(tmp_path, parts).watch(once=True)) == 1
    del parts.fails["look"]
    assert exit_code(watcher(tmp_path, parts).watch(once=True)) == 0


@pytest.mark.parametrize("call", ["look", "sync", "collect", "normal", "mark raw_data"])
def test_what_fails_beside_a_run_ends_nothing_and_is_said_once(tmp_path: Path, call: str) -> None:
    parts = settled(tmp_path)
    parts.alarms, parts.fails[call] = [DRIFT], Trouble("not there")
    parts.annotate(20)
    began = parts.now
    watch_until(watcher(tmp_path, parts), lambda: parts.now > began + 600)
    assert sum(event.outcome == "failed" for event in read_events(tmp_path)) == 1
    del parts.fails[call]
    # What people answered while alarms could not be seen was taken by a run already.
    wanted = "collect" if call == "look" else "normal"
    watch_until(watcher(tmp_path, parts), lambda: wanted in parts.calls)


def test_another_run_is_waited_for(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.at_work = "pictures-2", "4711"
    began = parts.now
    watch_until(watcher(tmp_path, parts), lambda: parts.now > began + 60)
    assert len(parts.runs) == 1
    parts.at_work = ""
    watch_until(watcher(tmp_path, parts), lambda: len(parts.runs) == 2)
    assert told(tmp_path).count("run waiting") == 1


def test_without_its_registry_no_run_begins(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, champion = "pictures-2", parts.champion

    def away() -> str | None:
        raise Trouble("the registry cannot be reached")

    parts.champion = away  # type: ignore[method-assign]
    with pytest.raises(Trouble):
        watcher(tmp_path, parts).watch(once=True)
    began = parts.now
    watch_until(watcher(tmp_path, parts), lambda: parts.now > began + 60)
    assert len(parts.runs) == 1
    parts.champion = champion  # type: ignore[method-assign]
    watch_until(watcher(tmp_path, parts), lambda: len(parts.runs) == 2)


def test_there_is_one_watcher_a_project(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "watch.lock", ""),
        pytest.raises(PipelineError, match="Another 'pixloop watch' of this project is at work"),
    ):
        watcher(tmp_path, Parts()).watch(once=True)


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"runs": "many"}')
    with pytest.raises(PipelineError, match=r"state.json cannot be read.*Remove it"):
        watcher(tmp_path, Parts()).watch(once=True)


# ---- Hooks, and what they lose


def test_a_touched_file_wakes_it(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    watched = watcher(tmp_path, parts, look_s=170.0)
    began, done = parts.now, []

    def hook() -> bool:
        if parts.now > began + 5 and not done:
            done.append(True)
            parts.inbox = 20
            (tmp_path / "annotated").touch()
        return len(parts.runs) == 2

    watch_until(watched, hook)
    assert parts.now < began + 170


def test_lost_hooks_are_made_up_for(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    watched = watcher(tmp_path, parts)
    began = parts.now

    def lost_hook() -> bool:
        if parts.now > began + 30 and not parts.notes:
            parts.inbox = 20
        return len(parts.runs) == 2

    watch_until(watched, lost_hook)
    assert parts.now <= began + 30 + 400


# ---- Kills


def story(folder: Path, parts: Parts, step: int) -> None:
    """What happens outside, in this order; then a watch handles it."""
    parts.now += 10
    if step == 1:
        parts.raw = "pictures-2"
    elif step == 2:
        parts.alarms = [DRIFT]
        parts.inbox = 25
    elif step == 3:
        parts.alarms = [quality(parts.champions[-1])]
    else:
        parts.alarms = []
    watcher(folder, parts).watch(once=True)


def ends_well(folder: Path, parts: Parts) -> None:
    """Nothing lost, nothing twice, whatever kills came."""
    assert parts.champions == ["1", "2"]
    assert parts.rejected == ["3"]
    assert [line.partition(" ")[0] for line in parts.normal] in (
        ["3"],
        ["3", "3"],
    )  # taken twice it is the same
    assert parts.runs[-1] == "pictures-2 25 "
    # A run that was killed before it was noted is run again, from cached steps: no more than that.
    assert max(Counter(parts.runs).values()) <= 2
    ids = [event.id for event in read_events(folder)]
    assert len(ids) == len(set(ids))
    counts = Counter(told(folder))
    assert counts["quality rollback done"] == counts["drift review done"] == 1
    assert sum(n for line, n in counts.items() if line.endswith("promotion done")) == 3
    assert sum(n for line, n in counts.items() if line.endswith("run done")) == 3
    assert Memory(folder).state.run is None
    before = parts.runs[:]
    assert watcher(folder, parts).watch(once=True) == []
    assert parts.runs == before


def count_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    parts, places = Parts(), []
    kill_at(parts, monkeypatch, places, -1)
    for step in range(5):
        story(folder, parts, step)
    number = len(places)
    ends_well(folder, parts)
    return number


def kill_at(parts: Parts, monkeypatch: pytest.MonkeyPatch, places: list[str], at: int) -> None:
    """Let a kill come at the n-th of all places where the world differs from the place before."""
    from pixloop.watching import events, state

    def check(where: str) -> None:
        places.append(where)
        if len(places) - 1 == at:
            raise Killed(where)

    write, append = state.write_text, events.EventLog._append

    def writes(target: Path, text: str) -> None:
        check("before the state is written")
        write(target, text)

    def appends(log: Any, line: bytes) -> None:
        check("before an event is written")
        append(log, line)

    parts.check = check
    monkeypatch.setattr(state, "write_text", writes)
    monkeypatch.setattr(events.EventLog, "_append", appends)


def test_a_kill_at_any_place_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        number = count_places(tmp_path / "undisturbed", patch)
    assert number > 60
    for at in range(number):
        folder, parts, places = tmp_path / str(at), Parts(), list[str]()
        with monkeypatch.context() as patch:
            kill_at(parts, patch, places, at)
            for step in range(5):
                try:
                    story(folder, parts, step)
                except Killed:
                    parts.now += 10
                    watcher(folder, parts).watch(once=True)
            assert len(places) > at
        try:
            ends_well(folder, parts)
        except AssertionError as e:
            raise AssertionError(f"killed at place {at}, {places[at]}") from e


def test_ctrl_c_ends_it_and_the_next_watch_goes_on(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw, parts.fails["run"] = "pictures-2", KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        watcher(tmp_path, parts).watch()
    del parts.fails["run"]
    assert watcher(tmp_path, parts).watch(once=True) == ["done"]
    assert told(tmp_path)[-4:] == [
        "raw_data run interrupted", "raw_data run resumed", "raw_data promotion done",
        "raw_data run done",
    ]  # fmt: skip
    assert "interrupted" in [event.outcome for event in read_events(tmp_path)]
