"""What is told about a request once it was answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pixloop.records import Detection, Prediction


@dataclass(slots=True)
class Exchange:
    """One request and what became of it.

    Attributes:
        request_id: the client's (``X-Request-Id``, ``X-Amzn-RequestId``), or one made here.
        model: what the answer gives as ``model``.
        received_at: seconds since the epoch.
        content_type: the request's.
        body: the request's, as far as it was read.
        status: HTTP's; 499 where the client had gone.
        answer: the answer's body.
        answer_type: the answer's content type.
        predictions: of its pictures, in their order; none where it failed.
        batch: pictures in the largest batch that a picture of it was computed in.
        queue_s: how long it waited for a worker.
        work_s: from a worker's taking it to its answer: decoding, computing, encoding.
        total_s: from the request's head to its answer.
        traceparent: the client's header of that name (W3C Trace Context), where it sent one.
    """

    request_id: str
    model: str
    received_at: float
    content_type: str = ""
    body: bytes = b""
    status: int = 0
    answer: bytes = b""
    answer_type: str = ""
    predictions: Sequence[Prediction | Detection] = ()
    batch: int = 0
    queue_s: float = 0.0
    work_s: float = 0.0
    total_s: float = 0.0
    traceparent: str = ""


#: Called on the event loop after every request: takes microseconds, never raises, never blocks.
Observer = Callable[[Exchange], None]
