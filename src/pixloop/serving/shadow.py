"""Shadow mode: a challenger answers what the champion was asked, unseen, in time that is spare.

Requests are answered by the champion alone. Those that are captured are then asked of a challenger
as well, by one thread of the lowest priority that pauses while anybody waits; its answers are
captured beside the champion's, in ``shadow-<version>``, under the same request ids. What it has no
time for is left out: the more is asked of the server, the smaller the share that both answer.
"""

import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from pixloop.bundle import Bundle
from pixloop.errors import ImageError, PixloopError, ServingError
from pixloop.serving.codec import Answer, decode_request, encode_answer
from pixloop.serving.engines import EngineSettings
from pixloop.serving.jobs import Version
from pixloop.serving.models.acceptance import OpenModel
from pixloop.serving.models.following import Find
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import Predictor, open_predictor

#: What may wait for the challenger: as many exchanges, and as many bytes of requests and answers.
MAX_WAITING, MAX_WAITING_BYTES = 64, 16_000_000
#: How often it is looked whether those who come first still wait.
_GLANCE_S = 0.02
#: A challenger that fails so often without an answer in between is asked no more.
_MOST_FAILURES = 10
#: Challengers whose captures are kept: this one, and the one before.
_KEPT = 2

log = logging.getLogger("pixloop.serving")


class Captures(Protocol):
    """Where answers are kept: ``capture.Capture``."""

    def __call__(self, exchange: Exchange) -> None:
        """Keep an exchange."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits."""


class Shadow:
    """An observer of what is captured; asks a challenger the same.

    Attributes:
        answered: exchanges that a challenger has answered as well.
        dropped: exchanges that there was no time for.
        failed: exchanges that a challenger failed on.
    """

    def __init__(
        self,
        find: Find,
        open_captures: Callable[[str], Captures],
        every_s: float = 5.0,
        open_model: OpenModel | None = None,
    ) -> None:
        """Start looking for a challenger.

        Args:
            find: gives the challenger, as answers are to name it, and its bundle; None while there
                is none. Called often, so it is cheap where nothing has changed.
            open_captures: opens the captures of ``shadow-<version>``.
            every_s: how often it is looked whether there is another challenger.
            open_model: loads a bundle's graph; by default for one thread.
        """
        self._find, self._every_s = find, every_s
        self._open_captures, self._open_model = open_captures, open_model or _open_for_one_thread
        self._busy: Callable[[], bool] = lambda: False
        self._waiting: deque[Exchange] = deque()
        # Each number is changed by one thread only, so none needs a lock.
        self._queued_bytes = self._taken_bytes = 0
        self.answered = self.dropped = self.failed = 0
        self._version: Version | None = None
        self._captures: Captures | None = None
        self._latest = ""  # that was found, whether or not it could be loaded
        self._look_at, self._in_a_row, self._silent = 0.0, 0, False
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def __call__(self, exchange: Exchange) -> None:
        """Take an exchange, or not. On one thread; takes about a microsecond."""
        if self._version is None:
            return
        size = len(exchange.body) + len(exchange.answer)
        if (
            len(self._waiting) >= MAX_WAITING
            or self._queued_bytes - self._taken_bytes + size > MAX_WAITING_BYTES
        ):
            self.dropped += 1
            return
        self._queued_bytes += size
        self._waiting.append(exchange)
        if not self._wake.is_set():
            self._wake.set()

    def give_way(self, busy: Callable[[], bool]) -> None:
        """Compute nothing while ``busy`` says that requests wait."""
        self._busy = busy

    @property
    def challenger(self) -> str:
        """What answers unseen; empty while nothing does."""
        version = self._version
        return version.name if version else ""

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop; what waits is left out, what was answered is written."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    # ---- the thread

    def _run(self) -> None:
        _lower_priority()
        while not self._closing.is_set():
            if time.monotonic() >= self._look_at:
                self._look()
                self._look_at = time.monotonic() + self._every_s
            self._wake.wait(max(0.0, self._look_at - time.monotonic()))
            self._wake.clear()
            while self._waiting and not self._closing.is_set():
                exchange = self._waiting.popleft()
                self._answer(exchange)
                self._taken_bytes += len(exchange.body) + len(exchange.answer)
                if time.monotonic() >= self._look_at:
                    self._wake.set()
                    break
        self._give_up()

    def _look(self) -> None:
        try:
            found = self._find()
        except Exception as e:  # whatever is wrong with the registry, the server goes on
            if not self._silent:  # once, not at every look
                log.warning("cannot see whether there is a challenger: %s", _reason(e))
            self._silent = True
            return
        self._silent = False
        if (found[0] if found else "") == self._latest:
            return
        self._give_up()
        self._latest = found[0] if found else ""
        if found is not None:
            self._take_up(*found)

    def _take_up(self, name: str, bundle: Path) -> None:
        try:
            predictor = self._open_model(Bundle.open(bundle))
            predictor.warm_up()
            captures = self._open_captures(f"shadow-{name.rpartition(':')[2]}")
        except Exception as e:  # a stranger's graph may raise anything
            log.error("%s does not answer in the shadow: %s", name, _reason(e))
            return
        self._captures, self._in_a_row = captures, 0
        self._version = Version(name, predictor)
        log.info("%s answers in the shadow", name)

    def _give_up(self) -> None:
        """Let go of the challenger's memory; what it was to be asked is forgotten."""
        self._version = None
        while self._waiting:
            exchange = self._waiting.popleft()
            self._taken_bytes += len(exchange.body) + len(exchange.answer)
        captures, self._captures = self._captures, None
        if captures is not None:
            captures.close()

    def _answer(self, exchange: Exchange) -> None:
        version, captures = self._version, self._captures
        if version is None or captures is None:
            return
        try:
            request = decode_request(exchange.body, exchange.content_type)
            answers = [self._ask(version, picture) for picture in request.pictures]
            body, media_type = encode_answer(request, answers, version.name)
        except _Closing:
            return
        except Exception as e:  # whatever a model raises
            self._fail(version, e)
            return
        self._in_a_row = 0
        self.answered += 1
        # Only what is captured is needed: predictions would be memory that nobody counts.
        captures(
            Exchange(
                exchange.request_id,
                version.name,
                exchange.received_at,
                exchange.content_type,
                exchange.body,
                exchange.status,
                body,
                media_type,
            )
        )

    def _ask(self, version: Version, picture: bytes) -> Answer:
        """One picture at a time, so that whoever comes meanwhile waits for no more than that."""
        while self._busy():
            if self._closing.wait(_GLANCE_S):
                raise _Closing
        predictor = version.predictor
        side = predictor.manifest.preprocessing.image_size
        pixels = np.empty((1, side, side, 3), np.uint8)
        size = predictor.prepare(picture, pixels[0])
        if isinstance(size, ImageError):
            raise size
        answer: Answer = predictor.answer(pixels, [size], alone=False)[0]
        return answer

    def _fail(self, version: Version, error: Exception) -> None:
        self.failed += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            log.warning("%s failed in the shadow: %s", version.name, _reason(error))
        if self._in_a_row >= _MOST_FAILURES:
            log.error("%s answers no more in the shadow: it only fails", version.name)
            self._give_up()


class _Closing(Exception):
    """The server stops."""


def remove_old_captures(folder: Path, keep: str) -> None:
    """Remove the captures of challengers of the past, but for the latest before ``keep``.

    Args:
        folder: where the captures of all are, a folder each.
        keep: the folder of the challenger of now, ``shadow-<version>``.
    """

    def age(path: Path) -> tuple[int, str]:
        version = path.name.removeprefix("shadow-")
        return (int(version) if version.isdecimal() else 0, version)

    others = [path for path in folder.glob("shadow-*") if path.is_dir() and path.name != keep]
    for path in sorted(others, key=age)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def check_share(share: float) -> None:
    """Raise where nothing is captured that a challenger's answers could be held against.

    Raises:
        ServingError: ``share``, of the requests, is 0.
    """
    if not share:
        raise ServingError(
            "promotion.shadow compares answers that are captured, and none are: set "
            "serving.capture_share above 0, or promotion.shadow to false."
        )


def _open_for_one_thread(bundle: Bundle) -> Predictor:
    return open_predictor(bundle, None, EngineSettings(1, 1))


def _lower_priority() -> None:
    """Let this thread have what the others leave; where the system has no such thing, go on."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PixloopError) else repr(error)
