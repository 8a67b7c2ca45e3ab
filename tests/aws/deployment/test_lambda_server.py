"""What the server in a Lambda function says where it cannot start. ``test_functions`` has the rest.

Imports boto3 and mangum, as the image does.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.aws.deployment.test_functions import request
from tests.certified_bundles import colours

from pixloop.aws.lambda_server import handler, server
from pixloop.aws.session import Session
from pixloop.errors import AwsError, BundleError

PICTURE = request("/invocations", "POST", colours()[0], **{"content-type": "image/png"})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    server.cache_clear()
    # mangum makes one where there is none, and leaves it open: a function ends with its process.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
    server.cache_clear()


def test_the_archive_is_fetched_once(
    aws: Session, bucket: str, good_archives: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="m/model.tar.gz", Body=good_archives[0].read_bytes())
    monkeypatch.setenv("PIXLOOP_MODEL_URL", f"s3://{bucket}/m/model.tar.gz")
    first = handler(PICTURE, None)
    s3.delete_object(Bucket=bucket, Key="m/model.tar.gz")
    assert handler(PICTURE, None)["body"] == first["body"]
    assert '"model":"colours"' in first["body"].replace(" ", "")  # the bundle's own name


@pytest.mark.parametrize("url", ["", "https://example.org/model.tar.gz"])
def test_without_a_model_it_says_what_is_missing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXLOOP_MODEL_URL", url)
    with pytest.raises(AwsError, match=r"PIXLOOP_MODEL_URL is .*; expected the s3:// address"):
        handler(PICTURE, None)


def test_what_is_no_bundle_is_said(
    aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=b"nonsense")
    monkeypatch.setenv("PIXLOOP_MODEL_URL", f"s3://{bucket}/model.tar.gz")
    with pytest.raises(BundleError, match="cannot be unpacked"):
        handler(PICTURE, None)


def test_it_knows_no_torch() -> None:
    code = "import sys, pixloop.aws.lambda_server; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
