"""Pictures, weights and the champion on their way to S3."""

from pathlib import Path

import pytest

from pixloop.aws.data_version import data_version
from pixloop.aws.pipeline.inputs import (
    place_champion,
    place_pictures,
    place_weights,
    stays_on_s3,
)
from pixloop.aws.session import Session
from pixloop.aws.storage import list_objects, put_json
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def config() -> Config:
    return parse_config({"task": "classification", "data": "x"}, [])


def keys(session: Session, prefix: str = "") -> list[str]:
    return [found.key for found in list_objects(session, f"s3://pixloop-test/{prefix}")]


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("source", "stays"),
    [
        ("s3://b/raw/train", True),
        ("s3://b/raw/", True),
        ("s3://b/labels.csv", False),
        ("s3://b/output.manifest", False),
        ("s3://b/pictures.tar.gz", False),
        ("hf://datasets/a/b", False),
        ("/home/me/pictures", False),
    ],
)
def test_a_folder_on_s3_is_used_where_it_lies(source: str, stays: bool) -> None:
    assert stays_on_s3(source) is stays


def test_an_address_ends_in_a_slash_and_nothing_is_sent(
    aws: Session, bucket: str, config: Config
) -> None:
    assert place_pictures(aws, bucket, config, "s3://other/train", "train") == "s3://other/train/"
    assert keys(aws) == []


def test_an_address_that_must_be_fetched_first_is_refused(
    aws: Session, bucket: str, config: Config
) -> None:
    with pytest.raises(AwsError, match=r"s3://b/labels\.csv: expected the address of a folder"):
        place_pictures(aws, bucket, config, "s3://b/labels.csv", "train")


def test_a_label_file_goes_with_its_folder_but_without_other_labels(
    aws: Session, bucket: str, config: Config, tmp_path: Path
) -> None:
    write(tmp_path, a_jpg="1", sub__b_jpg="2", old_csv="file,label\na.jpg,dog\n")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\na.jpg,cat\nsub/b.jpg,dog\n")
    address = place_pictures(aws, bucket, config, labels, "test")
    assert address == f"s3://{bucket}/raw/test/"
    assert keys(aws) == ["raw/test/a.jpg", "raw/test/labels.csv", "raw/test/sub/b.jpg"]


def test_a_folder_goes_with_all_its_labels(
    aws: Session, bucket: str, config: Config, tmp_path: Path
) -> None:
    write(tmp_path, a_jpg="1", b_jpg="2")
    for name, picture in (("one.csv", "a.jpg"), ("two.csv", "b.jpg")):
        (tmp_path / name).write_text(f"file,label\n{picture},cat\n")
    place_pictures(aws, bucket, config, tmp_path, "train")
    assert len(keys(aws)) == 4


def test_the_note_of_a_prepared_data_set_goes_as_it_is(
    aws: Session, bucket: str, config: Config, tmp_path: Path
) -> None:
    write(tmp_path, dataset_json="{}", address_txt="s3://other/digits", data__report_json="{}")
    assert place_pictures(aws, bucket, config, tmp_path, "train") == f"s3://{bucket}/raw/train/"
    assert {"raw/train/address.txt", "raw/train/dataset.json"} < set(keys(aws))


@pytest.mark.parametrize("written", ["../elsewhere.jpg", "{root}/elsewhere.jpg"])
def test_a_picture_outside_the_folder_is_named_before_anything_is_sent(
    aws: Session, bucket: str, config: Config, tmp_path: Path, written: str
) -> None:
    write(tmp_path, elsewhere_jpg="1", data__a_jpg="2")
    name = written.format(root=tmp_path)
    labels = tmp_path / "data" / "labels.csv"
    labels.write_text(f"file,label\na.jpg,cat\n{name},dog\n")
    with pytest.raises(AwsError, match=r"labels\.csv.*elsewhere\.jpg, which does not lie in"):
        place_pictures(aws, bucket, config, labels, "train")
    assert keys(aws) == []


def test_weights_lie_under_their_digest(aws: Session, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    first = place_weights(aws, bucket, file)
    file.write_bytes(b"two")
    assert place_weights(aws, bucket, file) != first
    assert len(keys(aws, "weights/")) == 2


def test_the_version_of_the_champion_is_its_archives(aws: Session, bucket: str) -> None:
    address = f"s3://{bucket}/champion/"
    assert place_champion(aws, bucket) == (address, "none")
    assert place_champion(aws, bucket) == (address, "none")
    assert keys(aws) == ["champion/none.json"]
    put_json(aws, f"{address}model.tar.gz", "one")
    _, first = place_champion(aws, bucket)
    put_json(aws, f"{address}model.tar.gz", "two")
    assert place_champion(aws, bucket)[1] != first != "none"


def test_the_version_of_data_is_that_of_their_content(aws: Session, bucket: str) -> None:
    address = f"s3://{bucket}/raw/train/"

    def version(*addresses: str) -> str:
        return data_version(aws.client("s3"), addresses)

    with pytest.raises(AwsError, match="there are no pictures"):
        version(address)
    put_json(aws, f"{address}a.json", 1)
    first = version(address)
    put_json(aws, f"s3://{bucket}/raw/train2/a.json", 1)
    assert version(address) == first == version(address, address)
    put_json(aws, f"{address}a.json", 2)
    second = version(address)
    put_json(aws, f"{address}b.json", 2)
    assert len({first, second, version(address)}) == 3
