"""Workflow, step 2: ask the served model for its answer to a picture in S3."""

from typing import Any

from pixloop.aws.answering.asking import ask_served
from pixloop.aws.answering.pictures import get_object, parse_address
from pixloop.aws.function_clients import client


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``event`` with ``"model"`` and ``"prediction"``, as the server gives them.

    Args:
        event: what ``serialize`` returned.
        context: Lambda's.

    Raises:
        PictureNotFound: it was deleted since.
        PictureRefused: the server cannot answer it, now or later.
        NotAnswered: the server failed or is busy; as other errors, worth another try.
    """
    bucket, key = parse_address(event["picture"])
    picture = get_object(client("s3"), bucket, key)["Body"].read()
    answer = ask_served(client, picture, event["content_type"])
    return {**event, "model": answer["model"], "prediction": answer["predictions"][0]}
