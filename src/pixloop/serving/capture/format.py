r"""Captured requests in the format of SageMaker's data capture, written and read.

A capture is a line of JSON::

    {"captureData": {
        "endpointInput": {"observedContentType": "image/jpeg", "mode": "INPUT",
                          "data": "/9j/4AAQ…", "encoding": "BASE64"},
        "endpointOutput": {"observedContentType": "application/json", "mode": "OUTPUT",
                           "data": "{\"model\": …}", "encoding": "JSON"}},
     "eventMetadata": {"eventId": "<uuid>", "inferenceId": "<request id>",
                       "inferenceTime": "2026-05-04T03:02:01Z"},
     "eventVersion": "0"}

Source: Amazon SageMaker's developer guide, "Capture data from real-time endpoint".
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pybase64 import b64decode, b64encode
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from pixloop.errors import DataError
from pixloop.serving.observing.observation import Exchange

#: What is kept as the text that it is; everything else as base64, as SageMaker does.
_TEXT_ENCODINGS = {"application/json": b"JSON", "text/csv": b"CSV"}
#: Longer text is kept as base64 too: escaping it takes 70 times as long, and all that time no other
#: thread runs.
_LONGEST_TEXT = 16_384


@dataclass(frozen=True, slots=True)
class CapturedExchange:
    """A request and its answer, as they were kept.

    Attributes:
        event_id: unique to the capture.
        request_id: what the client knows the request by (SageMaker's inference id); where none
            was kept, the event's id.
        time: of the request, in whole seconds, with its time zone.
        content_type: the request's.
        body: the request's.
        answer_type: the answer's content type.
        answer: the answer's body.
    """

    event_id: str
    request_id: str
    time: datetime
    content_type: str
    body: bytes
    answer_type: str
    answer: bytes

    def documents(self) -> list[Any]:
        """The answer's JSON documents: one, or one for each of its lines where it has several.

        Raises:
            DataError: the answer is no JSON.
        """
        lines = self.answer.split(b"\n") if "jsonlines" in self.answer_type else [self.answer]
        try:
            return [json.loads(line) for line in lines if line.strip()]
        except ValueError as e:
            raise DataError(f"the answer captured as {self.event_id} is no JSON: {e}.") from e


def encode_capture(exchange: Exchange) -> bytes:
    """An exchange as its line, which ends with a line feed."""
    second = int(exchange.received_at)
    metadata = {
        "eventId": str(uuid4()),
        "inferenceId": exchange.request_id,
        "inferenceTime": f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    # Put together from pieces: a JSON encoder would look at every character of the base64.
    return b"".join(
        (
            b'{"captureData":{"endpointInput":',
            *_encode_side("INPUT", exchange.content_type, exchange.body),
            b',"endpointOutput":',
            *_encode_side("OUTPUT", exchange.answer_type, exchange.answer),
            b'},"eventMetadata":',
            json.dumps(metadata).encode(),
            b',"eventVersion":"0"}\n',
        )
    )


def read_captures(source: Path | Iterable[Path]) -> Iterator[CapturedExchange]:
    """The captures of a folder, in the order of its files' names, of a file, or of some files.

    Files that a server is still writing are not in sight yet. Reads what SageMaker wrote as well,
    where it was asked to keep requests and answers.

    Args:
        source: a folder, everything below which is read; a file; or files.

    Raises:
        DataError: there is no such folder or file; or a line is no capture, or lacks the request
            or the answer. The message names the file and the line.
    """
    if isinstance(source, Path) and source.is_dir():
        # Unlike rglob, walk does not mind folders that a server removes meanwhile.
        found = (Path(where, name) for where, _, names in os.walk(source) for name in names)
        files: Iterable[Path] = sorted(path for path in found if path.suffix == ".jsonl")
    else:
        files = [source] if isinstance(source, Path) else source
    for path in files:
        try:
            yield from _read(path)
        except FileNotFoundError as e:
            if source is files or path == source:
                raise DataError(f"{path} does not exist; captures are read from it.") from e
            # The oldest files go while a server writes new ones.


def _read(path: Path) -> Iterator[CapturedExchange]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield decode_capture(line)
            except ValueError as e:
                raise DataError(
                    f"{path}, line {number} is no capture of a request and its answer: "
                    f"{_reason(e)}. Remove the line, or the file."
                ) from e


class _Side(BaseModel):
    content_type: str = Field(default="", alias="observedContentType")
    data: str
    encoding: Literal["BASE64", "JSON", "CSV"]

    def content(self) -> bytes:
        if self.encoding == "BASE64":
            return b64decode(self.data, validate=True)
        return self.data.encode()


class _CaptureData(BaseModel):
    request: _Side = Field(alias="endpointInput")
    answer: _Side = Field(alias="endpointOutput")


class _Metadata(BaseModel):
    event_id: str = Field(alias="eventId")
    inference_id: str | None = Field(default=None, alias="inferenceId")
    time: AwareDatetime = Field(alias="inferenceTime")


class _Line(BaseModel):
    data: _CaptureData = Field(alias="captureData")
    metadata: _Metadata = Field(alias="eventMetadata")
    version: Literal["0"] = Field(alias="eventVersion")


def decode_capture(line: bytes) -> CapturedExchange:
    """An exchange from its line.

    Raises:
        ValueError, which pydantic's and base64's errors are: it is no capture, or lacks the request
            or the answer.
    """
    capture = _Line.model_validate_json(line)
    metadata, data = capture.metadata, capture.data
    return CapturedExchange(
        event_id=metadata.event_id,
        request_id=metadata.event_id if metadata.inference_id is None else metadata.inference_id,
        time=metadata.time,
        content_type=data.request.content_type,
        body=data.request.content(),
        answer_type=data.answer.content_type,
        answer=data.answer.content(),
    )


def _encode_side(mode: str, content_type: str, content: bytes) -> tuple[bytes, ...]:
    encoding, data = _encode_content(content_type, content)
    head = json.dumps({"observedContentType": content_type, "mode": mode})[:-1].encode()
    return head, b',"data":"', data, b'","encoding":"', encoding, b'"}'


def _encode_content(content_type: str, content: bytes) -> tuple[bytes, bytes]:
    """The encoding, and what stands between the quotes."""
    encoding = _TEXT_ENCODINGS.get(content_type.partition(";")[0].strip().lower())
    if encoding is not None and len(content) <= _LONGEST_TEXT:
        with contextlib.suppress(UnicodeDecodeError):
            return encoding, json.dumps(content.decode())[1:-1].encode()
    return b"BASE64", b64encode(content)


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"]
    return str(error)
