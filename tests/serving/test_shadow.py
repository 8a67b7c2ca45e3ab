import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.capture.test_format import exchange
from tests.serving.in_thread import serving

from pixloop.bundle import Bundle, GraphFormat
from pixloop.config import ServingConfig
from pixloop.errors import BundleError, ServingError
from pixloop.serving.app import build_app
from pixloop.serving.capture.capture import Capture
from pixloop.serving.capture.format import read_captures
from pixloop.serving.models import challenger as challenger_module
from pixloop.serving.models.challenger import MAX_WAITING, MAX_WAITING_BYTES
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.observing.observers import observing
from pixloop.serving.predictor import open_predictor
from pixloop.serving.shadow import Shadow, check_share, remove_old_captures


@pytest.fixture(scope="session")
def chosen_graph() -> GraphFormat:
    """One is enough: nothing here depends on what computes."""
    return "openvino"


class Kept:
    """Captures in memory."""

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False
        self.exchanges: list[Exchange] = []

    def __call__(self, taken: Exchange) -> None:
        self.exchanges.append(taken)

    def close(self, timeout_s: float = 5.0) -> None:
        self.closed = True


class Stage:
    """A shadow, what it finds, and what it keeps."""

    def __init__(self, bundle: Bundle) -> None:
        self.found: tuple[str, Path] | None = ("colours:2", bundle.path)
        self.kept: list[Kept] = []
        self.busy = False
        self.find: Callable[[], Any] = lambda: self.found
        self.open_model: Any = open_predictor
        self.shadow = Shadow(
            lambda: self.find(), self.open_captures, 0.01, lambda found: self.open_model(found)
        )

    def open_captures(self, name: str) -> Kept:
        self.kept.append(Kept(name))
        return self.kept[-1]

    def start(self) -> None:
        self.shadow.start(lambda: self.busy)
        eventually(lambda: self.shadow.challenger == "colours:2")

    def ask(self, picture: bytes, **fields: Any) -> None:
        self.shadow(exchange(body=picture, content_type="image/png", **fields))


@pytest.fixture
def stage(bundle: Bundle) -> Iterator[Stage]:
    made = Stage(bundle)
    yield made
    made.shadow.close()


def eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not happen"
        time.sleep(0.002)


def test_a_challenger_answers_the_same_under_the_same_id(
    stage: Stage, make_picture: Callable[..., bytes]
) -> None:
    stage.start()
    picture = make_picture("green")
    stage.ask(picture, request_id="r-7", received_at=1_777_863_721.0)
    eventually(lambda: stage.shadow.answered == 1)
    [kept] = stage.kept
    [taken] = kept.exchanges
    assert kept.name == "shadow-2"
    assert (taken.request_id, taken.model, taken.body) == ("r-7", "colours:2", picture)
    assert taken.received_at == 1_777_863_721.0
    document = json.loads(taken.answer)
    assert document["model"] == "colours:2"
    assert document["predictions"][0]["label"] == "green"


def test_while_requests_wait_nothing_is_computed(
    stage: Stage, make_picture: Callable[..., bytes]
) -> None:
    stage.busy = True
    stage.start()
    for _ in range(3):
        stage.ask(make_picture("red"))
    time.sleep(0.1)
    assert stage.shadow.answered == 0
    stage.busy = False
    eventually(lambda: stage.shadow.answered == 3)


def test_what_there_is_no_time_for_is_left_out(
    stage: Stage, make_picture: Callable[..., bytes]
) -> None:
    stage.busy = True
    stage.start()
    picture = make_picture("red")
    # One more is in the hands of the thread.
    for _ in range(MAX_WAITING + 11):
        stage.ask(picture)
    assert 10 <= stage.shadow.dropped <= 11
    stage.busy = False
    eventually(lambda: stage.shadow.answered + stage.shadow.dropped == MAX_WAITING + 11)


def test_large_requests_are_bounded_together(stage: Stage) -> None:
    stage.busy = True
    stage.start()
    for _ in range(4):
        stage.ask(bytes(MAX_WAITING_BYTES // 3))
    assert stage.shadow.dropped == 2


def test_its_thread_has_the_lowest_priority(
    stage: Stage, make_picture: Callable[..., bytes]
) -> None:
    niceness: list[int] = []
    opened = open_predictor

    def open_model(bundle: Bundle) -> Any:
        predictor = opened(bundle)
        answer = predictor.answer

        def spied(*given: Any, **named: Any) -> Any:
            niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return answer(*given, **named)

        predictor.answer = spied  # type: ignore[method-assign]
        return predictor

    stage.open_model = open_model
    stage.start()
    warm_up = len(niceness)
    stage.ask(make_picture("red"))
    eventually(lambda: stage.shadow.answered == 1)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness[:warm_up] == [ours] * warm_up
    assert niceness[warm_up:] == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


def test_it_follows_the_challenger(stage: Stage, make_picture: Callable[..., bytes]) -> None:
    stage.start()
    stage.ask(make_picture("red"))
    eventually(lambda: stage.shadow.answered == 1)
    assert stage.found is not None
    stage.found = ("colours:3", stage.found[1])
    eventually(lambda: stage.shadow.challenger == "colours:3")
    assert [(kept.name, kept.closed) for kept in stage.kept] == [
        ("shadow-2", True), ("shadow-3", False)
    ]  # fmt: skip
    assert stage.shadow.answered == 1  # a count does not fall
    stage.found = None  # it is the champion now
    eventually(lambda: not stage.shadow.challenger)
    eventually(lambda: stage.kept[-1].closed)
    stage.ask(make_picture("red"))
    assert stage.shadow.dropped == 0


def test_a_challenger_that_cannot_be_opened_is_left_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def broken(bundle: Bundle) -> Any:
        tried.append(bundle)
        raise BundleError("a graph is not the one that was exported")

    stage.open_model = broken
    stage.shadow.start(lambda: False)
    eventually(lambda: tried)
    time.sleep(0.1)
    assert len(tried) == 1
    assert "colours:2 does not answer in the shadow: a graph is not the one" in caplog.text


def test_a_registry_that_is_away_is_said_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    looks = []

    def away() -> None:
        looks.append(1)
        raise OSError("no route")

    stage.find = away
    stage.shadow.start(lambda: False)
    eventually(lambda: len(looks) > 3)
    assert caplog.text.count("cannot see whether there is a challenger") == 1


def test_a_challenger_that_only_fails_is_asked_no_more(
    stage: Stage, make_picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenger_module, "_MOST_FAILURES", 3)
    stage.start()
    for _ in range(2):
        stage.ask(b"no picture")
    eventually(lambda: stage.shadow.failed == 2)
    stage.ask(make_picture("red"))
    eventually(lambda: stage.shadow.answered == 1)
    for number in range(3):
        stage.ask(b"no picture")
        eventually(lambda: stage.shadow.failed == 3 + number)  # noqa: B023  (it is called here)
    stage.ask(make_picture("red"))
    assert (stage.shadow.answered, stage.shadow.dropped) == (1, 1)


def test_a_server_answers_as_the_champion_and_keeps_both(
    bundle: Bundle, tmp_path: Path, make_picture: Callable[..., bytes]
) -> None:
    settings = ServingConfig(capture_share=1.0)
    pictures = [make_picture(colour) for colour in ("red", "green", "blue")] * 5
    found = ("colours:2", bundle.path)
    with observing("colours:1", settings, tmp_path, lambda: found) as observers:
        app = build_app(open_predictor(bundle), "colours:1", settings, observers.each)
        assert observers.shadow is not None
        observers.shadow.start(lambda: app.batcher.waiting > 0)
        eventually(lambda: observers.shadow and observers.shadow.challenger)
        with serving(app) as url, httpx.Client(base_url=url) as client:
            headers = {"content-type": "image/png"}
            answers = [
                client.post("/invocations", content=picture, headers=headers).json()
                for picture in pictures
            ]
        eventually(lambda: observers.shadow and observers.shadow.answered == len(pictures))
        app.close()
    assert {answer["model"] for answer in answers} == {"colours:1"}
    champion = {read.request_id: read for read in read_captures(tmp_path / "colours-1")}
    shadow = {read.request_id: read for read in read_captures(tmp_path / "shadow-2")}
    assert len(champion) == len(pictures)
    assert champion.keys() == shadow.keys()
    for request, read in champion.items():
        [own], [other] = read.documents(), shadow[request].documents()
        assert own["predictions"] == other["predictions"]
        assert (own["model"], other["model"]) == ("colours:1", "colours:2")


def test_only_what_is_captured_is_asked(bundle: Bundle, tmp_path: Path) -> None:
    asked: list[Exchange] = []
    chances = iter([0.05, 0.5, 0.05])
    capture = Capture(
        None, tmp_path, 0.1, 10_000_000, "c", also=asked.append, chance=lambda: next(chances)
    )
    for number in range(3):
        capture(exchange(request_id=f"r-{number}", predictions=(object(),)))
    capture.close()
    assert [each.request_id for each in asked] == ["r-0", "r-2"]
    assert not any(each.predictions for each in asked)


def test_without_captures_it_refuses_to_start() -> None:
    check_share(0.01)
    with pytest.raises(ServingError, match=r"serving\.capture_share above 0"):
        check_share(0.0)


def test_captures_of_old_challengers_are_removed(tmp_path: Path) -> None:
    for name in ("shadow-2", "shadow-9", "shadow-10", "shadow-11", "colours-1"):
        (tmp_path / name / "AllTraffic").mkdir(parents=True)
    remove_old_captures(tmp_path, "shadow-11")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "colours-1", "shadow-10", "shadow-11"
    ]  # fmt: skip
