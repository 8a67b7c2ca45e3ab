"""A request on its way through the workers, and where it finds its model."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from pixloop.errors import ImageError, ServingError
from pixloop.serving.codec import Answer, Request, encode_answer
from pixloop.serving.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A model that answers, and what its answers call it."""

    name: str
    predictor: Model[Any, Any]


class Slot(Protocol):
    """Where requests find their model; ``models.served.Served`` can change it while it serves."""

    @property
    def current(self) -> Version:
        """What answers now."""

    def answered(self, version: Version, pictures: int) -> None:
        """Be told that a version has answered so many more."""

    def stand_in(self, failed: Version) -> Version | None:
        """What may answer instead of a version that failed; None if nothing can."""

    def fall_back(self, failed: Version, error: Exception) -> None:
        """Be told that the stand-in has answered what a version failed on."""


@dataclass(frozen=True, slots=True)
class FixedSlot:
    """A model that is never changed."""

    current: Version

    def answered(self, version: Version, pictures: int) -> None:
        """Nothing is counted."""

    def stand_in(self, failed: Version) -> Version | None:
        """Nothing."""
        return None

    def fall_back(self, failed: Version, error: Exception) -> None:
        """There is nothing to go back to."""


class Expired(ServingError):
    """A request waited longer than it may."""


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the workers.

    Attributes:
        slot: where its model is.
        request: what it asks.
        deadline: of ``time.perf_counter``; nothing of it is begun later.
        future: of ``loop``; done, with None, once ``body`` or ``error`` is there.
        version: what answers it, from its first batch on.
        answers: of its pictures, as far as there are any.
        body: the answer.
        media_type: of the answer.
        error: why there is no answer: ``BadPicture``, ``Expired``, or what the model raised.
        batch: pictures in the largest batch that it was in.
        submitted: when it began to wait, of ``time.perf_counter``.
        taken: when its first picture was taken.
        finished: when ``body`` or ``error`` was there.
    """

    slot: Slot
    request: Request
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[None]"
    version: Version | None = None
    answers: list[Answer | None] = field(default_factory=list)
    body: bytes = b""
    media_type: str = ""
    error: Exception | None = None
    batch: int = 0
    submitted: float = 0.0
    taken: float = 0.0
    finished: float = 0.0
    _next: int = 0  #: the first picture that no worker has
    _missing: int = 0  #: answers that are still to come

    def __post_init__(self) -> None:
        self._missing = len(self.request.pictures)
        self.answers = [None] * self._missing


class BadPicture(ServingError):
    """A picture of a request cannot be read.

    Attributes:
        index: which of the request's.
        reason: why.
    """

    def __init__(self, index: int, reason: ImageError) -> None:
        super().__init__(str(reason))
        self.index, self.reason = index, reason


def encode(job: Job) -> None:
    """Write the answer of a job whose pictures are answered."""
    if job.error is None:
        try:
            name = job.version.name if job.version else ""
            job.body, job.media_type = encode_answer(job.request, job.answers, name)  # type: ignore[arg-type]
        except Exception as e:  # such as a probability that is no number
            job.error = e
    job.finished = time.perf_counter()


def hand_over(jobs: Sequence[Job]) -> None:
    """Wake those who wait, with one call an event loop."""
    for loop, group in groupby(jobs, key=lambda job: job.loop):
        try:
            loop.call_soon_threadsafe(_resolve, list(group))
        except RuntimeError:  # the loop is closed, so nobody waits
            continue


def _resolve(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_result(None)
