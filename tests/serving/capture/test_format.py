import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.errors import DataError
from pixloop.serving.capture.format import CapturedExchange, encode_capture, read_captures
from pixloop.serving.observing.observation import Exchange

ANSWER = b'{"model": "flowers", "predictions": [{"label": "tulip \\u00e9"}]}'


def exchange(**fields: object) -> Exchange:
    values: dict[str, object] = {
        "request_id": "r-1",
        "model": "flowers",
        "received_at": 1_777_863_721.9,
        "content_type": "image/jpeg",
        "body": b"\xff\xd8\n\x00picture",
        "status": 200,
        "answer": ANSWER,
        "answer_type": "application/json",
    }
    return Exchange(**(values | fields))  # type: ignore[arg-type]


def read_back(folder: Path, *lines: bytes) -> list[CapturedExchange]:
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    return list(read_captures(folder))


def test_a_capture_is_the_line_that_sagemaker_writes() -> None:
    line = encode_capture(exchange())
    assert line.endswith(b"}\n")
    document = json.loads(line)
    event_id = document["eventMetadata"].pop("eventId")
    assert len(event_id) == 36
    assert document == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "image/jpeg",
                "mode": "INPUT",
                "data": "/9gKAHBpY3R1cmU=",
                "encoding": "BASE64",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": ANSWER.decode(),
                "encoding": "JSON",
            },
        },
        "eventMetadata": {"inferenceId": "r-1", "inferenceTime": "2026-05-04T03:02:01Z"},
        "eventVersion": "0",
    }


@pytest.mark.parametrize(
    ("content_type", "body", "encoding"),
    [
        ("application/json; charset=utf-8", '{"é": 1}'.encode(), "JSON"),
        ("Application/JSON", b"{}", "JSON"),
        ("text/csv", b"1,2\n3,4\n", "CSV"),
        ("application/json", b"\xff\xfe{\x00", "BASE64"),
        ("application/json", b'"' + b"a" * 100_000 + b'"', "BASE64"),
        ("application/jsonlines", b"{}\n{}\n", "BASE64"),
        ("", b"", "BASE64"),
    ],
)
def test_text_is_kept_as_text_where_that_is_cheap(
    content_type: str, body: bytes, encoding: str, tmp_path: Path
) -> None:
    line = encode_capture(exchange(content_type=content_type, body=body))
    assert json.loads(line)["captureData"]["endpointInput"]["encoding"] == encoding
    assert read_back(tmp_path, line)[0].body == body


@given(
    body=st.binary(),
    answer=st.binary(),
    content_type=st.text() | st.sampled_from(["application/json", "text/csv"]),
    answer_type=st.text() | st.sampled_from(["application/json", "text/csv"]),
    request_id=st.text(),
    received_at=st.floats(0, 4e9),
)
def test_what_is_read_is_what_was_written(
    body: bytes,
    answer: bytes,
    content_type: str,
    answer_type: str,
    request_id: str,
    received_at: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    written = exchange(
        body=body,
        answer=answer,
        content_type=content_type,
        answer_type=answer_type,
        request_id=request_id,
        received_at=received_at,
    )
    line = encode_capture(written)
    assert line.count(b"\n") == 1
    read, again = read_back(tmp_path_factory.mktemp("captures"), line, encode_capture(written))
    assert (read.body, read.answer, read.content_type, read.answer_type) == (
        body,
        answer,
        content_type,
        answer_type,
    )
    assert read.request_id == request_id
    assert read.time == datetime.fromtimestamp(int(received_at), UTC)
    assert read.event_id != again.event_id


def test_answers_are_read_as_json(tmp_path: Path) -> None:
    one = encode_capture(exchange())
    lines = encode_capture(
        exchange(answer=b'{"a": 1}\n{"a": 2}\n', answer_type="application/jsonlines")
    )
    broken = encode_capture(exchange(answer=b"{"))
    first, second, third = read_back(tmp_path, one, lines, broken)
    assert first.documents() == [json.loads(ANSWER)]
    assert second.documents() == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match=f"{third.event_id} is no JSON"):
        third.documents()


def test_captures_of_sagemaker_are_read(tmp_path: Path) -> None:
    """Without an inference id, with attributes of the client's, in SageMaker's order of keys."""
    line = (
        b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT",'
        b'"data":"132,25\\n","encoding":"CSV"},"endpointOutput":{"observedContentType":'
        b'"text/csv; charset=utf-8","mode":"OUTPUT","data":"MC4wMQ==","encoding":"BASE64"}},'
        b'"eventMetadata":{"eventId":"2d1f","customAttributes":["a=b"],'
        b'"inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}'
    )
    (read,) = read_back(tmp_path, line)
    assert (read.event_id, read.request_id) == ("2d1f", "2d1f")
    assert (read.body, read.answer) == (b"132,25\n", b"0.01")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"\n", "EOF"),
        (b'{"captureData": {"endpointInp\n', "control character"),
        (b"\0" * 100 + b"\n", "expected value"),
        (encode_capture(exchange()).replace(b"endpointOutput", b"other"), "endpointOutput"),
        (encode_capture(exchange()).replace(b"BASE64", b"HEX"), "endpointInput.encoding"),
        (encode_capture(exchange()).replace(b"/9gKAHBpY3R1cmU=", b"/9gKAHBpY3R1cmU"), "base64"),
        (encode_capture(exchange()).replace(b'"eventVersion":"0"', b'"eventVersion":"1"'), "'0'"),
    ],
)
def test_a_broken_line_is_told_by_file_and_line(broken: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(encode_capture(exchange()) + broken)
    captures = read_captures(tmp_path)
    assert next(captures).request_id == "r-1"
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2 is no capture.*{reason}"):
        next(captures)


def test_files_can_be_named(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_bytes(encode_capture(exchange(request_id=name)))
    files = [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]
    assert [read.request_id for read in read_captures(files)] == ["b", "a"]
    assert [read.request_id for read in read_captures(tmp_path)] == ["a", "b"]
    assert [read.request_id for read in read_captures(tmp_path / "b.jsonl")] == ["b"]


def test_what_does_not_exist_is_told(tmp_path: Path) -> None:
    for source in (tmp_path / "none", [tmp_path / "none.jsonl"]):
        with pytest.raises(DataError, match=r"none.* does not exist"):
            next(read_captures(source))


def test_a_file_that_a_server_removes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_bytes(encode_capture(exchange(request_id=name)))
    captures = read_captures(tmp_path)
    assert next(captures).request_id == "a"
    (tmp_path / "b.jsonl").unlink()
    assert [read.request_id for read in captures] == ["c"]
