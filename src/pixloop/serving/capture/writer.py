"""Writing captures into files that are begun, published and removed as time and disk ask."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pixloop.serving.capture.files import CaptureFile, recover, remove_empty_folders
from pixloop.serving.capture.format import encode_capture
from pixloop.serving.capture.retention import Retention
from pixloop.serving.observing.observation import Exchange

_log = logging.getLogger(__name__)

#: After the disk was full, or away, it is tried again this much later.
_PAUSE_S = 30.0
_FILE_BYTES = 16_000_000
#: A file takes no larger share than this of what all may take: while it is written it cannot go.
_SHARE_OF_FILE = 1 / 20


class CaptureWriter:
    """Writes captures below an endpoint's folder. For one thread.

    Args:
        folder: the endpoint's.
        variant: the folder in it that files are begun in.
        max_bytes: what the endpoint's folder may hold; the oldest published files go first.
        file_s: how old a file gets before it is published.
        sends: called after a file was published, where files are sent elsewhere.

    Attributes:
        written: captures that are in files.
        lost: captures that were not written, or were removed before they were sent.
    """

    def __init__(
        self,
        folder: Path,
        variant: str,
        max_bytes: int,
        file_s: float,
        sends: Callable[[], None] | None,
    ) -> None:
        self.written = self.lost = 0
        self._folder, self._variant = folder, variant
        self._file_s, self._file_bytes = file_s, min(_FILE_BYTES, int(max_bytes * _SHARE_OF_FILE))
        self._sends = sends
        self._retention = Retention(folder, max_bytes)
        self._file: CaptureFile | None = None
        self._publish_at = 0.0
        self._pause_until: float | None = None

    def recover(self) -> None:
        """Publish what a killed server left behind."""
        try:
            if recover(self._folder):
                _log.info("captures of a server that was killed were recovered")
        except OSError as e:
            _log.warning("captures of a server that was killed cannot be recovered: %s", e)
        self._published()

    def write(self, exchange: Exchange) -> None:
        """Append a capture to the file, or count it as lost."""
        if self._pause_until is not None and time.monotonic() < self._pause_until:
            self.lost += 1
            return
        line = encode_capture(exchange)
        try:
            if self._make_room(len(line)):
                self._append(line)
                self.written += 1
            else:
                self.lost += 1
        except OSError as e:
            self.lost += 1
            self._pause(e)

    def due_in(self) -> float | None:
        """Seconds until the file is to be published; None without a file."""
        return None if self._file is None else max(0.0, self._publish_at - time.monotonic())

    def publish(self) -> None:
        """Publish the file, if there is one."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.publish()
            except OSError as e:
                # The next start publishes it.
                _log.warning("a file of captures cannot be published: %s", e)
            self._published()

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = CaptureFile(self._folder / self._variant)
            self._publish_at = time.monotonic() + self._file_s
        self._file.write(line)
        self._retention.add(len(line))
        if self._pause_until is not None:
            self._pause_until = None
            _log.info("requests are captured again")
        if self._file.size >= self._file_bytes:
            self.publish()

    def _make_room(self, size: int) -> bool:
        for path in self._retention.surplus(size):
            with contextlib.suppress(FileNotFoundError):  # sent, or removed by another server
                if self._sends:
                    self.lost += path.read_bytes().count(b"\n")
                path.unlink()
            remove_empty_folders(path.parent, self._folder)
        return self._retention.has_room(size)

    def _pause(self, error: OSError) -> None:
        if self._pause_until is None:
            _log.warning(
                "requests are not captured until %s can be written again: %s", self._folder, error
            )
        self._pause_until = time.monotonic() + _PAUSE_S
        self.publish()

    def _published(self) -> None:
        if self._sends:
            self._sends()
