import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixloop.aws.answering.answers import answer_key, find_answer, store_answer
from pixloop.aws.answering.upload_events import NotAnUpload, Upload, read_uploads
from pixloop.aws.functions import answer_upload
from pixloop.aws.functions.answer_upload import handler
from pixloop.aws.session import Session


class Context:
    def __init__(self, left_ms: int = 60_000) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


class Model:
    """A stand-in for the served model: its answer is the picture's size."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.before: Callable[[], None] = lambda: None
        self.decision = "accept"

    def __call__(self, client: Any, picture: bytes, content_type: str) -> dict[str, Any]:
        self.before()
        self.asked.append(len(picture))
        score = len(picture) / 1e6
        prediction = {"label": content_type, "score": score, "decision": self.decision}
        return {"model": "sizes:1", "predictions": [prediction]}


@pytest.fixture
def model(aws: Session, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    model = Model()
    monkeypatch.setenv("PROJECT", "sizes")
    monkeypatch.setattr(answer_upload, "ask_served", model)
    aws.client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    return model


def put(aws: Session, bucket: str, key: str, picture: bytes, sequencer: str = "01") -> Upload:
    answer = aws.client("s3").put_object(Bucket=bucket, Key=key, Body=picture)
    return Upload(bucket, key, answer["VersionId"], answer["ETag"].strip('"'), sequencer)


def body(upload: Upload, event: str = "ObjectCreated:Put") -> str:
    entry = {
        "key": quote_plus(upload.key),
        "eTag": upload.etag,
        "sequencer": upload.sequencer,
    }
    if upload.version_id is not None:
        entry["versionId"] = upload.version_id
    s3 = {"bucket": {"name": upload.bucket}, "object": entry}
    return json.dumps({"Records": [{"eventName": event, "s3": s3}]})


def work(*bodies: str, left_ms: int = 60_000) -> list[str]:
    """The numbers of the messages that are kept."""
    records = [{"messageId": str(i), "body": each} for i, each in enumerate(bodies)]
    answer = handler({"Records": records}, Context(left_ms))
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def answer(aws: Session, bucket: str, key: str) -> dict[str, Any]:
    stored = aws.client("s3").get_object(Bucket=bucket, Key=answer_key(key))
    return dict(json.loads(stored["Body"].read()), metadata=stored["Metadata"])


def writes(aws: Session, bucket: str) -> int:
    """How often answers were written."""
    listed = aws.client("s3").list_object_versions(Bucket=bucket, Prefix="out/")
    return len(listed.get("Versions", []))


PNG = b"\x89PNG\r\n\x1a\n"


def test_an_answer_says_what_it_answers(aws: Session, bucket: str, model: Model) -> None:
    upload = put(aws, bucket, "in/road/a b+ü.png", PNG)
    assert work(body(upload)) == []
    assert answer(aws, bucket, upload.key) == {
        "picture": f"s3://{bucket}/in/road/a b+ü.png",
        "etag": upload.etag,
        "version_id": upload.version_id,
        "model": "sizes:1",
        "prediction": {"label": "image/png", "score": 8e-6, "decision": "accept"},
        "metadata": {"source-etag": upload.etag, "source-sequencer": "01"},
    }


def test_the_same_message_again_asks_and_writes_nothing(
    aws: Session, bucket: str, model: Model
) -> None:
    upload = put(aws, bucket, "in/a.png", PNG)
    work(body(upload), body(upload))
    work(body(upload))
    assert (model.asked, writes(aws, bucket)) == ([8], 1)


def test_a_later_upload_replaces_the_answer_and_an_earlier_one_does_not(
    aws: Session, bucket: str, model: Model
) -> None:
    first = put(aws, bucket, "in/a.png", PNG, "0A")
    second = put(aws, bucket, "in/a.png", PNG + b"2", "0B")
    work(body(first))
    work(body(second))
    assert answer(aws, bucket, "in/a.png")["etag"] == second.etag
    work(body(first))
    assert answer(aws, bucket, "in/a.png")["etag"] == second.etag
    assert model.asked == [8, 9]


def test_an_earlier_upload_that_comes_late_is_answered_with_its_own_picture_or_not_at_all(
    aws: Session, bucket: str, model: Model
) -> None:
    first = put(aws, bucket, "in/a.png", PNG, "0A")
    put(aws, bucket, "in/a.png", PNG + b"2", "0B")
    work(body(first))  # the second has not been worked on
    assert answer(aws, bucket, "in/a.png")["prediction"]["score"] == 8e-6


def test_without_versions_a_replaced_picture_is_left_to_its_own_message(
    aws: Session, bucket: str, model: Model
) -> None:
    first = put(aws, bucket, "in/a.png", PNG, "0A")
    put(aws, bucket, "in/a.png", PNG + b"2", "0B")
    old = Upload(bucket, first.key, None, first.etag, first.sequencer)
    assert work(body(old)) == []
    assert model.asked == []


def test_two_workers_at_once_write_one_answer(aws: Session, bucket: str, model: Model) -> None:
    upload = put(aws, bucket, "in/a.png", PNG)
    both = threading.Barrier(2, timeout=30)
    model.before = lambda: both.wait() and None
    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(lambda _: work(body(upload)), range(2)))
    assert kept == [[], []]
    assert len(model.asked) == 2
    assert writes(aws, bucket) == 1


def test_whoever_is_first_the_later_upload_has_the_answer(
    aws: Session, bucket: str, model: Model
) -> None:
    uploads = [put(aws, bucket, "in/a.png", PNG + bytes(i), f"{i:02X}") for i in range(4)]
    together = threading.Barrier(4, timeout=30)
    model.before = lambda: together.wait() and None
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: work(body(each)), uploads)) == [[]] * 4
    assert answer(aws, bucket, "in/a.png")["etag"] == uploads[-1].etag


def test_a_writer_that_lost_looks_again(aws: Session, bucket: str, model: Model) -> None:
    """Between the look and the writing, another writes: S3 refuses, and the later upload wins."""
    s3 = aws.client("s3")
    uploads = [put(aws, bucket, "in/a.png", PNG + bytes(i), f"{i:02X}") for i in range(3)]
    given = {"model": "sizes:1", "predictions": [{}]}

    class Late:
        exceptions = s3.exceptions

        def __init__(self, other: Upload) -> None:
            self.other: Upload | None = other

        def head_object(self, **options: Any) -> Any:
            try:
                return s3.head_object(**options)
            finally:
                if self.other:
                    other, self.other = self.other, None
                    store_answer(s3, other, given)

        def put_object(self, **options: Any) -> Any:
            return s3.put_object(**options)

    assert store_answer(Late(uploads[1]), uploads[0], given) is False
    assert store_answer(Late(uploads[1]), uploads[2], given) is True
    found = find_answer(s3, uploads[0])
    assert found is not None
    assert found.source_etag == uploads[2].etag
    assert writes(aws, bucket) == 2


@pytest.mark.parametrize(
    "poison",
    [
        "no JSON",
        "[]",
        "{}",
        '{"Records": 3}',
        '{"Records": [{}]}',
        '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}',
    ],
)
def test_poison_is_kept_alone(
    aws: Session, bucket: str, model: Model, poison: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = put(aws, bucket, "in/a.png", PNG)
    assert work(poison, body(upload)) == ["0"]
    assert answer(aws, bucket, "in/a.png")["etag"] == upload.etag
    assert "NotAnUpload" in capsys.readouterr().out
    with pytest.raises(NotAnUpload):
        read_uploads(poison)


def test_a_picture_that_is_gone_is_kept_and_named(
    aws: Session, bucket: str, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Upload(bucket, "in/gone.png", None, "e", "01")
    other = put(aws, bucket, "in/a.png", PNG)
    assert work(body(gone), body(other)) == ["0"]
    assert "in/gone.png" in capsys.readouterr().out


def test_a_picture_that_is_too_large_is_kept_and_told_in_words(
    aws: Session, bucket: str, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = put(aws, bucket, "in/a.png", bytes(6 * 1024 * 1024 + 1))
    assert work(body(upload)) == ["0"]
    assert "6,291,456" in capsys.readouterr().out
    assert model.asked == []


@pytest.mark.parametrize("event", ["ObjectRemoved:Delete", "ObjectTagging:Put"])
def test_other_events_need_nothing(aws: Session, bucket: str, model: Model, event: str) -> None:
    upload = put(aws, bucket, "in/a.png", PNG)
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket})
    folder = put(aws, bucket, "in/folder/", b"")
    assert work(body(upload, event), test_event, body(folder)) == []
    assert model.asked == []


def test_what_is_not_begun_in_time_is_handed_back(aws: Session, bucket: str, model: Model) -> None:
    uploads = [put(aws, bucket, f"in/{i}.png", PNG + bytes(i)) for i in range(3)]
    assert work(*map(body, uploads), left_ms=1000) == ["1", "2"]
    assert model.asked == [8]


def test_new_answers_are_counted(
    aws: Session, bucket: str, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    uploads = [put(aws, bucket, f"in/{i}.png", PNG + bytes(i)) for i in range(3)]
    work(body(uploads[0]))
    model.decision = "refer"
    capsys.readouterr()
    work(*map(body, uploads))
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["Accepted"], json.loads(line)["Referred"]) == (0, 2)


def test_sequencers_of_different_length_are_compared_as_s3_says() -> None:
    def upload(sequencer: str) -> Upload:
        return Upload("b", "in/a", None, "e", sequencer)

    assert upload("0055").is_older_than("0055A0")
    assert not upload("0055").is_older_than("00550")
    assert not upload("00ff").is_older_than("00FF")
    assert not upload("0056").is_older_than("0055A0")


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(deliveries=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_in_whatever_order_and_however_often_the_latest_delivered_wins(
    aws: Session, bucket: str, model: Model, deliveries: list[int]
) -> None:
    key = f"in/{uuid4()}.png"  # the bucket outlives an example, and hypothesis repeats itself
    uploads = [put(aws, bucket, key, PNG + bytes(i), f"{i:02X}") for i in range(4)]
    for each in deliveries:
        assert work(body(uploads[each])) == []
    assert answer(aws, bucket, key)["etag"] == uploads[max(deliveries)].etag
