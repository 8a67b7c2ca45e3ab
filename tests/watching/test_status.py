from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.watching.fake_parts import Parts, told, watch_until, watcher
from tests.watching.test_watcher import DRIFT, settled

from pixloop.watching.display import WatchDisplay, line_of
from pixloop.watching.events import FILE, EventLog, read_events
from pixloop.watching.status import duration, read_status
from pixloop.watching.watcher import Watcher


def now(watched: Watcher, parts: Parts) -> dict[str, str]:
    config = watched._config
    return {row.name: row.now for row in read_status(watched.state, watched.due, config, parts.now)}


def test_what_each_trigger_waits_for(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    every = ("raw_data", "annotations", "commit", "schedule", "drift")
    watched = watcher(tmp_path, parts, enabled=every, every_s=3600.0)
    watch_until(watched, lambda: True)
    assert now(watched, parts) == {
        "raw_data": "quiet",
        "annotations": "quiet",
        "commit": "quiet",
        "schedule": "next in 1 h 0 min",
        "drift": "quiet",
    }
    parts.alarms = [DRIFT]
    parts.annotate(3)
    watch_until(watched, lambda: watched.due.waits)
    assert now(watched, parts)["annotations"] == "waits for annotations: 3 of 20"
    assert now(watched, parts)["drift"] == "waits for annotations: 3 of 20"


def test_a_run_and_what_comes_after_it(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    watched = watcher(tmp_path, parts)
    parts.raw = "pictures-2"
    seen: list[dict[str, str]] = []
    parts.during_run = lambda: seen.append(now(watched, parts))
    watched.watch(once=True)
    assert seen[0]["raw_data"] == "run 2, for 0 s"
    assert seen[0]["annotations"] == "quiet"


def test_pictures_that_still_come_are_waited_for(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.raw = "pictures-2"
    watched = watcher(tmp_path, parts, settle_s=60.0)
    watch_until(watched, lambda: True)
    assert now(watched, parts)["raw_data"] == "waits until all is still"


def test_durations() -> None:
    assert [duration(s) for s in (-5, 0, 119, 120, 3600, 86_400, 172_800)] == [
        "0 s", "0 s", "119 s", "2 min", "1 h 0 min", "24 h 0 min", "2 d 0 h"
    ]  # fmt: skip


def test_a_log_is_a_line_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = Parts()
    view = WatchDisplay("cars", watcher(tmp_path, parts)._config, Console(file=StringIO()))
    watched = watcher(tmp_path, parts)
    watched._tell = view.tell
    with view.showing(watched), view.listening():
        watched.watch(once=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(told(tmp_path)) == 4
    assert lines[-1].endswith("new raw data: run done  version 1, in 2 s")


def test_a_terminal_shows_triggers_and_the_last_events(tmp_path: Path) -> None:
    parts = settled(tmp_path)
    parts.alarms = [DRIFT]
    watched = watcher(tmp_path, parts)
    screen = Console(file=StringIO(), force_terminal=True, width=100)
    view = WatchDisplay("cars", watched._config, screen)
    watched._tell = view.tell
    with view.showing(watched):
        watched.watch(once=True)
        with view.listening():
            pass
    plain = Console(file=StringIO(), width=100)
    plain.print(view.render())
    text = plain.file.getvalue()  # type: ignore[attr-defined]
    assert "pixloop watch  cars  1 run" in text
    assert "drift alarm" in text
    assert "review raised  brightness is lower" in text


# ---- The log


def test_an_event_is_kept_once(tmp_path: Path) -> None:
    heard = []
    log = EventLog(tmp_path, heard.append)
    assert log.add("a", ("drift",), "review", "done", "5 pictures", "3")
    assert not log.add("a", (), "", "again")
    assert not EventLog(tmp_path).add("a", (), "", "after a restart")
    [event] = read_events(tmp_path)
    assert heard == [event]
    assert (event.trigger, event.started, event.version) == (("drift",), "review", "3")
    assert line_of(event).endswith("drift alarm: review done  5 pictures")


def test_a_line_that_a_kill_cut_short_costs_no_other(tmp_path: Path) -> None:
    EventLog(tmp_path).add("a", (), "", "whole")
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"id": "b", "ti')
    log = EventLog(tmp_path)
    assert log.add("b", (), "", "again")
    assert log.add("c", (), "", "after")
    assert [event.id for event in read_events(tmp_path)] == ["a", "b", "c"]


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in range(3000):
        log.add(f"event-{number}", (), "look", "done", "x" * 100)
    read = [event.id for event in read_events(tmp_path)]
    assert read[-1] == "event-2999"
    assert 500 < len(read) < 3000
