"""Pictures on S3, which Label Studio fetches from there, wherever it runs."""

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from pixloop.annotation.label_studio.client import LabelStudioClient
from pixloop.errors import AnnotationError

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]+)(?:/(.*))?")
_TITLE = "pixloop's review queue"


class S3Place:
    """A bucket, or a part of one, in which tasks' pictures lie.

    Args:
        client: of Label Studio, which is told of the place with the first picture: it refuses one
            that holds nothing.
        project: its number there.
        address: ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        AnnotationError: it is none of S3, or s3fs is missing.
    """

    def __init__(self, client: LabelStudioClient, project: int, address: str) -> None:
        self._bucket, self._prefix = split_address(address)
        self._connect: Callable[[], None] | None = partial(connect_s3, client, project, address)
        try:
            # An extra, and slow to import.
            import s3fs  # type: ignore[import-untyped, unused-ignore]
        except ImportError as e:
            raise AnnotationError(
                "annotation.pictures on s3:// needs s3fs: pip install 'pixloop[s3]'."
            ) from e
        self._files: Any = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)

    def put(self, name: str, content: bytes) -> str:
        """Write the object, if it is not there yet; the name holds the content's hash.

        Raises:
            AnnotationError: S3 refuses, or does not answer.
        """
        key = "/".join(part for part in (self._bucket, self._prefix, name) if part)
        try:
            if not self._files.exists(key):
                self._files.pipe_file(key, content)
        except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
            raise AnnotationError(f"s3://{key} cannot be written: {e}") from e
        if self._connect is not None:
            self._connect()
            self._connect = None
        return f"s3://{key}"


def connect_s3(client: LabelStudioClient, project: int, address: str) -> None:
    """Let Label Studio read the pictures, by the credentials of this process's environment.

    It keeps them, encrypted by nothing: give it a user who may read this place and no more.

    Args:
        client: of Label Studio.
        project: its number there.
        address: as ``S3Place`` takes it.

    Raises:
        AnnotationError: there are no credentials, or Label Studio cannot read there.
    """
    bucket, prefix = split_address(address)
    found = client.listed("storages/s3", project)
    if any((each.get("bucket"), each.get("prefix") or "") == (bucket, prefix) for each in found):
        return
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise AnnotationError(
            f"Label Studio needs keys to read {address}: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or add the source storage in its project's settings."
        )
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    client.create(
        "storages/s3",
        project=project,
        title=_TITLE,
        bucket=bucket,
        prefix=prefix,
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=os.environ.get("AWS_SESSION_TOKEN"),
        s3_endpoint=endpoint,
        use_blob_urls=True,
        # Fetched by Label Studio itself: the browser may not reach the bucket.
        presign=False,
    )


def split_address(address: str) -> tuple[str, str]:
    """Bucket and prefix.

    >>> split_address("s3://pictures/to-label/")
    ('pictures', 'to-label')

    Raises:
        AnnotationError: it is no address on S3.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise AnnotationError(
            f"annotation.pictures: {address!r} is no address on S3; expected s3://bucket/prefix."
        )
    return found[1], (found[2] or "").strip("/")
