"""S3 on this machine: moto's server, which speaks the protocol over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

BUCKET = "bucket"


@contextmanager
def serve_s3() -> Iterator[str]:
    """A server while the block lasts; gives its address. Skips where moto or s3fs is missing."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def empty_bucket(server: str) -> Iterator[Any]:
    """A client of the server with the bucket ``BUCKET``; the environment leads to it."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": server,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=server)
        client.create_bucket(Bucket=BUCKET)
        yield client
        httpx.post(f"{server}/moto-api/reset").raise_for_status()


def store(client: Any, folder: Path, prefix: str) -> str:
    """Put a folder's files below a prefix; gives its address."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        key = f"{prefix}/{file.relative_to(folder).as_posix()}"
        client.upload_file(str(file), BUCKET, key)
    return f"s3://{BUCKET}/{prefix}"
