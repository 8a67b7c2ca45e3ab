"""A monitor sees each captured picture once, whatever happens in between."""

import hashlib
import io
import json
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.monitoring.monitored import capture, clean, make_bundle, open_monitor, picture

from pixloop.bundle import Bundle
from pixloop.data.annotations import Annotation, AnnotationStore
from pixloop.errors import MonitoringError
from pixloop.monitoring import monitor as module
from pixloop.monitoring.metrics import MonitorMetrics
from pixloop.monitoring.monitor import Monitor
from pixloop.monitoring.terminal import render_look


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_each_picture_is_seen_once(tmp_path, bundle, random):
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.look().seen == 0
    capture(tmp_path / "captures", clean(30, random), random)
    assert monitor.look().new == 30
    assert monitor.look().new == 0
    capture(tmp_path / "captures", clean(5, random), random, hour=4)
    look = open_monitor(tmp_path, bundle).look()
    assert (look.new, look.seen) == (5, 35)
    ids = [row.id for row in monitor.observations()]
    assert len(ids) == 30  # what this one knew
    assert len({row.id for row in open_monitor(tmp_path, bundle).observations()}) == 35


def test_other_models_and_damage_stop_nothing(tmp_path, bundle, random, caplog):
    file = capture(tmp_path / "captures", clean(4, random), random)
    file.write_bytes(b"{no json}\n" + file.read_bytes() + b"\xff\xfe\n")
    capture(tmp_path / "captures", clean(3, random), random, model="pets:2")
    look = open_monitor(tmp_path, bundle).look()
    assert (look.seen, look.damaged) == (4, 2)
    assert "byte 0" in caplog.text


def test_every_content_type_is_read(tmp_path, bundle, random):
    b64 = [b64encode(picture(random)).decode() for _ in range(5)]
    several = json.dumps({"instances": [{"b64": each} for each in b64[:3]]}).encode()
    lines = "\n".join(json.dumps({"image": each}) for each in b64).encode()
    bodies = [(several, "application/json"), (lines, "application/jsonlines")]
    capture(tmp_path / "captures", [*bodies, *clean(1, random)], random)
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.look().seen == 9
    for row in monitor.observations():
        kept = monitor.picture(row)
        assert kept is not None
        assert hashlib.sha256(kept).hexdigest() == row.sha256


def test_of_lines_that_two_models_answered_each_sees_its_own(tmp_path, bundle, random):
    lines = "\n".join(
        json.dumps({"image": b64encode(picture(random)).decode()}) for _ in range(3)
    ).encode()
    file = capture(tmp_path / "captures", [(lines, "application/jsonlines")], random)
    line = json.loads(file.read_text())
    side = line["captureData"]["endpointOutput"]
    answers = b64decode(side["data"]) if side["encoding"] == "BASE64" else side["data"].encode()
    first, _, rest = answers.partition(b"\n")
    answers = first.replace(b"pets:1", b"pets:2") + b"\n" + rest
    side |= {"data": b64encode(answers).decode(), "encoding": "BASE64"}
    file.write_text(json.dumps(line) + "\n")
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.look().seen == 2
    assert [row.id.rpartition(":")[2] for row in monitor.observations()] == ["1", "2"]


def test_removed_files_are_forgotten(tmp_path, bundle, random):
    file = capture(tmp_path / "captures", clean(3, random), random)
    monitor = open_monitor(tmp_path, bundle)
    monitor.look()
    file.unlink()
    look = monitor.look()
    assert (look.new, look.seen) == (0, 3)
    assert monitor.picture(next(monitor.observations())) is None


def test_a_sample_is_the_same_every_time(tmp_path, bundle, random):
    capture(tmp_path / "captures", clean(100, random), random)
    seen = [
        {row.id for row in _looked(open_monitor(tmp_path / name, bundle, sample=0.5), tmp_path)}
        for name in ("a", "b")
    ]
    assert seen[0] == seen[1]
    assert 25 < len(seen[0]) < 75


def _looked(monitor: Monitor, captures: Path):
    monitor.captures = captures / "captures"
    monitor.look()
    return monitor.observations()


class Killed(BaseException):
    """As a kill would end a look."""


@pytest.mark.parametrize("place", ["append", "write_state", "write_state_done", "publish"])
@pytest.mark.parametrize("time", [1, 2, 3])
def test_a_kill_loses_nothing_and_doubles_nothing(
    tmp_path, bundle, random, monkeypatch, place, time
):
    monkeypatch.setattr(module, "_STEP_PICTURES", 16)
    capture(tmp_path / "captures", clean(50, random), random)
    undisturbed = open_monitor(tmp_path / "other", bundle)
    undisturbed.captures = tmp_path / "captures"
    undisturbed.look()
    times = iter(range(1, 1000))
    with monkeypatch.context() as patch:
        _kill(patch, place, lambda: next(times) == time)
        monitor = open_monitor(tmp_path, bundle)
        with pytest.raises(Killed):
            _look_until_killed(monitor)
    after = open_monitor(tmp_path, bundle)
    look = after.look()
    assert look.seen == 50
    expected = [row.id for row in undisturbed.observations()]
    assert [row.id for row in after.observations()] == expected
    assert look.evidence == undisturbed.look().evidence


def _look_until_killed(monitor: Monitor) -> None:
    while True:
        monitor.look()


def _kill(patch: pytest.MonkeyPatch, place: str, now) -> None:
    if place == "append":
        append = module.Observations.append

        def after(self, rows):
            append(self, rows)
            if now():
                raise Killed

        patch.setattr(module.Observations, "append", after)
    elif place == "publish":

        def never(*_):
            if now():
                raise Killed

        patch.setattr(Monitor, "_publish_alarms", never)
    else:
        write = module.write_state

        def around(*arguments):
            if place == "write_state_done":
                write(*arguments)
            if now():
                raise Killed
            if place == "write_state":
                write(*arguments)

        patch.setattr(module, "write_state", around)


def _dark(tmp_path, bundle, random) -> Monitor:
    capture(tmp_path / "captures", clean(100, random), random)
    capture(tmp_path / "captures", clean(150, random, dark=True), random, hour=4)
    return open_monitor(tmp_path, bundle)


def test_dark_pictures_raise_one_alarm_with_its_pictures(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    (alarm,) = monitor.look().open_alarms
    assert (alarm.kind, alarm.signal, alarm.direction) == ("drift", "brightness", "lower")
    assert "Brightness is lower" in alarm.words
    assert 90 <= alarm.first <= 115
    assert len(monitor.thumbnails(alarm)) == 12
    assert len(monitor.look().alarms) == 1
    kept = json.loads((monitor.folder / "alarms.json").read_text())
    assert [each["id"] for each in kept["alarms"]] == [alarm.id]


def test_one_picture_sent_over_and_over_is_no_drift(tmp_path, bundle, random):
    mixed = clean(100, random)
    (health_check,) = clean(1, random)
    for number in range(100):
        mixed += [health_check] * 3
        if number % 2:
            mixed += clean(1, random)
    capture(tmp_path / "captures", mixed, random)

    look = open_monitor(tmp_path, bundle).look()

    assert (look.seen, look.open_alarms) == (len(mixed), [])


def test_nothing_is_said_where_nothing_was_tested(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    monitor.look()
    monitor.acknowledge()

    shown = io.StringIO()
    Console(file=shown, width=200).print(render_look(monitor.look()))
    page = monitor.report(tmp_path / "monitoring.html").read_text()

    assert "nothing can be said yet" in shown.getvalue()
    assert "Nothing can be said yet" in page
    assert "Nothing has moved" not in shown.getvalue() + page


def test_half_a_state_is_named_with_the_way_out(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    monitor.look()
    state = monitor.folder / "state.npz"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])

    with pytest.raises(MonitoringError, match=r"state\.npz is not what pixloop writes"):
        open_monitor(tmp_path, bundle)

    state.unlink()
    assert open_monitor(tmp_path, bundle).look().seen == 250


def test_acknowledged_drift_is_raised_again_while_it_lasts(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    monitor.look()
    monitor.acknowledge()
    look = monitor.look()
    assert (look.tested, look.open_alarms, len(look.alarms)) == (0, [], 1)
    capture(tmp_path / "captures", clean(100, random, dark=True), random, hour=5)
    look = open_monitor(tmp_path, bundle).look()
    assert len(look.open_alarms) == 1
    assert len({alarm.id for alarm in look.alarms}) == 2
    assert look.alarms[-1].first >= 250


def test_a_new_normal_ends_the_alarm_for_good(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    monitor.look()
    monitor.take_as_normal()
    capture(tmp_path / "captures", clean(150, random, dark=True), random, hour=5)
    assert open_monitor(tmp_path, bundle).look().open_alarms == []
    capture(tmp_path / "captures", clean(150, random), random, hour=6)
    assert len(monitor.look().open_alarms) == 1


def test_few_pictures_are_no_normal(tmp_path, bundle, random):
    capture(tmp_path / "captures", clean(20, random), random)
    monitor = open_monitor(tmp_path, bundle)
    monitor.look()
    with pytest.raises(MonitoringError, match="too few"):
        monitor.take_as_normal()


def _annotate(tmp_path: Path, monitor: Monitor, right: bool, drawn: str = "random") -> None:
    store = AnnotationStore(tmp_path / "annotations")
    for i, row in enumerate(monitor.observations()):
        other = {"cat": "dog", "dog": "cat"}[row.answer["label"]]
        label = row.answer["label"] if right else other
        at = f"2026-05-04T04:{i // 60:02d}:{i % 60:02d}+00:00"
        annotation = Annotation(id=f"a-{i}", sha256=row.sha256, label=label, at=at, drawn=drawn)
        store.add(annotation, None)


def test_right_answers_are_quality_and_wrong_ones_an_alarm(tmp_path, bundle, random):
    capture(tmp_path / "captures", clean(60, random), random)
    monitor = open_monitor(tmp_path, bundle)
    assert monitor.look().quality is None
    _annotate(tmp_path, monitor, right=True, drawn="chosen")
    assert monitor.look().quality is None  # the hard ones judge nothing
    _annotate(tmp_path / "wrong", monitor, right=False)
    wrong = Monitor(
        monitor.folder.parent,
        monitor.config,
        "1",
        bundle,
        tmp_path / "captures",
        tmp_path / "wrong/annotations",
    )
    look = wrong.look()
    assert look.quality is not None
    assert look.quality.value == 0
    (alarm,) = look.open_alarms
    assert (alarm.kind, alarm.matters) == ("quality", True)
    assert len(wrong.look().alarms) == 1


def test_a_report_and_a_view_and_metrics_say_the_same(tmp_path, bundle, random):
    monitor = _dark(tmp_path, bundle, random)
    look = monitor.look()
    page = monitor.report(tmp_path / "report.html").read_text()
    assert "Brightness is lower than in the reference." in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") >= 13
    console = Console(width=120, record=True)
    console.print(render_look(look))
    assert "Brightness is lower" in console.export_text()
    metrics = MonitorMetrics()
    metrics.show(look)
    get = metrics.registry.get_sample_value
    assert get("pixloop_monitor_open_alarms", {"model": "pets:1", "kind": "drift"}) == 1
    assert get("pixloop_monitor_pictures_seen", {"model": "pets:1"}) == 250


def test_metrics_are_served_here_only(tmp_path, bundle):
    import httpx

    metrics = MonitorMetrics()
    metrics.show(open_monitor(tmp_path, bundle).look())
    server = metrics.listen(0)
    try:
        assert server.server_address[0] == "127.0.0.1"
        text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
        assert "pixloop_monitor_pictures_seen" in text
    finally:
        server.shutdown()
        server.server_close()
