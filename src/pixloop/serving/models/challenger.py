"""A model that answers unseen: what the champion was asked, in time that is spare."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import numpy as np

from pixloop.errors import ImageError, PixloopError
from pixloop.serving.codec import Answer, decode_request, encode_answer
from pixloop.serving.jobs import Version
from pixloop.serving.observing.observation import Exchange

#: What may wait to be answered: as many exchanges, and as many bytes of requests and answers.
MAX_WAITING, MAX_WAITING_BYTES = 64, 16_000_000
#: How often it is looked whether those who come first still wait.
_GLANCE_S = 0.02
#: A challenger that fails so often without an answer in between is asked no more.
_MOST_FAILURES = 10
#: Of the system's priorities the lowest.
_LOWEST = 19

log = logging.getLogger("pixloop.serving")


class Captures(Protocol):
    """Where answers are kept: ``capture.Capture``."""

    def __call__(self, exchange: Exchange) -> None:
        """Keep an exchange."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits."""


class Challenger:
    """Answers exchanges once more, in a thread of the lowest priority.

    Attributes:
        name: what its answers call it.
        answered: exchanges that it has answered.
        dropped: exchanges that there was no time for.
        failed: exchanges that it failed on.
    """

    def __init__(self, version: Version, captures: Captures, busy: Callable[[], bool]) -> None:
        """Start to answer.

        Args:
            version: the model.
            captures: take its answers; closed with it.
            busy: whether requests wait; nothing is computed then.
        """
        self.name = version.name
        self.answered = self.dropped = self.failed = 0
        self._version, self._captures, self._busy = version, captures, busy
        self._waiting: deque[Exchange] = deque()
        # Each number is changed by one thread only, so none needs a lock.
        self._queued_bytes = self._taken_bytes = self._in_a_row = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="challenger", daemon=True)
        self._thread.start()

    def take(self, exchange: Exchange) -> None:
        """Take an exchange, or not. On one thread; takes about a microsecond."""
        size = len(exchange.body) + len(exchange.answer)
        if (
            len(self._waiting) >= MAX_WAITING
            or self._queued_bytes - self._taken_bytes + size > MAX_WAITING_BYTES
            or self._closing.is_set()
        ):
            self.dropped += 1
            return
        self._queued_bytes += size
        self._waiting.append(exchange)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop; what waits is left out, what was answered is written."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._captures.close(timeout_s)

    def _run(self) -> None:
        _lower_priority()
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._closing.is_set():
                exchange = self._waiting.popleft()
                self._answer(exchange)
                self._taken_bytes += len(exchange.body) + len(exchange.answer)
                del exchange  # while nothing is asked, nothing is held

    def _answer(self, exchange: Exchange) -> None:
        try:
            request = decode_request(exchange.body, exchange.content_type)
            answers = []
            for picture in request.pictures:
                if not self._wait_for_room():
                    return
                answers.append(self._ask(picture))
            body, media_type = encode_answer(request, answers, self.name)
        except Exception as e:  # whatever a model raises
            self._fail(e)
            return
        self._in_a_row = 0
        self.answered += 1
        self._captures(
            Exchange(
                exchange.request_id,
                self.name,
                exchange.received_at,
                exchange.content_type,
                exchange.body,
                exchange.status,
                body,
                media_type,
            )
        )

    def _wait_for_room(self) -> bool:
        """Let those who wait go first; whether there is still anything to do."""
        while not self._closing.is_set():
            if not self._busy():
                return True
            self._closing.wait(_GLANCE_S)
        return False

    def _ask(self, picture: bytes) -> Answer:
        """One picture at a time, so that whoever comes meanwhile waits for no more than that."""
        predictor = self._version.predictor
        side = predictor.manifest.preprocessing.image_size
        pixels = np.empty((1, side, side, 3), np.uint8)
        size = predictor.prepare(picture, pixels[0])
        if isinstance(size, ImageError):
            raise size
        answer: Answer = predictor.answer(pixels, [size], alone=False)[0]
        return answer

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        self._in_a_row += 1
        reason = str(error) if isinstance(error, PixloopError) else repr(error)
        if self._in_a_row == 1:
            log.warning("%s failed in the shadow: %s", self.name, reason)
        if self._in_a_row >= _MOST_FAILURES:
            log.error("%s answers no more in the shadow: it only fails", self.name)
            self._closing.set()


def _lower_priority() -> None:
    """Let this thread have what the others leave; where the system has no such thing, go on."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
