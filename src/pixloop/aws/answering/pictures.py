"""Pictures in S3, as Lambda functions read them."""

from typing import Any

from pixloop.aws.addresses import split_address
from pixloop.aws.function_clients import error_code
from pixloop.errors import AwsError

_GONE = ("404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion")

#: The first bytes of a format, its content type and the suffix of its files.
#: Source: the formats' specifications; WebP is RIFF with its name after the length.
_FORMATS = (
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"GIF87a", "image/gif", ".gif"),
    (b"GIF89a", "image/gif", ".gif"),
    (b"BM", "image/bmp", ".bmp"),
    (b"II*\x00", "image/tiff", ".tif"),
    (b"MM\x00*", "image/tiff", ".tif"),
)
#: As many first bytes as ``picture_format`` looks at.
HEAD_BYTES = 16


class PictureNotFound(Exception):
    """There is nothing at an address, or it was deleted since."""


class NotAPicture(Exception):
    """What was given is no picture, or no address of one."""


def parse_address(address: str) -> tuple[str, str]:
    """Bucket and key of an address.

    >>> parse_address("s3://pictures/in/a b.jpg")
    ('pictures', 'in/a b.jpg')

    Raises:
        NotAPicture: it is no S3 address.
    """
    try:
        bucket, key = split_address(address)
    except AwsError as e:
        raise NotAPicture(str(e)) from e
    if not key:
        raise NotAPicture(f"{address!r} is no address of a picture, such as s3://bucket/in/a.jpg")
    return bucket, key


def picture_format(data: bytes) -> tuple[str, str] | None:
    """Content type and suffix, by the first bytes; None for what is no picture we know.

    >>> picture_format(b"GIF89a...")
    ('image/gif', '.gif')
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", ".webp"
    for start, content_type, suffix in _FORMATS:
        if data.startswith(start):
            return content_type, suffix
    return None


def get_object(s3: Any, bucket: str, key: str, **options: Any) -> Any:
    """S3's answer to GetObject.

    Raises:
        PictureNotFound: there is no such object, or version of it.
    """
    try:
        return s3.get_object(Bucket=bucket, Key=key, **options)
    except s3.exceptions.ClientError as e:
        if error_code(e) in _GONE:
            raise PictureNotFound(f"there is no s3://{bucket}/{key}") from e
        raise
