import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pixloop.bundle import Bundle
from pixloop.picture_predictions.batch import BatchSummary, predict_batch


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of few pictures."""
    monkeypatch.setattr("pixloop.picture_predictions.planning.PART_PICTURES", 5)


@pytest.fixture
def run(tmp_path: Path, classifier_bundle: Bundle) -> Callable[..., BatchSummary]:
    """Predicts ``pictures`` into ``answers``."""

    def run(**changes: Any) -> BatchSummary:
        how = {"bundle": classifier_bundle, "model": "colours:1", "output": tmp_path / "answers"}
        return predict_batch(**{**how, "places": [tmp_path / "pictures"], **changes})

    return run


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket ``bucket``, empty, of a local stand-in for S3."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.resource("s3", endpoint_url=moto_server)
    found = s3.create_bucket(Bucket="bucket")
    yield found
    found.objects.all().delete()
