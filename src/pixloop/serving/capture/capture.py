"""Keeping a share of the requests and their answers, as SageMaker's data capture does.

The event loop only decides and queues; a thread encodes and writes.
"""

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from pixloop.errors import ServingError
from pixloop.serving.capture.upload import Upload
from pixloop.serving.capture.writer import CaptureWriter
from pixloop.serving.observing.observation import Exchange, Observer

#: What may wait to be written: as many exchanges, and as many bytes of requests and answers.
_MAX_WAITING, _MAX_WAITING_BYTES = 1000, 50_000_000
#: The writer lets exchanges gather for so long: one switch between threads then serves several.
_GATHER_S = 0.02


class Capture:
    """An observer that keeps a share of the successful exchanges.

    Where the writer does not keep up, or the disk does not take it, exchanges are dropped; requests
    never wait.

    Args:
        to: a folder, or ``s3://bucket`` or ``s3://bucket/prefix``. Without one: ``folder``.
        folder: where captures are without ``to``, and where they wait for S3.
        share: the chance of an exchange to be kept, from 0 to 1.
        max_bytes: what the endpoint's files may take here; the oldest go first.
        endpoint: any name; what a file's name does not take becomes ``-``.
        variant: the folder in the endpoint's, as SageMaker has one for each variant.
        file_s: how old a file gets before it is published.
        also: is told of every exchange that is taken for writing, without its predictions.
        chance: gives a number from 0 up to 1 for each exchange.

    Raises:
        ServingError: the folder cannot be made, the address is none of S3, or s3fs is missing.
    """

    def __init__(
        self,
        to: str | None,
        folder: Path,
        share: float,
        max_bytes: int,
        endpoint: str,
        variant: str = "AllTraffic",
        *,
        file_s: float = 60.0,
        also: Observer | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        self._chance, self._also = chance, also
        self._waiting: deque[Exchange] = deque()
        # Each number is changed by one thread only, so none needs a lock.
        self._queued_bytes = self._taken_bytes = self._refused = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", endpoint).strip(".-")[:63] or "endpoint"
        here, address = _places(to, folder)
        _make(here / name)
        self._upload = Upload(here / name, f"{address}/{name}") if address else None
        sends = self._upload.wake if self._upload else None
        self._writer = CaptureWriter(here / name, variant, max_bytes, file_s, sends)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def __call__(self, exchange: Exchange) -> None:
        """Take an exchange for writing, or not. On one thread; takes about a microsecond."""
        if exchange.status != 200 or self._chance() >= self._share:
            return
        size = len(exchange.body) + len(exchange.answer)
        if (
            len(self._waiting) >= _MAX_WAITING
            or self._queued_bytes - self._taken_bytes + size > _MAX_WAITING_BYTES
        ):
            self._refused += 1
            return
        self._queued_bytes += size
        # Without the predictions, whose memory is not counted.
        taken = Exchange(
            exchange.request_id,
            exchange.model,
            exchange.received_at,
            exchange.content_type,
            exchange.body,
            exchange.status,
            exchange.answer,
            exchange.answer_type,
        )
        self._waiting.append(taken)
        if not self._wake.is_set():
            self._wake.set()
        if self._also is not None:
            self._also(taken)

    @property
    def captured(self) -> int:
        """Exchanges that are in files, which outlive this process."""
        return self._writer.written

    @property
    def dropped(self) -> int:
        """Exchanges that were to be kept and were not, or were removed before S3 took them."""
        return self._refused + self._writer.lost

    def close(self, timeout_s: float = 5.0) -> None:
        """Write and send what waits. What is not done in time is done by the next start.

        Only exchanges that are still in the queue then are lost.
        """
        deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._upload:
            self._upload.close(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        self._writer.recover()
        while not self._closing.is_set():
            self._wake.wait(self._writer.due_in())
            self._closing.wait(_GATHER_S)
            self._wake.clear()
            self._write_waiting()
            if self._writer.due_in() == 0:
                self._writer.publish()
        self._write_waiting()
        self._writer.publish()

    def _write_waiting(self) -> None:
        while self._waiting:
            exchange = self._waiting.popleft()
            self._writer.write(exchange)
            self._taken_bytes += len(exchange.body) + len(exchange.answer)


def _places(to: str | None, folder: Path) -> tuple[Path, str | None]:
    """Where files are written here, and where on S3 they are sent."""
    if to is None:
        return folder, None
    if "://" not in to:
        return Path(to), None
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?", to):
        raise ServingError(
            f"captures cannot go to {to!r}: give a folder, or an address such as "
            "s3://bucket/prefix (serving.capture_to)."
        )
    # Only looked for: importing it would delay the start.
    if find_spec("s3fs") is None:
        raise ServingError("captures to s3:// need s3fs: pip install 'pixloop[s3]'.")
    address = to.rstrip("/")
    # Each destination has its own, so that nothing goes to another after a change.
    return folder / ".s3" / address.removeprefix("s3://"), address


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ServingError(
            f"captures cannot be written to {folder}: {e.strerror}. "
            "Choose another folder with serving.capture_to."
        ) from e
