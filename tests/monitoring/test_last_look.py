"""What a monitor tells and changes for somebody who sees it on a page."""

import numpy as np
import pytest
from tests.monitoring.monitored import capture, clean, make_bundle, open_monitor

from pixloop.bundle import Bundle
from pixloop.errors import MonitoringError
from pixloop.monitoring.captures import find_unread
from pixloop.monitoring.state import Record, locked, read_record, read_state


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_last_look_is_told_without_looking(tmp_path, bundle, random):
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.last_look().seen == 0
    assert not monitor.folder.exists()
    capture(tmp_path / "captures", clean(30, random), random)
    found = monitor.look()
    file = monitor.folder / "state.npz"
    before = file.stat().st_mtime_ns
    capture(tmp_path / "captures", clean(5, random), random, hour=4)
    told = open_monitor(tmp_path, bundle).last_look()
    assert told == found.model_copy(update={"new": 0})
    assert file.stat().st_mtime_ns == before


def test_what_no_look_has_read_is_counted(tmp_path, bundle, random):
    captures = tmp_path / "captures"
    assert find_unread(captures, {}).requests == 0
    capture(captures, clean(30, random), random)
    monitor = open_monitor(tmp_path, bundle)
    monitor.look()
    record = read_record(monitor.folder / "state.npz")
    assert record == read_state(monitor.folder / "state.npz")[0]
    assert find_unread(captures, record.offsets).requests == 0
    file = capture(captures, clean(5, random), random, hour=4)
    with file.open("ab") as more:
        more.write(file.read_bytes())
    unread = find_unread(captures, record.offsets)
    assert (unread.files, unread.requests, unread.size) == (1, 10, file.stat().st_size)


def test_too_much_to_count_is_told_in_bytes(tmp_path, bundle, random, monkeypatch):
    monkeypatch.setattr("pixloop.monitoring.captures._COUNTED_BYTES", 100)
    capture(tmp_path, clean(3, random), random)
    unread = find_unread(tmp_path, {})
    assert unread.requests is None
    assert unread.size > 100


def test_of_no_state_the_record_is_empty(tmp_path):
    assert read_record(tmp_path / "state.npz") == Record()


def test_a_damaged_record_is_told(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(MonitoringError, match="is not what pixloop writes"):
        read_record(tmp_path / "state.npz")


def test_acknowledging_needs_no_alarm_unless_one_is_meant(tmp_path, bundle):
    monitor = open_monitor(tmp_path, bundle)
    monitor.acknowledge()
    monitor.acknowledge(["drift-0"])
    assert read_record(monitor.folder / "state.npz").tests == 1


def test_whoever_is_not_patient_is_told_of_a_look(tmp_path, bundle):
    monitor = open_monitor(tmp_path, bundle)
    monitor.patience_s = 0.0
    with (
        locked(monitor.folder, -1),
        pytest.raises(MonitoringError, match="looked at right now"),
    ):
        monitor.acknowledge()


def test_after_the_test_began_anew_accuracy_is_that_of_pictures_since(
    tmp_path, bundle, random, monkeypatch
):
    firsts = []
    monkeypatch.setattr(
        "pixloop.monitoring.monitor.accuracy_of", lambda rows, first, _: firsts.append(first)
    )
    monitor = open_monitor(tmp_path, bundle)
    capture(tmp_path / "captures", clean(130, random), random)
    monitor.look()
    assert firsts.pop() == 0
    monitor.acknowledge()
    assert firsts.pop() == 30  # a hundred at least
    capture(tmp_path / "captures", clean(120, random), random, hour=4)
    monitor.look()
    assert firsts.pop() == 130


def test_the_estimated_accuracy_is_known_without_the_observations(tmp_path, bundle, random):
    capture(tmp_path / "captures", clean(120, random), random)
    monitor = open_monitor(tmp_path, bundle)
    found = monitor.look()
    assert found.accuracy is not None
    assert read_record(monitor.folder / "state.npz").accuracy == found.accuracy
