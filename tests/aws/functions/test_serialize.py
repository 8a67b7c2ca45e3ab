import hashlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from pixloop.aws.answering.pictures import NotAPicture, PictureNotFound
from pixloop.aws.functions.serialize import PictureTooLarge, handler
from pixloop.aws.session import Session

LIMIT_BYTES = 6 * 1024 * 1024

Picture = Callable[..., bytes]


@pytest.fixture(autouse=True)
def pictures_bucket(aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES_BUCKET", bucket)


@pytest.mark.parametrize(
    ("format_", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_says_what_a_picture_is(
    aws: Session, bucket: str, make_picture: Picture, format_: str, content_type: str
) -> None:
    picture = make_picture(format_)
    put = aws.client("s3").put_object(Bucket=bucket, Key="a b/ü+.x", Body=picture)
    assert handler({"picture": f"s3://{bucket}/a b/ü+.x"}, None) == {
        "picture": f"s3://{bucket}/a b/ü+.x",
        "bytes": len(picture),
        "content_type": content_type,
        "etag": put["ETag"].strip('"'),
    }


def test_base64_is_stored_under_its_digest(
    aws: Session, bucket: str, make_picture: Picture
) -> None:
    picture = make_picture("JPEG")
    key = f"inline/{hashlib.sha256(picture).hexdigest()}.jpg"
    text = b64encode(picture).decode()
    for image in (text, f"data:image/jpeg;base64,{text}", text[:40] + "\n" + text[40:]):
        answer = handler({"image": image}, None)
        assert answer["picture"] == f"s3://{bucket}/{key}"
        assert answer["bytes"] == len(picture)
    stored = aws.client("s3").get_object(Bucket=bucket, Key=key)
    assert stored["Body"].read() == picture
    assert stored["ContentType"] == "image/jpeg"
    assert aws.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"image": None},
        {"image": 3},
        {"image": "§§"},
        {"image": "aGVsbG8="},
        {"image": ""},
        {"picture": None},
        {"picture": "a.jpg"},
        {"picture": "https://example.org/a.jpg"},
        {"picture": "s3://bucket"},
        {"picture": "s3://bucket/"},
        {"picture": "s3:///a.jpg"},
    ],
)
def test_what_is_no_picture_is_told(event: dict[str, Any]) -> None:
    with pytest.raises(NotAPicture):
        handler(event, None)


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff"])
def test_an_object_that_is_no_picture_is_named(aws: Session, bucket: str, body: bytes) -> None:
    aws.client("s3").put_object(Bucket=bucket, Key="a.jpg", Body=body)
    with pytest.raises(NotAPicture, match=r"a\.jpg"):
        handler({"picture": f"s3://{bucket}/a.jpg"}, None)


def test_what_is_not_there_is_named(bucket: str) -> None:
    for address in (f"s3://{bucket}/nothing.jpg", "s3://pixloop-no-such-bucket/a.jpg"):
        with pytest.raises(PictureNotFound, match=address):
            handler({"picture": address}, None)


def test_six_mebibytes_pass_and_a_byte_more_does_not(
    aws: Session, bucket: str, make_picture: Picture
) -> None:
    picture = make_picture()
    picture += bytes(LIMIT_BYTES - len(picture))
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="full.png", Body=picture)
    s3.put_object(Bucket=bucket, Key="large.png", Body=picture + b"x")
    assert handler({"picture": f"s3://{bucket}/full.png"}, None)["bytes"] == LIMIT_BYTES
    with pytest.raises(PictureTooLarge, match="6,291,457 bytes"):
        handler({"picture": f"s3://{bucket}/large.png"}, None)
