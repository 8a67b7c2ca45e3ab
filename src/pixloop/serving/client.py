"""A small client for a pixloop server."""

import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import ceil
from threading import Event
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from pixloop.errors import ImageError, ImageTooLarge, ServingError
from pixloop.in_order import map_in_order
from pixloop.records import Decision, DetectedBox, Detection, Prediction
from pixloop.serving.codec import JSON, Answer
from pixloop.serving.problems import PICTURE_TOO_LARGE, UNREADABLE_PICTURE
from pixloop.serving.retries import wait_s

# Several pictures a request, as base64, take half of the client's own work a picture that raw
# ones take with a request each. More of them gain no more, and one request would hold back others.
_PICTURES, _BYTES = 8, 8_000_000
#: The server is busy or restarting, or something before it is: the request was not worked on.
_BUSY = frozenset((408, 429, 502, 503, 504))
#: No answer came. A picture may be asked about twice, so it does not matter how far it got.
_NO_ANSWER = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Client:
    """Asks one server. Threads may share one. Use it in a ``with`` block.

    >>> with Client("http://127.0.0.1:8080") as client:  # doctest: +SKIP
    ...     for answer in client.predict_each(path.read_bytes() for path in paths):
    ...         print(answer)
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 60.0,
        retries: int = 5,
        total_s: float = 180.0,
        in_flight: int = 4,
    ) -> None:
        """No connection is made yet.

        Args:
            url: the server's address, with or without ``/invocations``.
            timeout_s: how long the server may be silent; it is told (``X-Timeout-Ms``), and does
                not compute what is given up on.
            retries: how often a request is sent again that got no answer. One that the server
                refuses because it is busy is sent again until ``total_s`` is over; with 0 neither
                is.
            total_s: after this long, nothing is sent again.
            in_flight: requests at the same time, in ``predict`` and ``predict_each``.
        """
        base = url.rstrip("/").removesuffix("/invocations")
        self._url, self._ping_url = f"{base}/invocations", f"{base}/ping"
        self._timeout_s, self._retries, self._total_s = timeout_s, retries, total_s
        self._in_flight = in_flight
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=in_flight)
        self._http = httpx.Client(limits=limits)
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="client")
        self._closed = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()  # nobody is left to wait for what is asked again
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def ping(self) -> str:
        """The name of the model that the server serves. It is asked once, without retries.

        Raises:
            ServingError: nothing answers, or not as a pixloop server does.
        """
        try:
            response = self._http.get(self._ping_url, timeout=self._timeout_s)
            response.raise_for_status()
            return str(response.json()["model"])
        except httpx.HTTPStatusError as e:
            status = e.response.status_code
            raise ServingError(f"{self._ping_url} answered with status {status}.") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise self._silence(e, self._ping_url) from e
        except (ValueError, KeyError, TypeError) as e:
            raise _stranger(self._ping_url) from e

    def predict(self, pictures: Sequence[bytes]) -> list[Answer]:
        """An answer for each encoded picture: as the model does, predictions or detections.

        Raises:
            ImageError: the server cannot read a picture; the message says which, counting from 0.
            ServingError: nothing answers, or not as a pixloop server does.
        """
        answers: list[Answer] = []
        # A lone picture is not worth another thread.
        each = self._answer_each if len(pictures) == 1 else self.predict_each
        for index, answer in enumerate(each(list(pictures))):
            if isinstance(answer, ImageError):
                raise type(answer)(f"picture {index}: {answer}") from answer
            answers.append(answer)
        return answers

    def predict_each(self, pictures: Iterable[bytes]) -> Iterator[Answer | ImageError]:
        """Predict a stream, in its order: a bad picture gives its error, and stops nothing.

        The stream is read as answers are taken, and few pictures are held at once: 8 a request
        (fewer where they are large), twice ``in_flight`` requests.

        Raises:
            ServingError: as ``predict``.
        """
        batches = map_in_order(
            self._pool, self._answer_each, _batches(pictures), 2 * self._in_flight
        )
        for answers in batches:
            yield from answers

    def _answer_each(self, pictures: list[bytes]) -> list[Answer | ImageError]:
        try:
            return [*self._ask(pictures)]
        except ImageError as e:
            if len(pictures) == 1:
                return [e]
        # The good ones of a request that was refused for a bad one.
        return [answer for picture in pictures for answer in self._answer_each([picture])]

    def _ask(self, pictures: list[bytes]) -> list[Answer]:
        # The server would take such a body for a mistake in the request, not in the picture.
        if not all(picture.strip() for picture in pictures):
            raise ImageError("the file is empty")
        request_id = uuid4().hex
        response = self._send(*_encode(pictures), request_id)
        if response.status_code != 200:
            raise self._error(response, request_id)
        try:
            answers = [read_answer(each) for each in response.json()["predictions"]]
        except (ValueError, KeyError, TypeError) as e:
            raise _stranger(self._url) from e
        if len(answers) != len(pictures):
            raise ServingError(
                f"{self._url} gave {len(answers)} predictions for {len(pictures)} pictures."
            )
        return answers

    def _send(self, body: bytes, content_type: str, request_id: str) -> httpx.Response:
        """The server's last word, after as many attempts as it takes."""
        headers = {"Content-Type": content_type, "X-Request-Id": request_id}
        deadline = time.monotonic() + self._total_s
        attempts = count()
        outcome = self._attempt(body, headers, deadline)
        while self._wait_for_another(outcome, next(attempts), deadline):
            outcome = self._attempt(body, headers, deadline)
        if isinstance(outcome, Exception):
            raise self._silence(outcome, self._url, request_id) from outcome
        return outcome

    def _attempt(
        self, body: bytes, headers: dict[str, str], deadline: float
    ) -> httpx.Response | Exception:
        timeout_s = max(min(self._timeout_s, deadline - time.monotonic()), 0.001)
        headers = headers | {"X-Timeout-Ms": str(ceil(timeout_s * 1000))}
        try:
            return self._http.post(self._url, content=body, headers=headers, timeout=timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            return e

    def _wait_for_another(
        self, outcome: httpx.Response | Exception, attempt: int, deadline: float
    ) -> bool:
        """Whether another attempt is due, once its time has come."""
        if isinstance(outcome, httpx.Response):
            due = outcome.status_code in _BUSY and self._retries > 0
            wait = wait_s(attempt, outcome.headers.get("retry-after"))
        else:
            due = isinstance(outcome, _NO_ANSWER) and attempt < self._retries
            wait = wait_s(attempt)
        return due and time.monotonic() + wait < deadline and not self._closed.wait(wait)

    def _silence(self, error: Exception, url: str, request_id: str = "") -> ServingError:
        request = f" to request {request_id}" if request_id else ""
        return ServingError(
            f"no answer from {url}{request}: {str(error) or type(error).__name__}. "
            "Is the server running? 'pixloop serve' starts one."
        )

    def _error(self, response: httpx.Response, request_id: str) -> ServingError | ImageError:
        status, request = response.status_code, f" (request {request_id})"
        try:
            problem = response.json()
            detail, kind = str(problem["detail"]), problem["type"]
        except (ValueError, KeyError, TypeError):
            return ServingError(f"{self._url} answered with status {status}{request}.")
        # A body that is larger than the server takes: alone, it is one picture's.
        if kind == PICTURE_TOO_LARGE or status == 413:
            return ImageTooLarge(detail.rstrip("."))
        if kind == UNREADABLE_PICTURE:
            return ImageError(detail.rstrip("."))
        return ServingError(f"{self._url} answered {status}: {detail.rstrip('.')}{request}.")


def _stranger(url: str) -> ServingError:
    return ServingError(f"{url} does not answer as a pixloop server does.")


def _batches(pictures: Iterable[bytes]) -> Iterator[list[bytes]]:
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


def _encode(pictures: list[bytes]) -> tuple[bytes, str]:
    """A request's body and content type: a lone picture as it is, several as JSON."""
    if len(pictures) == 1:
        return pictures[0], "application/octet-stream"
    # Base64 needs no escaping, so that a JSON encoder would only look through it all again.
    instances = b",".join(b'{"b64":"' + b64encode(picture) + b'"}' for picture in pictures)
    return b'{"instances":[' + instances + b"]}", JSON


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
