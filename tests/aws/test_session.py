"""Clients, and what people are told where there can be none."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pixloop.aws.session import Session, translated
from pixloop.errors import AwsError, AwsUnreachable


def test_an_unknown_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AwsError, match="nobody"):
        Session("eu-west-1")


def test_without_credentials_the_ways_to_some_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AwsError, match="aws configure"):
        Session("eu-west-1").account()


def test_threads_that_need_a_client_at_once_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("eu-west-1")
    made: list[str] = []
    all_ask = threading.Barrier(4)

    def make(service: str, config: object) -> object:
        made.append(service)
        time.sleep(0.05)  # boto3 reads files here
        return object()

    def ask(_: int) -> object:
        all_ask.wait()
        return session.client("s3")

    monkeypatch.setattr(session._session, "client", make)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert made == ["s3"]


def test_what_does_not_answer_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    # Nothing listens on port 9, so the refusal comes at once.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AwsUnreachable, match="cannot be reached"), translated("who am I"):
        Session("eu-west-1").account()


def test_without_boto3_every_door_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from importlib import util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'boto3' else real(name)\n"
        "from pixloop.errors import AwsError\n"
        "try:\n    import pixloop.aws.project\n"
        "except AwsError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pixloop[aws]'" in done.stdout
