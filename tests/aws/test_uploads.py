"""Uploads of files and folders, to moto's server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.aws.objects import content, keys, write

from pixloop.aws import storage, uploads
from pixloop.aws.session import Session
from pixloop.aws.storage import (
    download_file,
    find_metadata,
    list_objects,
    put_json,
)
from pixloop.aws.uploads import FolderUpload, upload_file, upload_folder
from pixloop.errors import AwsError

ODD = ("a b.jpg", "c+d.jpg", "è ☃.jpg", "100%25.jpg", "x=1&y=2.jpg", "sub/it's (1).jpg", "#?.jpg")


def test_a_folder_goes_up_and_comes_back_whatever_its_files_are_called(
    aws: Session, bucket: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "here", *ODD)
    assert upload_folder(aws, folder, f"s3://{bucket}/raw/train") == FolderUpload(
        len(ODD), len(ODD), 0
    )
    assert sorted(keys(aws, f"s3://{bucket}/")) == sorted(f"raw/train/{name}" for name in ODD)
    for name in ODD:
        there = tmp_path / "there" / name
        download_file(aws, f"s3://{bucket}/raw/train/{name}", there)
    assert content(tmp_path / "there") == content(folder)


def test_only_what_changed_is_sent_again(aws: Session, bucket: str, tmp_path: Path) -> None:
    folder, address = write(tmp_path, "a.jpg", "b.jpg", "c.jpg"), f"s3://{bucket}/raw"
    upload_folder(aws, folder, address)
    size = (folder / "b.jpg").stat().st_size
    (folder / "b.jpg").write_bytes(b"x" * size)  # the same size
    write(folder, "d.jpg")
    assert upload_folder(aws, folder, address) == FolderUpload(4, 2, 0)
    assert upload_folder(aws, folder, address) == FolderUpload(4, 0, 0)
    assert download_file(aws, f"{address}/b.jpg", tmp_path / "back").read_bytes() == b"x" * size


def test_what_left_the_folder_leaves_the_bucket_and_what_others_put_there_stays(
    aws: Session, bucket: str, tmp_path: Path
) -> None:
    folder, address = write(tmp_path, "a.jpg", "b.jpg"), f"s3://{bucket}/raw"
    upload_folder(aws, folder, address)
    upload_file(aws, folder / "a.jpg", f"{address}/of-another.jpg")
    put_json(aws, f"s3://{bucket}/raw2/a.json", {})
    (folder / "b.jpg").unlink()
    assert upload_folder(aws, folder, address) == FolderUpload(1, 0, 1)
    assert keys(aws, f"s3://{bucket}/") == ["raw/a.jpg", "raw/of-another.jpg", "raw2/a.json"]


def test_more_than_a_request_of_removals(
    aws: Session, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PAGE", 2)
    folder = write(tmp_path / "f", *(f"{i}.jpg" for i in range(5)))
    upload_folder(aws, folder, f"s3://{bucket}/raw")
    for file in folder.iterdir():
        file.unlink()
    assert upload_folder(aws, folder, f"s3://{bucket}/raw") == FolderUpload(0, 0, 5)
    assert keys(aws, f"s3://{bucket}/") == []


def test_hidden_files_and_those_left_out_stay_here(
    aws: Session, bucket: str, tmp_path: Path
) -> None:
    write(tmp_path, "a.jpg", ".DS_Store", ".git/config", "other.csv")
    address = f"s3://{bucket}/raw"
    upload_folder(aws, tmp_path, address, leave_out=lambda file: file.suffix == ".csv")
    assert keys(aws, address) == ["raw/a.jpg"]
    upload_folder(aws, tmp_path, address)
    assert keys(aws, address) == ["raw/a.jpg", "raw/other.csv"]
    upload_folder(aws, tmp_path, address, leave_out=lambda file: file.suffix == ".csv")
    assert keys(aws, address) == ["raw/a.jpg"]


def test_names_that_s3_does_not_take_are_named(aws: Session, bucket: str, tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["n" * 200] * 6)
    write(deep, "a.jpg")
    with pytest.raises(AwsError, match="at most 1024 bytes"):
        upload_folder(aws, tmp_path, f"s3://{bucket}/raw")
    odd = tmp_path / "odd"
    odd.mkdir()
    Path(os.fsdecode(bytes(odd) + b"/\xff.jpg")).write_bytes(b"x")
    with pytest.raises(AwsError, match="no Unicode text"):
        upload_folder(aws, odd, f"s3://{bucket}/raw")


def test_a_large_file_goes_in_parts_and_is_not_sent_twice(
    aws: Session, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_LARGE_BYTES", 1)
    file, address = tmp_path / "large.bin", f"s3://{bucket}/large.bin"
    file.write_bytes(os.urandom(9_000_000))
    assert upload_file(aws, file, address)
    assert "-2" in (find_metadata(aws, address) or {})["ETag"]
    assert not upload_file(aws, file, address)
    assert download_file(aws, address, tmp_path / "back").read_bytes() == file.read_bytes()


def test_a_killed_upload_goes_on(aws: Session, bucket: str, tmp_path: Path) -> None:
    folder = write(tmp_path, *(f"{i}.jpg" for i in range(300)))
    program = (
        "import sys, pathlib; from pixloop.aws.session import Session;"
        "from pixloop.aws.uploads import upload_folder;"
        "upload_folder(Session('eu-west-1'), pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(folder), f"s3://{bucket}/raw"]
    with subprocess.Popen(command) as process:
        while len(keys(aws, f"s3://{bucket}/raw/")) < 20:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    there = len(keys(aws, f"s3://{bucket}/raw/"))
    assert 20 <= there < 300
    # What the server was still reading when the process died may be there too.
    done = upload_folder(aws, folder, f"s3://{bucket}/raw")
    assert (done.files, done.removed) == (300, 0)
    assert done.sent <= 300 - there
    assert len(keys(aws, f"s3://{bucket}/raw/")) == 300


def test_what_cannot_be_reached_says_so(aws: Session, tmp_path: Path) -> None:
    write(tmp_path, "a")
    with pytest.raises(AwsError, match=r"no-such-bucket.*NoSuchBucket"):
        upload_file(aws, tmp_path / "a", "s3://no-such-bucket/a")
    with pytest.raises(AwsError, match="NoSuchBucket"):
        list(list_objects(aws, "s3://no-such-bucket/"))
