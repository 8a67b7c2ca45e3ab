"""AWS as moto's server has it: one for all tests, empty before each."""

import logging
from collections.abc import Iterator

import httpx
import pytest
from moto.server import ThreadedMotoServer

from pixloop.aws.session import Session

REGION = "eu-west-1"


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """Where moto's server listens, such as ``http://127.0.0.1:40123``."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request hides the failure
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with an AWS that holds nothing; child processes find the same one."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    yield Session(REGION)
    httpx.post(f"{moto_address}/moto-api/reset").raise_for_status()


@pytest.fixture
def bucket(aws: Session) -> str:
    """An empty bucket."""
    aws.client("s3").create_bucket(
        Bucket="pixloop-test", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return "pixloop-test"
