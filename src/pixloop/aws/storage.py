"""Objects on S3: their addresses, listings, JSON, and downloads that are whole or not there."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from boto3.s3.transfer import TransferConfig

from pixloop.aws.absence import find
from pixloop.aws.addresses import split_address
from pixloop.aws.session import Session, translated
from pixloop.errors import AwsError
from pixloop.files import atomic_path

# As many as a client keeps connections for.
_AT_ONCE = 10
#: Objects that one request lists or removes: the most that S3 takes.
PAGE = 1000
#: Files above it are sent and fetched in parts, several at once.
_LARGE_BYTES = 64 * 1024**2
_JSON_BYTES = 64 * 1024**2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing says of an object."""

    key: str
    bytes: int
    etag: str
    modified: datetime


def list_objects(session: Session, address: str) -> Iterator[StoredObject]:
    """The objects whose address begins with ``address``, by key, a page at a time.

    Those that only mark a folder are left out.
    """
    bucket, prefix = split_address(address)
    pages = session.client("s3").get_paginator("list_objects_v2")
    with translated(address):
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE):
            for found in page.get("Contents", []):
                if not found["Key"].endswith("/"):
                    yield StoredObject(
                        found["Key"], found["Size"], found["ETag"].strip('"'), found["LastModified"]
                    )


def find_metadata(session: Session, address: str) -> dict[str, Any] | None:
    """What HeadObject says of an object, or None where there is none."""
    bucket, key = split_address(address)
    with translated(address):
        found = find(session.client("s3").head_object, Bucket=bucket, Key=key)
    return None if found is None else dict(found)


def put_json(session: Session, address: str, value: Any) -> None:
    """Write a small JSON object."""
    bucket, key = split_address(address)
    with translated(address):
        session.client("s3").put_object(
            Bucket=bucket,
            Key=key,
            Body=json.dumps(value).encode(),
            ContentType="application/json",
        )


def read_json(session: Session, address: str) -> Any:
    """The content of a JSON object of at most 64 MiB.

    Raises:
        AwsError: there is none, it is larger, or it is no JSON.
    """
    bucket, key = split_address(address)
    with translated(address):
        answer = session.client("s3").get_object(Bucket=bucket, Key=key)
        if answer["ContentLength"] > _JSON_BYTES:
            raise AwsError(f"{address} is longer than {_JSON_BYTES} bytes, too long for JSON here.")
        with answer["Body"] as body:
            content = body.read()
    try:
        return json.loads(content)
    except ValueError as e:
        raise AwsError(f"{address} is not valid JSON: {e}") from e


def download_file(session: Session, address: str, target: Path) -> Path:
    """Fetch an object; ``target`` appears, or changes, only when all of it is there.

    Raises:
        AwsError: there is no such object, or it cannot be read.
    """
    bucket, key = split_address(address)
    there = find_metadata(session, address)
    if there is None:
        raise AwsError(f"{address} does not exist.")
    with translated(address), atomic_path(target) as part:
        session.client("s3").download_file(
            bucket, key, str(part), Config=transfer_settings(there["ContentLength"])
        )
    return target


def at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of ``work`` in the order of the items, ten of which are at work at a time.

    >>> list(at_once(len, ["a", "bc"]))
    [1, 2]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == 2 * _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # After an error, or when nobody asks for more, what has not begun is not begun.
            pool.shutdown(wait=False, cancel_futures=True)


def transfer_settings(size_bytes: int) -> TransferConfig:
    """Threads for large files only: of the others several are sent or fetched at a time."""
    return TransferConfig(use_threads=size_bytes > _LARGE_BYTES)
