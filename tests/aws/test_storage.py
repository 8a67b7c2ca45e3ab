"""Objects on S3, on moto's server: addresses, listings, JSON, downloads."""

import json
from pathlib import Path

import pytest
from tests.aws.objects import content, keys, write

from pixloop.aws import storage
from pixloop.aws.addresses import split_address
from pixloop.aws.session import Session
from pixloop.aws.storage import (
    at_once,
    download_file,
    put_json,
    read_json,
)
from pixloop.aws.uploads import upload_file
from pixloop.errors import AwsError


@pytest.mark.parametrize("address", ["bucket/key", "http://bucket/key", "s3://", "s3:///key", ""])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(AwsError, match="expected an address such as s3://"):
        split_address(address)


def test_json_comes_back(aws: Session, bucket: str) -> None:
    put_json(aws, f"s3://{bucket}/a.json", {"ü": [1, None]})
    assert read_json(aws, f"s3://{bucket}/a.json") == {"ü": [1, None]}


def test_json_that_is_missing_broken_or_too_large_is_named(
    aws: Session, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AwsError, match=r"missing\.json.*NoSuchKey"):
        read_json(aws, f"s3://{bucket}/missing.json")
    (tmp_path / "b").write_text("{")
    upload_file(aws, tmp_path / "b", f"s3://{bucket}/broken.json")
    with pytest.raises(AwsError, match="not valid JSON"):
        read_json(aws, f"s3://{bucket}/broken.json")
    put_json(aws, f"s3://{bucket}/large.json", "x" * 100)
    monkeypatch.setattr(storage, "_JSON_BYTES", 100)
    with pytest.raises(AwsError, match="longer than 100 bytes"):
        read_json(aws, f"s3://{bucket}/large.json")


def test_a_download_that_fails_leaves_the_old_file(
    aws: Session, bucket: str, tmp_path: Path
) -> None:
    write(tmp_path, "old.txt")
    with pytest.raises(AwsError, match=r"nothing\.txt does not exist"):
        download_file(aws, f"s3://{bucket}/nothing.txt", tmp_path / "old.txt")
    assert content(tmp_path) == {"old.txt": b"content of old.txt"}


def test_a_listing_of_many_pages_is_whole_and_skips_marks_of_folders(
    aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PAGE", 10)
    client = aws.client("s3")
    client.put_object(Bucket=bucket, Key="many/")
    list(at_once(lambda i: put_json(aws, f"s3://{bucket}/many/{i:04}", i), range(101)))
    assert keys(aws, f"s3://{bucket}/many/") == [f"many/{i:04}" for i in range(101)]


def test_work_stops_at_the_first_error() -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        if i == 3:
            raise ValueError("three")
        return i

    with pytest.raises(ValueError, match="three"):
        list(at_once(work, range(10_000)))
    assert len(begun) < 100
    assert json.dumps(sorted(begun[:3])) == "[0, 1, 2]"
