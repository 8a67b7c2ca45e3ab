from pathlib import Path
from typing import Any

import pytest

from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.store import S3Places
from pixloop.errors import PipelineError, SourceError


@pytest.fixture
def places(cloud: Cloud, bucket: str, tmp_path: Path) -> S3Places:
    return S3Places(cloud.client("s3"), tmp_path / "copies")


def put(cloud: Cloud, bucket: str, **contents: Any) -> None:
    for key, content in contents.items():
        cloud.client("s3").put_object(Bucket=bucket, Key=key.replace("__", "/"), Body=content)


def names(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_folder_is_what_lies_below_it_and_not_beside_it(
    cloud: Cloud, bucket: str, places: S3Places
) -> None:
    put(cloud, bucket, raw__a=b"1", raw__sub__b=b"2", raw2__c=b"3", rawness=b"4")
    assert names(places.fetch(f"s3://{bucket}/raw", "the data")) == {"a": b"1", "sub/b": b"2"}
    assert names(places.fetch(f"s3://{bucket}/raw/", "the data")) == {"a": b"1", "sub/b": b"2"}


def test_a_copy_follows_what_changes(cloud: Cloud, bucket: str, places: S3Places) -> None:
    put(cloud, bucket, raw__a=b"1", raw__b=b"2")
    places.fetch(f"s3://{bucket}/raw", "the data")
    put(cloud, bucket, raw__b=b"other", raw__c=b"3")
    cloud.client("s3").delete_object(Bucket=bucket, Key="raw/a")
    assert names(places.fetch(f"s3://{bucket}/raw", "the data")) == {"b": b"other", "c": b"3"}


def test_an_object_is_a_file(cloud: Cloud, bucket: str, places: S3Places) -> None:
    put(cloud, bucket, models__model=b"1", models__model__other=b"2")
    assert places.fetch(f"s3://{bucket}/models/model", "the model").read_bytes() == b"1"


def test_nothing_at_an_address_names_what_was_wanted(bucket: str, places: S3Places) -> None:
    with pytest.raises(PipelineError, match="the data: there is nothing at s3://"):
        places.fetch(f"s3://{bucket}/raw", "the data")


def test_a_copy_whose_making_was_killed_is_made_anew(
    cloud: Cloud, bucket: str, places: S3Places, tmp_path: Path
) -> None:
    put(cloud, bucket, raw__a=b"1", raw__b=b"2")
    places.fetch(f"s3://{bucket}/raw", "the data")
    (index,) = (tmp_path / "copies").glob("*/index.json")
    index.unlink()  # as it is in the middle of the work
    cloud.client("s3").delete_object(Bucket=bucket, Key="raw/a")
    assert names(places.fetch(f"s3://{bucket}/raw", "the data")) == {"b": b"2"}


@pytest.mark.parametrize("name", ["../beside", "{outside}"])
def test_no_key_leads_out_of_the_copy(
    cloud: Cloud, bucket: str, places: S3Places, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    put(cloud, bucket, **{"raw/" + name.format(outside=outside): b"1"})
    with pytest.raises(SourceError, match="outside its folder"):
        places.fetch(f"s3://{bucket}/raw", "the data")
    assert not outside.exists()


def test_publishing_replaces_what_was_there(
    cloud: Cloud, bucket: str, places: S3Places, tmp_path: Path
) -> None:
    put(cloud, bucket, out__old=b"1", output=b"beside")
    (tmp_path / "made/sub").mkdir(parents=True)
    (tmp_path / "made/sub/new").write_bytes(b"2")
    places.publish(tmp_path / "made", f"s3://{bucket}/out")
    assert names(places.fetch(f"s3://{bucket}/out", "it")) == {"sub/new": b"2"}
    assert places.fetch(f"s3://{bucket}/output", "it").read_bytes() == b"beside"
    places.publish(tmp_path / "made/sub/new", f"s3://{bucket}/out/new")
    assert set(names(places.fetch(f"s3://{bucket}/out", "it"))) == {"sub/new", "new"}
