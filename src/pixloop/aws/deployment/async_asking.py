"""Asking an asynchronous endpoint, and waiting for its answer."""

import hashlib
import json
import time
from typing import Any

from pixloop.aws.addresses import split_address
from pixloop.aws.answering.asking import PICTURE, NotAnswered, PictureRefused
from pixloop.aws.deployment.target import Clients, Target

_POLL_S, _TIMEOUT_S = 1.0, 300.0


def ask_async(
    clients: Clients,
    target: Target,
    picture: bytes,
    poll_s: float = _POLL_S,
    timeout_s: float = _TIMEOUT_S,
) -> dict[str, Any]:
    """The server's answer about one picture, which goes and comes through S3.

    Raises:
        PictureRefused: the server answered with a status in the 400s.
        NotAnswered: it failed, or did not answer in time.
    """
    s3 = clients.client("s3")
    bucket, prefix = split_address(target.async_uri.rstrip("/"))
    key = f"{prefix}/asked/{hashlib.sha256(picture).hexdigest()}"
    s3.put_object(Bucket=bucket, Key=key, Body=picture, ContentType=PICTURE)
    told = clients.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=target.name,
        ContentType=PICTURE,
        Accept="application/json",
        InputLocation=f"s3://{bucket}/{key}",
    )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = _read(s3, told["OutputLocation"])
        if answer is not None:
            return dict(json.loads(answer))
        failure = _read(s3, told["FailureLocation"]) if "FailureLocation" in told else None
        if failure is not None:
            raise _problem(target.name, failure.decode(errors="replace"))
        time.sleep(poll_s)
    raise NotAnswered(f"endpoint {target.name} gave no answer in {timeout_s:.0f} seconds")


def _problem(name: str, failure: str) -> PictureRefused | NotAnswered:
    """What SageMaker leaves of a failure is text with the server's answer in it."""
    # The server's problem documents name their status; what has none is the server's failure.
    refused = '"status": 4' in failure or '\\"status\\": 4' in failure
    return (PictureRefused if refused else NotAnswered)(f"endpoint {name}: {failure[:500]}")


def _read(s3: Any, address: str) -> bytes | None:
    bucket, key = split_address(address)
    try:
        content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return content
