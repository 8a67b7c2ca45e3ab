"""Asking the served model for its answer to one picture: an endpoint, or a function."""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from pixloop.acceptance import Acceptance
from pixloop.aws.rekognition.answers import LARGEST_PICTURE_BYTES, UNREADABLE, ask_rekognition

PICTURE = "application/x-image"
#: The largest request that an endpoint takes for sure (botocore's model of InvokeEndpoint; AWS's
#: pages today say 25 MB for real-time endpoints) and that a function takes.
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
#: A function gets the picture as base64, in an event of its own size.
MAX_FUNCTION_PICTURE_BYTES = (MAX_PAYLOAD_BYTES - 4096) // 4 * 3
#: The alias of a function's version that answers everybody; deployment moves it.
LIVE = "live"

#: Statuses in the 400s that say nothing about the picture: it took too long, or too many ask.
_TRY_AGAIN = (408, 425, 429)


class PictureRefused(Exception):
    """The server cannot answer this picture, now or later; the message says why."""


class NotAnswered(Exception):
    """The server failed or has no time now; a later try may get an answer."""


def ask_endpoint(
    client: Any,
    endpoint: str,
    picture: bytes,
    content_type: str = PICTURE,
    variant: str | None = None,
) -> dict[str, Any]:
    """The server's answer, ``{"model": …, "predictions": […]}``, from a SageMaker endpoint.

    Args:
        client: boto's of ``sagemaker-runtime``.
        endpoint: its name.
        picture: encoded, as it came; or a whole request, with its content type.
        content_type: of ``picture``; see ``pixloop.serving.codec``.
        variant: one of the endpoint's production variants; by default SageMaker chooses.

    Raises:
        PictureRefused: it is too large, or the server answered with a status in the 400s.
        NotAnswered: the server answered with a status in the 500s, or that it is busy.
        botocore.exceptions.ClientError: SageMaker itself refused or failed.
    """
    _check_size(picture, MAX_PAYLOAD_BYTES, f"endpoint {endpoint}")
    chosen = {} if variant is None else {"TargetVariant": variant}
    try:
        answer = client.invoke_endpoint(
            EndpointName=endpoint,
            ContentType=content_type,
            Accept="application/json",
            Body=picture,
            **chosen,
        )
    except client.exceptions.ModelError as e:
        status = int(e.response.get("OriginalStatusCode", 500))
        message = str(e.response.get("OriginalMessage", e))
        raise _problem(f"endpoint {endpoint}", status, message) from e
    return _read(answer["Body"].read(), f"endpoint {endpoint}")


def ask_function(
    client: Any,
    function: str,
    picture: bytes,
    content_type: str = PICTURE,
    qualifier: str | None = None,
) -> dict[str, Any]:
    """The same from a Lambda function that serves the model.

    The event is what its function URL would send (payload format 2.0).

    Args:
        client: boto's of ``lambda``.
        function: its name or ARN.
        picture: as in ``ask_endpoint``.
        content_type: as in ``ask_endpoint``.
        qualifier: a version or alias.

    Raises:
        PictureRefused: as in ``ask_endpoint``.
        NotAnswered: the function failed, or answered with a status in the 500s.
        botocore.exceptions.ClientError: Lambda itself refused or failed.
    """
    _check_size(picture, MAX_FUNCTION_PICTURE_BYTES, f"function {function}")
    # Lambda takes a qualifier after the name as well, and so do its stand-ins.
    function = function if qualifier is None else f"{function}:{qualifier}"
    event = _request_event(picture, content_type)
    answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    payload = answer["Payload"].read()
    if "FunctionError" in answer:
        raise NotAnswered(f"function {function} failed: {payload[:500].decode(errors='replace')}")
    try:
        response = json.loads(payload)
        status, body = int(response["statusCode"]), response.get("body", "")
        content = b64decode(body) if response.get("isBase64Encoded") else body.encode()
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise _no_server(f"function {function}", payload) from e
    if status != 200:
        raise _problem(f"function {function}", status, content.decode(errors="replace"))
    return _read(content, f"function {function}")


def ask_served(
    client: Callable[[str], Any], picture: bytes, content_type: str = PICTURE
) -> dict[str, Any]:
    """The answer of what this Lambda function's environment names.

    That is REKOGNITION_VERSION, with its REKOGNITION_THRESHOLD; else ENDPOINT_NAME; else
    FUNCTION_NAME, in the version that is live. ``client`` gives boto's client of a service. Raises
    as ``ask_endpoint`` and ``ask_function``.
    """
    if version := os.environ.get("REKOGNITION_VERSION"):
        return _ask_rekognition(client("rekognition"), version, picture)
    if endpoint := os.environ.get("ENDPOINT_NAME"):
        return ask_endpoint(client("sagemaker-runtime"), endpoint, picture, content_type)
    function = os.environ["FUNCTION_NAME"]
    return ask_function(client("lambda"), function, picture, content_type, LIVE)


def _ask_rekognition(client: Any, version: str, picture: bytes) -> dict[str, Any]:
    who = f"Rekognition version {version}"
    _check_size(picture, LARGEST_PICTURE_BYTES, who)
    acceptance = Acceptance.from_text(os.environ.get("REKOGNITION_THRESHOLD", ""))
    try:
        return ask_rekognition(
            client,
            version,
            picture,
            model=version.rpartition("/version/")[2].partition("/")[0],
            acceptance=acceptance,
        )
    except ValueError as e:
        raise PictureRefused(f"{who}: {e}") from e
    except client.exceptions.ClientError as e:
        if e.response.get("Error", {}).get("Code") in UNREADABLE:
            raise PictureRefused(f"{who}: {e}") from e
        raise


def _request_event(body: bytes, content_type: str) -> dict[str, Any]:
    """Source: Lambda Developer Guide, "Invoking Lambda function URLs", request payload format."""
    path = "/invocations"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": content_type, "accept": "application/json"},
        "requestContext": {
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "pixloop",
            },
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def _check_size(picture: bytes, limit_bytes: int, who: str) -> None:
    if len(picture) > limit_bytes:
        raise PictureRefused(
            f"the picture has {len(picture):,} bytes; {who} takes at most {limit_bytes:,}. "
            "Make it smaller before it is uploaded: models see far fewer pixels."
        )


def _problem(who: str, status: int, message: str) -> PictureRefused | NotAnswered:
    """The error for a status; ``message`` is the server's problem document, or other text."""
    try:
        detail = str(json.loads(message)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = message[:500]
    kind = PictureRefused if 400 <= status < 500 and status not in _TRY_AGAIN else NotAnswered
    return kind(f"{who} answered {status}: {detail}")


def _read(body: bytes, who: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
        if isinstance(answer["model"], str) and answer["predictions"]:
            return dict(answer)
    except (ValueError, KeyError, TypeError):
        pass
    raise _no_server(who, body)


def _no_server(who: str, said: bytes) -> NotAnswered:
    return NotAnswered(f"{who} does not answer as a pixloop server does: {said[:200]!r}")
