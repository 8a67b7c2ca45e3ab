"""Work in a process of its own: what may not run in that of the pages.

Two things are: pictures that were quarantined, of which one may take down whoever decodes it, and
augmentation, whose library brings torch along. A process starts with the first call, and goes when
it has had nothing to do for a while, or when its server goes.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from pixloop.errors import DataError, PixloopError

T = TypeVar("T")

#: A process without work ends after so long.
_IDLE_S = 300.0
#: No call takes longer, an import of torch on a busy machine included.
_PATIENCE_S = 60.0


class Apart:
    """Calls functions, one after another, in a process that is not this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Any = None
        self._ours: Connection | None = None

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function of a module gives for arguments that can be pickled.

        Raises:
            PixloopError: as the function raises it.
            DataError: the process died of it, or takes too long.
        """
        with self._lock:
            # It may have gone while it had nothing to do, which shows only now.
            answer = self._ask(function, arguments) or self._ask(function, arguments)
        if answer is None:
            raise DataError("This cannot be shown: the process that looked at it died.")
        worked, value = answer
        if not worked:
            raise value
        result: T = value
        return result

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _ask(self, function: Callable[..., Any], arguments: Any) -> tuple[bool, Any] | None:
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._ours is not None  # noqa: S101  (just started)
        try:
            self._ours.send((function, arguments))
            if not self._ours.poll(_PATIENCE_S):
                self._end()
                raise DataError(f"This cannot be shown: it takes over {_PATIENCE_S:.0f} s.")
            worked, value = self._ours.recv()
        except (EOFError, OSError):
            self._end()
            return None
        return worked, value

    def _start(self) -> None:
        # Spawned: this process has threads, of which a fork would lose all but one.
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        if self._ours is not None:
            self._ours.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        self._process, self._ours = None, None


def _work(server: Connection) -> None:
    # Ctrl-C is the server's: when it goes, its end of the pipe closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        while server.poll(_IDLE_S):
            function, arguments = server.recv()
            try:
                answer = True, function(*arguments)
            except PixloopError as e:
                answer = False, e
            except Exception as e:
                answer = False, DataError(f"This cannot be shown: {type(e).__name__}: {e}")
            server.send(answer)
