"""What a killed server leaves, and what the next one makes of it."""

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.serving.capture.test_capture import files, ids, open_capture, send
from tests.serving.capture.test_format import exchange

from pixloop.serving.capture.files import CaptureFile, recover
from pixloop.serving.capture.format import encode_capture, read_captures

PART = "AllTraffic/2026/05/04/03/.02-01-000-0a1b2c3d-0000-4000-8000-000000000000.jsonl.part"

#: Captures without end; says after each how many are in files.
SERVER = """
import itertools, os, random, sys, time
from pathlib import Path
from pixloop.serving.capture.capture import Capture
from pixloop.serving.observing.observation import Exchange

draws = random.Random(int(sys.argv[2]))
capture = Capture(None, Path(sys.argv[1]), 1.0, 1_000_000_000, "flowers", file_s=0.05)
for number in itertools.count():
    body = os.urandom(draws.choice((100, 10_000, 1_000_000)))
    capture(Exchange(str(number), "m", time.time(), "image/png", body, 200, b"{}", "text/plain"))
    print(capture.captured, flush=True)
    while number - capture.captured > 20:
        time.sleep(0.001)
"""


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.integration) for seed in range(1, 11))]
)
def test_a_kill_loses_nothing_that_was_in_a_file(seed: int, tmp_path: Path) -> None:
    draws = random.Random(seed)
    running = open_capture(tmp_path)
    send(running, "of another server")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        told = "".join(server.stdout.readline() for _ in range(draws.randrange(5, 150)))
        server.send_signal(signal.SIGKILL)
        told += server.stdout.read()
    assert all(name.isdigit() for name in ids(tmp_path))  # every published line is whole

    open_capture(tmp_path).close()
    kept = sorted(map(int, ids(tmp_path)))
    assert kept == list(range(len(kept)))  # none missing, none twice
    assert len(kept) >= int(told[: told.rindex("\n")].split("\n")[-1])
    assert [name for name in files(tmp_path) if name.endswith(".part")] != []
    running.close()
    assert "of another server" in ids(tmp_path)
    assert [name for name in files(tmp_path) if not name.endswith(".jsonl")] == []


@pytest.mark.parametrize("broken", [b"", b'{"captureData', b"\0" * 10, b"x" * 2_500_000])
def test_whole_lines_of_a_leftover_are_published(broken: bytes, tmp_path: Path) -> None:
    part = tmp_path / PART
    part.parent.mkdir(parents=True)
    lines = encode_capture(exchange(request_id="a")) + encode_capture(exchange(request_id="b"))
    part.write_bytes(lines + broken)
    assert recover(tmp_path) == 1
    published = part.with_name(part.name[1:].removesuffix(".part"))
    assert published.read_bytes() == lines
    assert not part.exists()
    assert recover(tmp_path) == 0


@pytest.mark.parametrize("broken", [b"", b'{"captureData', b"x" * 2_500_000])
def test_a_leftover_without_a_whole_line_is_removed(broken: bytes, tmp_path: Path) -> None:
    part = tmp_path / PART
    part.parent.mkdir(parents=True)
    part.write_bytes(broken)
    recover(tmp_path)
    assert files(tmp_path) == []


def test_what_is_not_a_leftover_stays(tmp_path: Path) -> None:
    names = ["a.jsonl.part", ".hidden.part", PART.replace(".jsonl.part", ".jsonl.bak")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"mine")
    assert recover(tmp_path) == 0
    assert files(tmp_path) == sorted(names)


def test_a_file_that_is_written_is_no_leftover(tmp_path: Path) -> None:
    file = CaptureFile(tmp_path)
    file.write(encode_capture(exchange()))
    assert recover(tmp_path) == 0
    file.publish()
    assert recover(tmp_path) == 0
    assert len(list(read_captures(tmp_path))) == 1


def test_a_line_that_the_disk_did_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, file = os.write, CaptureFile(tmp_path)

    def take_ten_bytes(descriptor: int, data: memoryview) -> int:
        if len(data) < len(lines[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:10])

    lines = [encode_capture(exchange(request_id=name)) for name in "abc"]
    file.write(lines[0])
    with monkeypatch.context() as full:
        full.setattr(os, "write", take_ten_bytes)
        with pytest.raises(OSError, match="No space left"):
            file.write(lines[1])
    file.write(lines[2])
    file.publish()
    assert ids(tmp_path) == ["a", "c"]
