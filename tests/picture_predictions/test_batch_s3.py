"""Pictures on S3 predicted into S3, against a local stand-in."""

import io
from collections.abc import Iterator
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
from pixloop.picture_predictions.parquet_pictures import PictureFile, Stored
from pixloop.picture_predictions.s3 import S3

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
    assert predict_batch(*how).earlier == COUNT
    assert [row["path"] for row in predicted(bucket)[COUNT:]] == ["s3://bucket/in/new.png"]
    bucket.Object("in/new.png").delete()
    with pytest.raises(DataError, match="other pictures"):
        predict_batch(*how)
    assert predict_batch(*how, restart=True).pictures == COUNT
    assert predicted(bucket) == rows


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


@pytest.mark.parametrize("key", ["a[1]", "a?b", "a*", "a b+&<ü>", "a#%41", "a\nb"])
def test_keys_are_taken_as_they_are(bucket: Any, classifier_bundle: Bundle, key: str) -> None:
    from botocore.exceptions import ClientError

    try:
        bucket.put_object(Key=f"in/{key}.png", Body=content("red"))
        bucket.put_object(Key=f"in/{key}/b.png", Body=content("blue"))
    except ClientError as e:
        pytest.skip(f"the stand-in takes no such key: {e}")
    for _ in range(2):
        predict_batch(classifier_bundle, "m:1", ["s3://bucket/in"], "s3://bucket/out")
        rows = sorted(predicted(bucket), key=lambda row: str(row["label"]))
        assert [(row["path"], row["label"]) for row in rows] == [
            (f"s3://bucket/in/{key}/b.png", "blue"),
            (f"s3://bucket/in/{key}.png", "red"),
        ]


@pytest.mark.parametrize(("name", "other"), [("run[1]", "run1"), ("run?", "run2"), ("*", "run")])
def test_beginning_anew_leaves_the_output_beside_it(
    bucket: Any, pictures: Any, classifier_bundle: Bundle, name: str, other: str
) -> None:
    def keys_of(output: str) -> list[str]:
        return [each.key for each in bucket.objects.filter(Prefix=f"out/{output}/")]

    for output in (name, other):
        how: Any = (classifier_bundle, "m:1", ["s3://bucket/in"], f"s3://bucket/out/{output}")
        predict_batch(*how)
    there = keys_of(other)
    assert len(there) == len(keys_of(name)) == 5
    place = ["s3://bucket/in/0"]
    predict_batch(classifier_bundle, "m:1", place, f"s3://bucket/out/{name}", restart=True)
    assert len(keys_of(name)) == 3
    assert keys_of(other) == there


def test_what_cannot_be_deleted_is_told(bucket: Any, monkeypatch: Any) -> None:
    import s3fs

    asked = []

    def refused(self: Any, method: str, **wanted: Any) -> Any:
        asked.append(len(wanted["Delete"]["Objects"]))
        late = len(asked) == 2
        return {"Errors": [{"Key": "out/a", "Message": "Access Denied"}] if late else []}

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", refused)
    with pytest.raises(DataError, match="s3://bucket/out/a cannot be deleted: Access Denied"):
        S3().remove(f"s3://bucket/out/{number}" for number in range(1_500))
    assert asked == [1_000, 500]


def test_an_object_is_asked_for_once(bucket: Any, monkeypatch: Any) -> None:
    """Not first whether it is there."""
    import s3fs

    bucket.put_object(Key="in/a.png", Body=content("red"))
    asked = []
    call = s3fs.S3FileSystem._call_s3

    async def told(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", told)
    assert S3().read("s3://bucket/in/a.png") == content("red")
    assert asked == ["get_object"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_object_that_is_overwritten_while_it_is_read_stops_the_run(
    tmp_path: Path, bucket: Any, classifier_bundle: Bundle, monkeypatch: Any, when: str
) -> None:
    files = {colour: tmp_path / f"{colour}.parquet" for colour in ("red", "blue")}
    for colour, file in files.items():
        write_parquet(file, [colour] * COUNT, group=3)
    bucket.upload_file(str(files["red"]), "set/a.parquet")
    read = PictureFile.read

    def changing(self: PictureFile, group: int) -> Iterator[Stored]:
        if group == 2 and when == "before":
            bucket.upload_file(str(files["blue"]), "set/a.parquet")
        rows = read(self, group)
        yield next(rows)
        if group == 2 and when == "after":
            bucket.upload_file(str(files["blue"]), "set/a.parquet")
        yield from rows

    monkeypatch.setattr(PictureFile, "read", changing)
    with pytest.raises(DataError, match=r"a\.parquet has changed since its rows were counted"):
        predict_batch(classifier_bundle, "m:1", ["s3://bucket/set"], tmp_path / "answers")
    assert "blue" not in labels(answers(tmp_path / "answers"))


def test_an_open_object_is_read_as_it_was_or_not_at_all(bucket: Any) -> None:
    bucket.put_object(Key="in/a", Body=b"before")
    with S3().open("s3://bucket/in/a", 2) as file:
        assert file.read(2) == b"be"
        bucket.put_object(Key="in/a", Body=b"after.")
        with pytest.raises(DataError, match="s3://bucket/in/a cannot be read"):
            file.read(4)


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
