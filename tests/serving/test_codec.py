import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.records import Decision, DetectedBox, Detection, Prediction
from pixloop.serving.codec import MAX_INSTANCES, decode_request, encode_answer
from pixloop.serving.problems import RequestProblem

PICTURE = b"\x89PNG any bytes at all \x00\xff"
B64 = base64.b64encode(PICTURE).decode()
WRAPPED = base64.encodebytes(PICTURE * 9).decode()


def refuse(body: bytes, content_type: str = "application/json") -> RequestProblem:
    with pytest.raises(RequestProblem) as caught:
        decode_request(body, content_type)
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "image/png",
        "image/webp",
        "application/x-image",
        "application/octet-stream",
        "",
        "IMAGE/JPEG",
        "image/png; charset=binary",
        "image/jpg",
    ],
)
def test_a_picture_is_taken_as_it_is(content_type: str) -> None:
    request = decode_request(PICTURE, content_type)
    assert request.pictures == (PICTURE,)
    assert request.lines is None


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({"image": B64}, ["#/image"]),
        ({"b64": B64}, ["#/b64"]),
        ({"instances": [{"b64": B64}]}, ["#/instances/0/b64"]),
        (
            {"instances": [{"b64": B64}, {"image": B64}]},
            ["#/instances/0/b64", "#/instances/1/image"],
        ),
        ({"image": "data:image/png;base64," + B64}, ["#/image"]),
        ({"image": B64, "anything": "else"}, ["#/image"]),
    ],
)
def test_json_forms(document: object, pointers: list[str]) -> None:
    request = decode_request(json.dumps(document).encode(), "application/json; charset=utf-8")
    assert set(request.pictures) == {PICTURE}
    assert [place.pointer for place in request.places] == pointers


def test_base64_may_be_wrapped_in_lines() -> None:
    request = decode_request(json.dumps({"image": WRAPPED}).encode(), "application/json")
    assert request.pictures == (PICTURE * 9,)


def test_json_lines_keep_their_lines() -> None:
    lines = [{"image": B64}, {"instances": [{"b64": B64}, {"b64": B64}]}, {"image": B64}]
    body = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    request = decode_request(body.encode(), "application/jsonlines")
    assert request.lines == (1, 2, 1)
    assert [place.line for place in request.places] == [1, 2, 2, 3]
    predictions = [Prediction(str(i), 1.0, {str(i): 1.0}, Decision.ACCEPT) for i in range(4)]
    content, media_type = encode_answer(request, predictions, "m:1")
    assert media_type == "application/jsonlines"
    answers = [json.loads(line) for line in content.splitlines()]
    labels = [[p["label"] for p in answer["predictions"]] for answer in answers]
    assert labels == [["0"], ["1", "2"], ["3"]]
    assert {answer["model"] for answer in answers} == {"m:1"}


def test_the_answer() -> None:
    request = decode_request(PICTURE)
    prediction = Prediction("fahrrad ü", 0.75, {"fahrrad ü": 0.75, "b": 0.25})
    content, media_type = encode_answer(request, [prediction], "m")
    assert media_type == "application/json"
    assert json.loads(content) == {
        "model": "m",
        "predictions": [
            {
                "label": "fahrrad ü",
                "score": 0.75,
                "decision": "refer",
                "probabilities": {"fahrrad ü": 0.75, "b": 0.25},
            }
        ],
    }


def test_the_answer_of_a_detector() -> None:
    request = decode_request(PICTURE)
    box = DetectedBox("würfel", 0.98765432, (1.23456, 0.0, 2 / 3, 640.0), Decision.ACCEPT)
    content, _ = encode_answer(request, [Detection((box,), 640, 480), Detection((), 1, 2)], "m")
    assert json.loads(content)["predictions"] == [
        {
            "boxes": [
                {
                    "label": "würfel",
                    "score": 0.987654,
                    "xyxy": [1.23, 0.0, 0.67, 640.0],
                    "decision": "accept",
                }
            ],
            "width": 640,
            "height": 480,
        },
        {"boxes": [], "width": 1, "height": 2},
    ]


@pytest.mark.parametrize(
    ("document", "status", "pointer"),
    [
        ([], 422, "#"),
        (1, 422, "#"),
        (None, 422, "#"),
        ({}, 422, "#"),
        ({"picture": B64}, 422, "#"),
        ({"s3": "s3://bucket/key.jpg"}, 422, "#"),
        ({"image": 3}, 422, "#/image"),
        ({"image": None}, 422, "#/image"),
        ({"image": {"b64": B64}}, 422, "#/image"),
        ({"image": ""}, 422, "#/image"),
        ({"image": "data:image/png;base64,"}, 422, "#/image"),
        ({"image": "no base64!"}, 400, "#/image"),
        ({"image": "ü"}, 400, "#/image"),
        ({"image": "\ud800"}, 400, "#/image"),
        ({"image": "abc"}, 400, "#/image"),
        ({"image": B64, "instances": [{"b64": B64}]}, 422, "#"),
        ({"instances": []}, 422, "#/instances"),
        ({"instances": {"b64": B64}}, 422, "#/instances"),
        ({"instances": [B64]}, 422, "#/instances/0"),
        ({"instances": [{"b64": B64}, {"s3": "s3://b/k"}]}, 422, "#/instances/1"),
        ({"instances": [{"b64": B64}, {"b64": "?"}]}, 400, "#/instances/1/b64"),
        ({"instances": [{"b64": B64}] * (MAX_INSTANCES + 1)}, 413, None),
    ],
)
def test_what_is_wrong_is_pointed_at(document: object, status: int, pointer: str | None) -> None:
    problem = refuse(json.dumps(document).encode())
    assert (problem.status, problem.pointer) == (status, pointer)


@pytest.mark.parametrize(
    "body",
    [b"{", b"nonsense", b"\xff\xfe\xff", b"[" * 9000, b'{"image": ' + b"1" * 5000 + b"}"],
)
def test_what_is_no_json_is_400(body: bytes) -> None:
    assert refuse(body).status == 400


@pytest.mark.parametrize("part", [b"[],", b'{"":{}},', b"0,", b"[", b"\n"])
def test_json_of_very_many_values_is_413(part: bytes) -> None:
    # Read, it would be 40 times as large.
    assert refuse(b'{"a":[' + part * 20_000 + b"0]}").status == 413
    assert refuse(part * 20_000 + b"x", "application/jsonlines").status == 413


def test_a_request_may_hold_as_many_pictures_as_are_allowed() -> None:
    instance = {"b64": B64, "name": "one", "tags": ["a", "b"]}
    body = json.dumps({"instances": [instance] * MAX_INSTANCES}, indent=None).encode()
    assert len(decode_request(body, "application/json").pictures) == MAX_INSTANCES
    lines = (json.dumps(instance).encode() + b"\n\n") * MAX_INSTANCES
    assert len(decode_request(lines, "application/jsonlines").pictures) == MAX_INSTANCES


def test_a_bad_line_is_named() -> None:
    body = json.dumps({"image": B64}).encode() + b"\n\n{broken\n"
    problem = refuse(body, "application/jsonlines")
    assert (problem.status, problem.line) == (400, 3)
    body = b'{"image": "' + B64.encode() + b'"}\n{"s3": "s3://b/k"}'
    problem = refuse(body, "application/jsonlines")
    assert (problem.status, problem.line, problem.pointer) == (422, 2, "#")


def test_many_lines_are_too_many() -> None:
    line = json.dumps({"image": B64}).encode() + b"\n"
    assert refuse(line * (MAX_INSTANCES + 1), "application/jsonlines").status == 413


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "", "text/csv"])
def test_nothing_is_refused(content_type: str) -> None:
    assert refuse(b"", content_type).status == (415 if content_type == "text/csv" else 400)


def test_other_content_types_say_what_to_use() -> None:
    problem = refuse(PICTURE, "application/x-www-form-urlencoded")
    assert problem.status == 415
    assert "curl --data-binary" in problem.detail
    assert "image/jpeg" in refuse(PICTURE, "text/csv").detail


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(B64),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["image", "instances", "b64", "s3", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def decode_or_status(body: bytes, content_type: str) -> int:
    """200 where the body is pictures, else the problem's status."""
    try:
        request = decode_request(body, content_type)
    except RequestProblem as problem:
        return problem.status
    assert len(request.pictures) == len(request.places) >= 1
    assert all(request.pictures)
    return 200


@given(document=_JSON, content_type=st.sampled_from(["application/json", "application/jsonlines"]))
def test_any_json_is_pictures_or_a_4xx(document: object, content_type: str) -> None:
    status = decode_or_status(json.dumps(document).encode(), content_type)
    assert status in (200, 400, 413, 422)


@given(body=st.binary(max_size=60), content_type=st.text(max_size=20))
def test_any_bytes_are_pictures_or_a_4xx(body: bytes, content_type: str) -> None:
    for each in (content_type, "application/json", "application/jsonlines", "image/png"):
        assert decode_or_status(body, each) in (200, 400, 413, 415, 422)
