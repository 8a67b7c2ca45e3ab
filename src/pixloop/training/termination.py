"""SIGTERM: a job is stopped, or a spot instance taken back. What was learned is written first."""

import signal
import threading
from typing import Any, NoReturn


class Termination:
    """Keeps a SIGTERM until there is a good moment to end.

    Lightning's own handler lets the processes talk to one another in the middle of a step; this one
    replaces it for as long as Lightning runs, which puts back what was there before.

    Attributes:
        asked: whether a SIGTERM came.
    """

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """From now on, keep a SIGTERM. A second one ends the process as it would have before."""
        if threading.current_thread() is threading.main_thread():  # no other can have handlers
            signal.signal(signal.SIGTERM, self._keep)

    def _keep(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def end(self) -> NoReturn:
        """End this process, with the exit code of a SIGTERM."""
        raise SystemExit(128 + signal.SIGTERM)
