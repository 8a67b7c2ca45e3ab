import errno
import itertools
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.serving.capture.test_format import exchange

from pixloop.errors import ServingError
from pixloop.serving.capture import writer
from pixloop.serving.capture.capture import Capture
from pixloop.serving.capture.format import read_captures

NAME = r"flowers/AllTraffic/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl"


def paths(folder: Path) -> list[Path]:
    """Unlike rglob, walk does not mind folders that are removed meanwhile."""
    return sorted(Path(where, name) for where, _, names in os.walk(folder) for name in names)


def files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths(folder)]


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in paths(folder))


def ids(folder: Path) -> list[str]:
    return [read.request_id for read in read_captures(folder)]


def eventually(condition: Callable[[], Any]) -> None:
    """Wait for what another thread does; a minute is only how long a failure takes."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def open_capture(folder: Path, share: float = 1.0, **options: Any) -> Capture:
    options = {"to": None, "max_bytes": 10_000_000, "endpoint": "flowers"} | options
    return Capture(folder=folder, share=share, **options)


def send(capture: Capture, *names: str, **fields: Any) -> None:
    for name in names:
        capture(exchange(request_id=name, **fields))


def test_exchanges_are_seen_once_their_file_is_whole(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    capture = open_capture(tmp_path)
    send(capture, "a", "b")
    eventually(lambda: capture.captured == 2)
    (part,) = files(tmp_path)
    assert re.fullmatch(NAME.replace(r"\d\d-\d\d-", r"\.\d\d-\d\d-", 1) + r"\.part", part)
    assert ids(tmp_path) == []
    send(capture, "c")
    capture.close()
    (file,) = files(tmp_path)
    assert re.fullmatch(NAME, file)
    assert f"{before:%Y/%m/%d/%H}" <= file.removeprefix("flowers/AllTraffic/")
    assert ids(tmp_path) == ["a", "b", "c"]
    assert (capture.captured, capture.dropped) == (3, 0)


def test_a_file_is_published_when_it_is_old(tmp_path: Path) -> None:
    capture = open_capture(tmp_path, file_s=0.0)
    send(capture, "a")
    eventually(lambda: ids(tmp_path) == ["a"])
    send(capture, "b")
    eventually(lambda: ids(tmp_path) == ["a", "b"])
    capture.close()


def test_a_file_is_published_when_it_is_large(tmp_path: Path) -> None:
    capture = open_capture(tmp_path, max_bytes=1_000_000)
    send(capture, "a", "b", body=bytes(40_000))
    eventually(lambda: ids(tmp_path) == ["a", "b"])
    capture.close()
    assert len(files(tmp_path)) == 2


def test_only_successes_are_kept(tmp_path: Path) -> None:
    capture = open_capture(tmp_path)
    for status in (499, 400, 413, 503, 500, 0):
        send(capture, "failed", status=status)
    send(capture, "well")
    capture.close()
    assert ids(tmp_path) == ["well"]
    assert capture.dropped == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_is_kept(share: float, tmp_path: Path) -> None:
    capture = open_capture(tmp_path, share, chance=random.Random(1).random)
    for number in range(900):
        send(capture, str(number))
    capture.close()
    draws = random.Random(1)
    assert ids(tmp_path) == [str(n) for n in range(900) if draws.random() < share]


@pytest.mark.parametrize(("size", "kept"), [(24_000_000, 2), (0, 1000), (60_000_000, 0)])
def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(
    size: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a disk that hangs; what the writer is at counts until it is written."""
    write, goes_on = os.write, threading.Event()

    def hang(descriptor: int, data: Any) -> int:
        goes_on.wait()
        return write(descriptor, data)

    capture = open_capture(tmp_path, max_bytes=1_000_000_000)
    body = bytes(size)
    with monkeypatch.context() as hung:
        hung.setattr(os, "write", hang)
        send(capture, "first", body=body)
        eventually(lambda: not capture._waiting)
        send(capture, *map(str, range(1010)), body=body)
        first = 1 if kept else 0
        waiting = kept if size == 0 else kept - first
        assert capture.dropped == 1010 - waiting + (1 - first)
        goes_on.set()
    eventually(lambda: capture.captured == waiting + first)
    send(capture, "later", body=body)  # there is room again
    capture.close(timeout_s=60)
    names = ["first"][:first] + [str(n) for n in range(waiting)] + ["later"][:first]
    assert ids(tmp_path) == names


def test_any_name_becomes_a_folder(tmp_path: Path) -> None:
    for endpoint, folder in {
        "../../etc/passwd": "etc-passwd",
        "Blumen größer/α": "Blumen-gr-er",
        "..": "endpoint",
        "a" * 100: "a" * 63,
        "model-1.2_b": "model-1.2_b",
    }.items():
        capture = open_capture(tmp_path, endpoint=endpoint)
        send(capture, "a")
        capture.close()
        assert [p.name for p in tmp_path.iterdir()] == [folder]
        (next(tmp_path.iterdir())).rename(tmp_path.with_name(f"{tmp_path.name}-{folder[:9]}"))


def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match=r"file/flowers: Not a directory.*capture_to"):
        open_capture(tmp_path, to=str(tmp_path / "file"))
    with pytest.raises(ServingError, match="'gs://bucket': give a folder"):
        open_capture(tmp_path, to="gs://bucket")


def test_the_disk_taken_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    capture = open_capture(tmp_path, max_bytes=1_000_000)
    foreign = tmp_path / "flowers/notes.jsonl"
    foreign.write_text("mine")
    other = tmp_path / "other/AllTraffic/2020/01/01/00"
    other.mkdir(parents=True)
    (other / "00-00-000-00000000-0000-0000-0000-000000000000.jsonl").write_text("{}")
    for number in range(60):
        send(capture, str(number), body=bytes(40_000))
        eventually(lambda number=number: capture.captured == number + 1)
        assert used(tmp_path / "flowers") <= 1_000_004
    capture.close()
    kept = ids(tmp_path / "flowers/AllTraffic")
    assert kept == [str(n) for n in range(60 - len(kept), 60)]
    assert 14 <= len(kept) <= 18  # 1 MB of lines of 54 kB
    assert foreign.exists()
    assert len(files(other)) == 1
    assert capture.dropped == 0


def test_a_capture_larger_than_half_of_the_disk_allowed_is_dropped_alone(tmp_path: Path) -> None:
    capture = open_capture(tmp_path, max_bytes=1_000_000)
    send(capture, "a")
    send(capture, "huge", body=bytes(375_000))  # 500 kB of base64
    send(capture, "large", body=bytes(370_000))
    send(capture, "b")
    capture.close()
    assert sorted(ids(tmp_path)) == ["a", "b", "large"]
    assert capture.dropped == 1


def test_hours_that_are_empty_are_removed(tmp_path: Path) -> None:
    old = tmp_path / "flowers/AllTraffic/2020/01/01/00"
    old.mkdir(parents=True)
    (old / "00-00-000-00000000-0000-0000-0000-000000000000.jsonl").write_bytes(bytes(990_000))
    capture = open_capture(tmp_path, max_bytes=1_000_000)
    send(capture, "a", body=bytes(40_000))
    capture.close()
    assert ids(tmp_path) == ["a"]
    assert not (tmp_path / "flowers/AllTraffic/2020").exists()


def test_after_a_full_disk_captures_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that takes half a line and then nothing, as a full one does."""
    caplog.set_level(logging.INFO, "pixloop")
    write, full, turns = os.write, False, itertools.cycle((True, False))

    def write_or_fail(descriptor: int, data: Any) -> int:
        if not full:
            return write(descriptor, data)
        if next(turns):
            return write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_or_fail)
    monkeypatch.setattr(writer, "_PAUSE_S", 0.0)
    capture = open_capture(tmp_path)
    send(capture, "a")
    eventually(lambda: capture.captured == 1)
    full = True
    send(capture, "b", "c")
    eventually(lambda: capture.dropped == 2)
    assert ids(tmp_path) == ["a"]  # what is whole was published
    full = False
    send(capture, "d")
    capture.close()
    assert ids(tmp_path) == ["a", "d"]
    told = [r.getMessage() for r in caplog.records]
    assert [("No space left" in m, "captured again" in m) for m in told] == [
        (True, False),
        (False, True),
    ]


def test_a_disk_that_failed_is_left_alone_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capture = open_capture(tmp_path / "disk", file_s=0.0)
    send(capture, "a")
    eventually(lambda: ids(tmp_path) == ["a"])
    (tmp_path / "disk").rename(tmp_path / "gone")
    (tmp_path / "disk").touch()
    send(capture, "b")
    eventually(lambda: capture.dropped == 1)
    (tmp_path / "disk").unlink()
    send(capture, "c")
    capture.close()
    assert capture.dropped == 2
    assert "requests are not captured until" in caplog.text
    assert not (tmp_path / "disk").exists()


def test_two_servers_share_a_folder(tmp_path: Path) -> None:
    first = open_capture(tmp_path)
    send(first, "a")
    eventually(lambda: first.captured == 1)
    second = open_capture(tmp_path)
    send(second, "b")
    second.close()
    assert ids(tmp_path) == ["b"]  # what the first writes is not touched
    send(first, "c")
    first.close()
    assert sorted(ids(tmp_path)) == ["a", "b", "c"]
