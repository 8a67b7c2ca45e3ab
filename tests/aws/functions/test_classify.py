from typing import Any

import pytest

from pixloop.aws.answering.pictures import PictureNotFound
from pixloop.aws.functions import classify
from pixloop.aws.session import Session


def test_the_picture_is_asked_with_its_type_and_the_answer_joins_what_is_known(
    aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def ask(client: Any, picture: bytes, content_type: str) -> dict[str, Any]:
        asked.append((picture, content_type))
        return {"model": "colours:1", "predictions": [{"label": "red"}]}

    monkeypatch.setattr(classify, "ask_served", ask)
    aws.client("s3").put_object(Bucket=bucket, Key="a.png", Body=b"picture")
    event = {
        "picture": f"s3://{bucket}/a.png",
        "bytes": 7,
        "content_type": "image/png",
        "etag": "e",
    }
    answer = classify.handler(event, None)
    assert answer == {**event, "model": "colours:1", "prediction": {"label": "red"}}
    assert asked == [(b"picture", "image/png")]


def test_a_picture_that_is_gone_is_named(bucket: str) -> None:
    event = {"picture": f"s3://{bucket}/a.png", "content_type": "image/png"}
    with pytest.raises(PictureNotFound, match=r"a\.png"):
        classify.handler(event, None)
