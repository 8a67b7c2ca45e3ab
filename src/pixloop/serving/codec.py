"""Requests to pictures, predictions to answers: the formats of ``POST /invocations``.

======================================  ============================================================
content type                            body
======================================  ============================================================
``image/*``, ``application/x-image``,   one encoded picture; its own first bytes say its format
``application/octet-stream``
``application/json``                    ``{"image": "<base64>"}`` or
                                        ``{"instances": [{"b64": "<base64>"}, …]}``
``application/jsonlines``               one such JSON object a line, answered by one line
======================================  ============================================================

An answer is ``{"model": …, "predictions": […]}`` with a prediction for each picture:
``{"label", "score", "decision", "probabilities"}`` where the model classifies, and
``{"boxes": [{"label", "score", "xyxy": [x1, y1, x2, y2], "decision"}], "width", "height"}`` where
it detects. Boxes are in pixels of the upright picture, whose size is given with them.
"""

import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pybase64 import b64decode

from pixloop.records import Detection, Prediction
from pixloop.serving.problems import RequestProblem

JSON = "application/json"
JSON_LINES = "application/jsonlines"
PICTURE_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/gif",
    "image/tiff",
    "application/x-image",
    "application/octet-stream",
)
#: A request answers as a whole, so it may not hold the server for minutes.
MAX_INSTANCES = 1024

#: Lists, objects and their entries in a JSON body: about ten for each picture that it may hold. A
#: body of nothing else takes 40 times its size as Python objects, and holds up all threads for
#: seconds.
_MAX_VALUES = 10 * MAX_INSTANCES
#: What begins or separates them, and lines. Base64 has none of these.
_VALUE_MARKS = (b"[", b"{", b",", b"\n")

#: What a predictor says of a picture.
Answer = Prediction | Detection

#: A box has its share of an answer's length, and means nothing beyond these decimals.
_COORDINATE_DECIMALS, _SCORE_DECIMALS = 2, 6

_SAME_AS = {"image/jpg": "image/jpeg", "application/x-jsonlines": JSON_LINES}
_BASE64_KEYS = ("b64", "image")
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a request's body a picture was found; see ``RequestProblem``."""

    pointer: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a body asks.

    Attributes:
        pictures: the encoded pictures.
        places: where each of them was found.
        lines: for JSON lines, how many pictures each line holds, else None.
    """

    pictures: tuple[bytes, ...]
    places: tuple[Place, ...]
    lines: tuple[int, ...] | None = None


def decode_request(body: bytes, content_type: str = "") -> Request:
    """The pictures of a request. They are not opened here.

    Args:
        body: as it came.
        content_type: the header; parameters such as ``charset`` are ignored, and without a header
            the body is taken as a picture.

    Raises:
        RequestProblem: 400 for a body that is empty or no JSON or base64, 415 for an unknown
            content type, 422 for JSON of another form, 413 for too many pictures or values.
    """
    media_type = content_type.partition(";")[0].strip().lower() or "application/octet-stream"
    media_type = _SAME_AS.get(media_type, media_type)
    if media_type not in (*PICTURE_TYPES, JSON, JSON_LINES):
        raise RequestProblem(415, _unsupported(media_type))
    if not body or body.isspace():
        raise RequestProblem(400, "The body is empty; it should hold a picture.")
    if media_type in (JSON, JSON_LINES):
        _check_values(body)
    if media_type == JSON:
        return _request(_read_object(body, None), lines=None)
    if media_type == JSON_LINES:
        return _decode_lines(body)
    return Request((body,), (Place(),))


def encode_answer(request: Request, predictions: Sequence[Answer], model: str) -> tuple[bytes, str]:
    """The answer's body and its content type: JSON, or JSON lines where the request was.

    A line of the answer is what its line of the request would get as a request of its own.
    """
    if request.lines is None:
        return _encode(predictions, model), JSON
    answers, start = [], 0
    for count in request.lines:
        answers.append(_encode(predictions[start : start + count], model))
        start += count
    return b"\n".join(answers) + b"\n", JSON_LINES


def _encode(predictions: Sequence[Answer], model: str) -> bytes:
    answer = {"model": model, "predictions": [_plain(each) for each in predictions]}
    return json.dumps(answer, allow_nan=False).encode()


def _plain(prediction: Answer) -> dict[str, Any]:
    if isinstance(prediction, Prediction):
        return {
            "label": prediction.label,
            "score": prediction.score,
            "decision": prediction.decision.value,
            "probabilities": dict(prediction.probabilities),
        }
    boxes = [
        {
            "label": box.label,
            "score": round(box.score, _SCORE_DECIMALS),
            "xyxy": [round(edge, _COORDINATE_DECIMALS) for edge in box.xyxy],
            "decision": box.decision.value,
        }
        for box in prediction.boxes
    ]
    return {"boxes": boxes, "width": prediction.width, "height": prediction.height}


def _decode_lines(body: bytes) -> Request:
    pictures: list[bytes] = []
    places: list[Place] = []
    lines: list[int] = []
    for number, text in enumerate(body.split(b"\n"), start=1):
        if text.strip():
            pairs = _pictures(_read_object(text, number), number)
            pictures += [picture for picture, _ in pairs]
            places += [place for _, place in pairs]
            lines.append(len(pairs))
            _check_count(len(pictures), number)
    return Request(tuple(pictures), tuple(places), tuple(lines))


def _check_values(body: bytes) -> None:
    """Count before anything is made of them."""
    if sum(body.count(mark) for mark in _VALUE_MARKS) > _MAX_VALUES:
        detail = (
            f"The JSON has more than {_MAX_VALUES} values and lines. Send only pictures, or less."
        )
        raise RequestProblem(413, detail)


def _request(document: dict[str, Any], lines: tuple[int, ...] | None) -> Request:
    pairs = _pictures(document, None)
    return Request(tuple(p for p, _ in pairs), tuple(place for _, place in pairs), lines)


def _read_object(text: bytes, line: int | None) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        reason = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise RequestProblem(400, f"The body is not valid JSON: {reason}.", line=line) from e
    if not isinstance(document, dict):
        raise RequestProblem(
            422, f"Expected a JSON object with {_FORMS}.", "about:blank", "#", line
        )
    return document


def _pictures(document: dict[str, Any], line: int | None) -> list[tuple[bytes, Place]]:
    if "instances" not in document:
        return [_picture(document, "#", line)]
    instances = document["instances"]
    place = Place("#/instances", line)
    if "image" in document:
        raise _shape("Give either 'image' or 'instances', not both.", Place("#", line))
    if not isinstance(instances, list) or not instances:
        raise _shape("'instances' must be a list with at least one picture.", place)
    _check_count(len(instances), line)
    return [_picture(each, f"#/instances/{i}", line) for i, each in enumerate(instances)]


def _picture(value: Any, pointer: str, line: int | None) -> tuple[bytes, Place]:
    here = Place(pointer, line)
    if not isinstance(value, dict):
        raise _shape('A picture is written as {"b64": "<base64>"}.', here)
    for key in _BASE64_KEYS:
        if key in value:
            place = Place(f"{pointer}/{key}", line)
            return _decode_base64(value[key], place), place
    if "s3" in value:
        raise _shape("'s3' addresses are read only on AWS; send the picture itself.", here)
    raise _shape(f"There is no picture here; expected {_FORMS}.", here)


def _decode_base64(value: Any, place: Place) -> bytes:
    if not isinstance(value, str):
        raise _shape("A picture must be a string of base64.", place)
    if value[:5].lower() == "data:":
        value = value.partition(",")[2]
    try:
        # Not split(): of a string that is half blanks it makes millions of strings.
        data = b64decode(value.encode("ascii").translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError) as e:
        raise RequestProblem(
            400, f"The picture is not valid base64: {e}.", "about:blank", place.pointer, place.line
        ) from e
    if not data:
        raise _shape("The picture is empty.", place)
    return data


def _check_count(count: int, line: int | None) -> None:
    if count > MAX_INSTANCES:
        detail = f"A request may hold {MAX_INSTANCES} pictures; this one holds more. Split it."
        raise RequestProblem(413, detail, line=line)


def _shape(detail: str, place: Place) -> RequestProblem:
    return RequestProblem(422, detail, "about:blank", place.pointer, place.line)


def _unsupported(media_type: str) -> str:
    known = ", ".join((*PICTURE_TYPES, JSON, JSON_LINES))
    hint = ""
    if media_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        hint = " Send the picture itself: curl --data-binary @FILE -H 'Content-Type: image/jpeg'."
    return f"{media_type!r} is not read here. Use one of {known}.{hint}"


_FORMS = '{"image": "<base64>"} or {"instances": [{"b64": "<base64>"}]}'
