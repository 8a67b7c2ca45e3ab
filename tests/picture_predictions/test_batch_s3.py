"""Pictures on S3 predicted into S3, against a local stand-in."""

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.picture_predictions.many_pictures import (
    answers,
    content,
    labelled,
    labels,
    write_parquet,
)

from pixloop.bundle import Bundle
from pixloop.errors import DataError
from pixloop.picture_predictions.batch import predict_batch, predict_here

pytestmark = pytest.mark.usefixtures("small_parts")
COUNT = 12


@pytest.fixture
def pictures(bucket: Any) -> dict[str, str | None]:
    found = labelled(COUNT)
    for name, colour in found.items():
        bucket.put_object(Key=f"in/{name}", Body=content(colour))
    bucket.put_object(Key="in/", Body=b"")
    bucket.put_object(Key="in/notes.txt", Body=b"")
    bucket.put_object(Key="in/.hidden/a.png", Body=b"")
    bucket.put_object(Key="inside/other.png", Body=b"")
    return found


def keys(bucket: Any) -> list[str]:
    return [each.key for each in bucket.objects.filter(Prefix="out/")]


def predicted(bucket: Any) -> list[dict[str, Any]]:
    parts = (bucket.Object(key).get()["Body"].read() for key in keys(bucket) if "part-" in key)
    return [row for part in parts for row in pq.read_table(io.BytesIO(part)).to_pylist()]


def test_each_object_has_a_row_and_the_same_command_goes_on(
    bucket: Any, pictures: dict[str, str | None], classifier_bundle: Bundle, monkeypatch: Any
) -> None:
    list_some(monkeypatch, 5)
    how: Any = (classifier_bundle, "m:1", ["s3://bucket/in/"], "s3://bucket/out/")
    assert predict_batch(*how).pictures == COUNT
    rows = predicted(bucket)
    assert [row["path"] for row in rows] == [f"s3://bucket/in/{name}" for name in pictures]
    assert list(labels(rows)) == list(pictures.values())
    assert keys(bucket) == [
        f"out/{name}"
        for name in ("_plan", "_summary.json", *(f"part-0000{i}.parquet" for i in range(3)))
    ]
    bucket.Object("out/part-00001.parquet").delete()
    assert predict_batch(*how).earlier == COUNT - 5
    assert predicted(bucket) == rows
    bucket.Object("in/new.png").put(Body=b"")
    with pytest.raises(DataError, match="other pictures"):
        predict_batch(*how)
    assert predict_batch(*how, restart=True).pictures == COUNT + 1


def list_some(monkeypatch: Any, page: int) -> None:
    """List few objects a page, as S3 lists a thousand."""
    import s3fs

    call = s3fs.S3FileSystem.call_s3

    def calls(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        more = {"MaxKeys": page} if method == "list_objects_v2" else {}
        return call(self, method, *args, **kwargs, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", calls)


def test_parquet_on_s3_gives_what_it_gives_here(
    tmp_path: Path, bucket: Any, classifier_bundle: Bundle
) -> None:
    colours = ["red", None, "blue"] * 4
    write_parquet(tmp_path / "set/a.parquet", colours, group=4)
    bucket.upload_file(str(tmp_path / "set/a.parquet"), "set/a.parquet")
    rows = []
    for place in (str(tmp_path / "set"), "s3://bucket/set"):
        predict_batch(classifier_bundle, "m:1", [place], tmp_path / "answers", restart=True)
        rows.append([row | {"source": None} for row in answers(tmp_path / "answers")])
        assert {row["source"] for row in answers(tmp_path / "answers")} == {f"{place}/a.parquet"}
    assert rows[0] == rows[1]
    assert list(labels(rows[0])) == colours


def test_an_object_that_is_gone_is_an_error_in_its_row_and_a_refusal_is_none(
    tmp_path: Path, bucket: Any, pictures: Any, classifier_bundle: Bundle, monkeypatch: Any
) -> None:
    first = next(iter(pictures))

    def late(*args: Any) -> None:
        bucket.Object(f"in/{first}").delete()
        predict_here(*args)

    how: Any = (classifier_bundle, "m:1", ["s3://bucket/in"], tmp_path / "answers")
    predict_batch(*how, engine=late)
    assert answers(tmp_path / "answers")[0]["error"] == "the object is not there any more"

    import s3fs

    def refused(self: Any, *args: Any, **kwargs: Any) -> bytes:
        raise PermissionError("the token has expired")

    monkeypatch.setattr(s3fs.S3FileSystem, "cat_file", refused)
    with pytest.raises(DataError, match="cannot be read: the token has expired"):
        predict_batch(*how, restart=True)


def test_what_is_not_there_is_said(tmp_path: Path, bucket: Any, classifier_bundle: Bundle) -> None:
    for place, message in (
        ("s3://bucket/gone", "s3://bucket/gone: there is no such object or prefix"),
        ("s3://nobody/in", "s3://nobody/in/ cannot be listed"),
    ):
        with pytest.raises(DataError, match=message):
            predict_batch(classifier_bundle, "m:1", [place], tmp_path / "answers")
