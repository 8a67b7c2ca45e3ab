"""A small client for a pixloop server."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from pixloop.errors import ImageError, ImageTooLarge, ServingError
from pixloop.records import Decision, DetectedBox, Detection, Prediction
from pixloop.serving.codec import Answer
from pixloop.serving.problems import PICTURE_TOO_LARGE, UNREADABLE_PICTURE

# One request holds at most this much, which is well below what servers take.
_PICTURES, _BYTES = 32, 8_000_000


class Client:
    """Asks one server, over one connection. Use it in a ``with`` block."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        """``url``: the server's address, with or without ``/invocations``."""
        self._url = url.rstrip("/").removesuffix("/invocations") + "/invocations"
        self._http = httpx.Client(timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def predict(self, pictures: Sequence[bytes]) -> list[Answer]:
        """An answer for each encoded picture: as the model does, predictions or detections.

        Raises:
            ImageError: the server cannot read a picture.
            ServingError: nothing answers, or not as a pixloop server does.
        """
        return [prediction for batch in _batches(pictures) for prediction in self._ask(batch)]

    def _ask(self, pictures: list[bytes]) -> list[Answer]:
        body = {"instances": [{"b64": b64encode(picture).decode()} for picture in pictures]}
        try:
            response = self._http.post(self._url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise ServingError(
                f"no answer from {self._url}: {str(e) or type(e).__name__}. "
                "Is the server running? 'pixloop serve' starts one."
            ) from e
        if response.status_code != 200:
            raise self._error(response)
        try:
            predictions = [read_answer(each) for each in response.json()["predictions"]]
        except (ValueError, KeyError, TypeError) as e:
            raise ServingError(f"{self._url} does not answer as a pixloop server does.") from e
        if len(predictions) != len(pictures):
            raise ServingError(
                f"{self._url} gave {len(predictions)} predictions for {len(pictures)} pictures."
            )
        return predictions

    def _error(self, response: httpx.Response) -> ServingError | ImageError:
        try:
            problem = response.json()
            detail, kind = str(problem["detail"]), problem["type"]
        except (ValueError, KeyError, TypeError):
            return ServingError(f"{self._url} answered with status {response.status_code}.")
        if kind in (UNREADABLE_PICTURE, PICTURE_TOO_LARGE):
            where = f" ({problem['pointer']})" if "pointer" in problem else ""
            error = ImageTooLarge if kind == PICTURE_TOO_LARGE else ImageError
            return error(f"{detail.rstrip('.')}{where}")
        return ServingError(f"{self._url} answered {response.status_code}: {detail}")


def predict_over_http(url: str, pictures: Sequence[bytes], timeout_s: float = 60.0) -> list[Answer]:
    """Ask the server at ``url`` about each encoded picture; see ``Client``."""
    with Client(url, timeout_s) as client:
        return client.predict(pictures)


def _batches(pictures: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for picture in pictures:
        if batch and (len(batch) == _PICTURES or size + len(picture) > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += len(picture)
    if batch:
        yield batch


def read_answer(answer: Mapping[str, Any]) -> Answer:
    """One of ``predictions`` in a server's JSON as a record.

    Raises:
        KeyError, TypeError, ValueError: it has another form.
    """
    return _detection(answer) if "boxes" in answer else _prediction(answer)


def _detection(answer: Mapping[str, Any]) -> Detection:
    return Detection(
        boxes=tuple(_box(each) for each in answer["boxes"]),
        width=int(answer["width"]),
        height=int(answer["height"]),
    )


def _box(answer: Mapping[str, Any]) -> DetectedBox:
    x1, y1, x2, y2 = (float(edge) for edge in answer["xyxy"])
    return DetectedBox(
        label=answer["label"],
        score=float(answer["score"]),
        xyxy=(x1, y1, x2, y2),
        decision=Decision(answer["decision"]),
    )


def _prediction(answer: Mapping[str, Any]) -> Prediction:
    return Prediction(
        label=answer["label"],
        score=float(answer["score"]),
        probabilities={name: float(share) for name, share in answer["probabilities"].items()},
        decision=Decision(answer["decision"]),
    )
