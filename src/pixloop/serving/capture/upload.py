"""Sending published files of captures to S3, and removing them here once they are there."""

import logging
import threading
from pathlib import Path
from typing import Any

from pixloop.serving.capture.files import published, remove_empty_folders

_log = logging.getLogger(__name__)

#: While S3 is away it is tried again after the first, then after twice as long, up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Upload:
    """A thread that sends what is published in an endpoint's folder.

    An object's key is its file's path, so that sending one twice makes no second object.

    Args:
        folder: the endpoint's, here.
        address: the endpoint's, on S3.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address.removeprefix("s3://")
        self._files: Any = None
        self._failing = False
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-upload", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell that a file was published."""
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send what is left, for so long; what is not sent then stays for the next start."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            pause = _FIRST_PAUSE_S
            # Asked before looking for files: what was published before closing is then seen.
            while not (closing := self._closing.is_set()) and not self._send():
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        self._send()

    def _send(self) -> bool:
        """Whether nothing is left to send."""
        for path in sorted(published(self._folder)):
            try:
                self._put(path)
            except Exception as e:  # botocore's, aiohttp's and s3fs's errors have no common root
                if not path.exists():
                    continue  # removed for want of room
                if not self._failing:
                    _log.warning("captures wait until s3://%s takes them: %s", self._address, e)
                self._failing = True
                return False
            path.unlink(missing_ok=True)
            remove_empty_folders(path.parent, self._folder)
            if self._failing:
                _log.info("captures are sent to s3://%s again", self._address)
            self._failing = False
        return True

    def _put(self, path: Path) -> None:
        if self._files is None:
            # An extra, and slow to import: not before there is something to send.
            import s3fs  # type: ignore[import-untyped, unused-ignore]

            self._files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        key = path.relative_to(self._folder).as_posix()
        self._files.put_file(str(path), f"{self._address}/{key}")
