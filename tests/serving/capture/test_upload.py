"""Captures that go to S3, as moto's server stands in for it."""

import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.capture.test_capture import eventually, files, ids, open_capture, send, used

from pixloop.errors import ServingError
from pixloop.serving.capture import upload


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a stand-in for S3 that has no bucket yet."""
    import boto3
    import httpx

    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(upload, "_FIRST_PAUSE_S", 0.05)
    yield boto3.client("s3", endpoint_url=moto_server)
    httpx.post(f"{moto_server}/moto-api/reset").raise_for_status()


@pytest.fixture
def bucket(s3: Any) -> Any:
    s3.create_bucket(Bucket="captures")
    return s3


def keys(s3: Any) -> list[str]:
    found = s3.list_objects_v2(Bucket="captures").get("Contents", [])
    return sorted(each["Key"] for each in found)


def fetch(s3: Any, folder: Path) -> list[str]:
    """The ids of what is in the bucket."""
    folder.mkdir()
    for number, key in enumerate(keys(s3)):
        s3.download_file("captures", key, str(folder / f"{number:04d}.jsonl"))
    return ids(folder)


@pytest.mark.parametrize(("to", "prefix"), [("s3://captures/a/b/", "a/b/"), ("s3://captures", "")])
def test_published_files_go_to_s3(to: str, prefix: str, bucket: Any, tmp_path: Path) -> None:
    capture = open_capture(tmp_path / "here", to=to, file_s=0.0)
    send(capture, "a")
    eventually(lambda: keys(bucket))
    eventually(lambda: not files(tmp_path))
    send(capture, "b")
    capture.close(timeout_s=60)
    assert files(tmp_path) == []
    assert all(key.startswith(f"{prefix}flowers/AllTraffic/2") for key in keys(bucket))
    assert fetch(bucket, tmp_path / "there") == ["a", "b"]
    assert capture.dropped == 0


def test_captures_wait_here_until_s3_takes_them(
    s3: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pixloop")
    caplog.set_level(logging.INFO, "werkzeug")  # the stand-in's own log; others silence it
    capture = open_capture(tmp_path / "here", to="s3://captures", file_s=0.0)
    send(capture, "a")
    eventually(lambda: "captures wait until s3://captures/flowers" in caplog.text)
    send(capture, "b")
    eventually(lambda: capture.captured == 2)
    eventually(lambda: caplog.text.count("PUT /captures/") >= 3)  # tried again
    s3.create_bucket(Bucket="captures")
    eventually(lambda: len(keys(s3)) == 2)
    capture.close(timeout_s=60)
    assert fetch(s3, tmp_path / "there") == ["a", "b"]
    assert caplog.text.count("captures wait until") == 1
    assert caplog.text.count("are sent to s3://captures/flowers again") == 1


def test_what_s3_did_not_take_goes_with_the_next_start(
    bucket: Any, moto_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    capture = open_capture(tmp_path / "here", to="s3://captures")
    send(capture, "a", "b")
    capture.close(timeout_s=0.5)
    assert ids(tmp_path / "here") == ["a", "b"]
    assert keys(bucket) == []
    copy = shutil.copytree(tmp_path / "here", tmp_path / "copy")

    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    open_capture(tmp_path / "here", to="s3://captures").close(timeout_s=60)
    assert files(tmp_path / "here") == []
    (sent,) = keys(bucket)
    # As when the server was killed after sending and before removing.
    open_capture(copy, to="s3://captures").close(timeout_s=60)
    assert keys(bucket) == [sent]
    assert fetch(bucket, tmp_path / "there") == ["a", "b"]


def test_what_waits_for_s3_is_bounded(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    capture = open_capture(tmp_path, to="s3://captures", max_bytes=1_000_000)
    for number in range(30):
        send(capture, str(number), body=bytes(40_000))
        eventually(lambda number=number: capture.captured == number + 1)
    capture.close(timeout_s=0.5)
    kept = ids(tmp_path)
    assert used(tmp_path) <= 1_000_000
    assert kept == [str(n) for n in range(30 - len(kept), 30)]
    assert capture.dropped == 30 - len(kept) > 0


def test_a_missing_library_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ServingError, match=r"pip install 'pixloop\[s3\]'"):
        open_capture(tmp_path, to="s3://captures")


@pytest.mark.parametrize("to", ["s3://", "s3:///key", "s3://B_cket/x"])
def test_what_is_no_address_is_told_at_the_start(to: str, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="s3://bucket/prefix"):
        open_capture(tmp_path, to=to)
