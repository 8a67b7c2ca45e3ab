"""Workflow, step 1: say where a picture is and what it is. Base64 is put into S3 first.

Only the address travels on: what passes between the steps of a state machine may not be larger
than 256 KiB.
"""

import binascii
import hashlib
import os
from base64 import b64decode
from typing import Any

from pixloop.aws.answering.asking import MAX_PAYLOAD_BYTES
from pixloop.aws.answering.pictures import (
    HEAD_BYTES,
    NotAPicture,
    get_object,
    parse_address,
    picture_format,
)
from pixloop.aws.function_clients import client
from pixloop.aws.names import INLINE


class PictureTooLarge(Exception):
    """No endpoint takes a picture of this size."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"picture", "bytes", "content_type", "etag"}`` of the picture that ``event`` gives.

    Args:
        event: ``{"picture": "s3://bucket/key"}`` or ``{"image": "<base64>"}``.
        context: Lambda's.

    Raises:
        PictureNotFound: there is no such object.
        PictureTooLarge: it has more bytes than endpoints take.
        NotAPicture: it is no picture, no S3 address, or no base64.
    """
    address = event["picture"] if "picture" in event else _store(event.get("image"))
    if not isinstance(address, str):
        raise NotAPicture(f"'picture' must be an S3 address, not {address!r}")
    bucket, key = parse_address(address)
    size, etag, head = _look(bucket, key)
    _check_size(size, address)
    found = picture_format(head)
    if found is None:
        raise NotAPicture(f"{address} is no JPEG, PNG, WebP, GIF, BMP or TIFF; see its first bytes")
    return {"picture": address, "bytes": size, "content_type": found[0], "etag": etag}


def _look(bucket: str, key: str) -> tuple[int, str, bytes]:
    """Size, ETag and first bytes of an object."""
    answer = get_object(client("s3"), bucket, key)
    # The rest is not read: closing the body ends the transfer.
    with answer["Body"] as body:
        head = body.read(HEAD_BYTES)
    return int(answer["ContentLength"]), str(answer["ETag"]).strip('"'), head


def _store(image: Any) -> str:
    """Put base64 where the other steps find it; the address."""
    data = _decode(image)
    _check_size(len(data), "the picture given as base64")
    found = picture_format(data)
    if found is None:
        raise NotAPicture("what 'image' holds as base64 is no JPEG, PNG, WebP, GIF, BMP or TIFF")
    content_type, suffix = found
    bucket = os.environ["PICTURES_BUCKET"]
    key = f"{INLINE}/{hashlib.sha256(data).hexdigest()}{suffix}"
    client("s3").put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)
    return f"s3://{bucket}/{key}"


def _decode(image: Any) -> bytes:
    if not isinstance(image, str):
        raise NotAPicture('give {"picture": "s3://bucket/key"} or {"image": "<base64>"}')
    if image[:5].lower() == "data:":
        image = image.partition(",")[2]
    try:
        return b64decode("".join(image.split()), validate=True)
    except (binascii.Error, ValueError) as e:
        raise NotAPicture(f"'image' is no base64: {e}") from e


def _check_size(size: int, what: str) -> None:
    if size > MAX_PAYLOAD_BYTES:
        raise PictureTooLarge(
            f"{what} has {size:,} bytes; endpoints take at most {MAX_PAYLOAD_BYTES:,}. "
            "Make it smaller: models see far fewer pixels."
        )
