"""A server that follows what is offered: a thread looks, and swaps the model."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pixloop.errors import PixloopError
from pixloop.serving.models.served import Served, SwapRefused

#: Gives the version to serve, as answers are to name it, and its bundle; None for no change. It is
#: called often, from a thread, so it is cheap where nothing has changed.
Find = Callable[[], tuple[str, Path] | None]

log = logging.getLogger("pixloop.serving")


class Follower:
    """Swaps a served model for whatever is found, in a thread, from ``with`` on to its end.

    A version that was refused or rolled back is not tried again until another one is found.
    """

    def __init__(self, served: Served, find: Find, every_s: float) -> None:
        """Follow what ``find`` gives, which is asked every so many seconds."""
        self._served, self._find, self._every_s = served, find, every_s
        self._latest = served.current.name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._silent = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A thread that is loading a model is not waited for: it ends with the process.
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        try:
            found = self._find()
        except Exception as e:  # whatever is wrong with the registry, the server goes on
            if not self._silent:  # once, not at every look
                reason = str(e) if isinstance(e, PixloopError) else repr(e)
                log.warning("cannot see whether there is another version: %s", reason)
            self._silent = True
            return
        self._silent = False
        if found is None or found[0] == self._latest:
            return
        self._latest = found[0]
        if found[0] == self._served.current.name:
            return
        try:
            self._served.swap(found[1], found[0])
        except SwapRefused:
            return  # the log says it already
