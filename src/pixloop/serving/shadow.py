"""Shadow mode: a challenger answers what the champion was asked, unseen.

Requests are answered by the champion alone. Those that are captured are then asked of a challenger
as well, and its answers are captured beside the champion's, in ``shadow-<version>``, under the same
request ids. What it has no time for is left out: the more is asked of the server, the smaller the
share that both answer.
"""

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from pixloop.bundle import Bundle
from pixloop.errors import PixloopError, ServingError
from pixloop.serving.engines import EngineSettings
from pixloop.serving.jobs import Version
from pixloop.serving.models.acceptance import OpenModel
from pixloop.serving.models.challenger import Captures, Challenger
from pixloop.serving.models.following import Find
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import Predictor, open_predictor

#: Challengers whose captures are kept: this one, and the one before.
_KEPT = 2
_NAMED = "shadow-"

log = logging.getLogger("pixloop.serving")


class Shadow:
    """An observer of what is captured: it follows which version is the challenger, and asks it."""

    def __init__(
        self,
        find: Find,
        open_captures: Callable[[str], Captures],
        every_s: float = 5.0,
        open_model: OpenModel | None = None,
    ) -> None:
        """Nothing is looked for yet.

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
        self._challenger: Challenger | None = None
        self._before = [0, 0, 0]  # what earlier challengers have counted
        self._latest = ""  # that was found, whether or not it could be loaded
        self._silent = False
        self._closing = threading.Event()
        # Loads at the common priority: threads that OpenVINO starts meanwhile serve all models.
        self._thread = threading.Thread(target=self._follow, name="shadow", daemon=True)

    def __call__(self, exchange: Exchange) -> None:
        """Take an exchange, or not. On one thread; takes about a microsecond."""
        challenger = self._challenger
        if challenger is not None:
            challenger.take(exchange)

    def start(self, busy: Callable[[], bool]) -> None:
        """Look for challengers from now on, and compute nothing while ``busy`` says that requests
        wait.
        """
        self._busy = busy
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop. A thread that is loading a model is not waited for: it ends with the process."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(0.2)
        self._give_up(timeout_s)

    @property
    def challenger(self) -> str:
        """What answers unseen; empty while nothing does."""
        challenger = self._challenger
        return challenger.name if challenger else ""

    @property
    def answered(self) -> int:
        """Exchanges that challengers have answered as well."""
        return self._counts()[0]

    @property
    def dropped(self) -> int:
        """Exchanges that there was no time for."""
        return self._counts()[1]

    @property
    def failed(self) -> int:
        """Exchanges that challengers failed on."""
        return self._counts()[2]

    # ---- inside

    def _counts(self) -> list[int]:
        now = self._challenger
        own = (now.answered, now.dropped, now.failed) if now else (0, 0, 0)
        return [before + count for before, count in zip(self._before, own, strict=True)]

    def _follow(self) -> None:
        while not self._closing.is_set():
            self._look()
            self._closing.wait(self._every_s)

    def _look(self) -> None:
        try:
            found = self._find()
        except Exception as e:  # whatever is wrong with the registry, the server goes on
            if not self._silent:  # once, not at every look
                log.warning("cannot see whether there is a challenger: %s", _reason(e))
            self._silent = True
            return
        self._silent = False
        name = found[0] if found else ""
        if name == self._latest:
            return
        self._latest = name
        self._give_up()
        if found is not None:
            self._take_up(name, found[1])

    def _take_up(self, name: str, bundle: Path) -> None:
        try:
            predictor = self._open_model(Bundle.open(bundle))
            predictor.warm_up()
            if self._closing.is_set():
                return
            captures = self._open_captures(_NAMED + name.rpartition(":")[2])
        except Exception as e:  # a stranger's graph may raise anything
            log.error("%s does not answer in the shadow: %s", name, _reason(e))
            return
        self._challenger = Challenger(Version(name, predictor), captures, self._busy)
        log.info("%s answers in the shadow", name)

    def _give_up(self, timeout_s: float = 5.0) -> None:
        """Let go of the challenger, and of its memory."""
        self._before = self._counts()
        challenger, self._challenger = self._challenger, None
        if challenger is not None:
            challenger.close(timeout_s)


def remove_old_captures(folder: Path, keep: str) -> None:
    """Remove the captures of challengers of the past, but for the latest before ``keep``.

    Args:
        folder: where the captures of all are, a folder each.
        keep: the folder of the challenger of now, ``shadow-<version>``.
    """

    def age(path: Path) -> tuple[int, str]:
        version = path.name.removeprefix(_NAMED)
        return int(version) if version.isdecimal() else 0, version

    others = [path for path in folder.glob(f"{_NAMED}*") if path.is_dir() and path.name != keep]
    for path in sorted(others, key=age)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def check_share(share: float) -> None:
    """Refuse where nothing is captured that a challenger's answers could be held against.

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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PixloopError) else repr(error)
