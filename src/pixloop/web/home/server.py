"""The room of the endpoint: what ``endpoint`` found the last time, so that nobody waits for it."""

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pixloop.errors import PixloopError
from pixloop.web import endpoint
from pixloop.web.site import Site

#: The server is asked this often at most.
_EVERY_S = 3.0

ServedState = Literal[
    "unknown", "silent", "starting", "serving", "switching", "refused", "stranger"
]


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of the local server.

    Attributes:
        state: as ``endpoint.Endpoint`` has it; ``unknown`` before it was asked.
        url: where it is asked; empty where only its start will tell the port.
        version: that it answers with; empty where it does not.
        expected: the champion, which it should answer with; empty without one.
        since: since when that has been so, as far as was seen; ISO 8601, UTC.
        requests: since its start; None where it does not say.
        p50_ms: the median time of an answer.
        failed: the share of requests that it failed on.
        last_words: of the server that these pages started, where it ended with an error.
    """

    state: ServedState = "unknown"
    url: str = ""
    version: str = ""
    expected: str = ""
    since: str = ""
    requests: int | None = None
    p50_ms: float | None = None
    failed: float = 0.0
    last_words: str = ""

    @property
    def answers(self) -> bool:
        """Whether this project's model answers."""
        return self.state in ("serving", "switching", "refused")


class LocalServer:
    """Asks a project's server now and then, beside whoever wants to know.

    Args:
        site: the project's.
    """

    def __init__(self, site: Site) -> None:
        self._site, self._found = site, Served()
        self._asked, self._asking = float("-inf"), False
        self._lock = threading.Lock()

    def look(self) -> Served:
        """What was found the last time; where that is a while ago, it is asked meanwhile."""
        with self._lock:
            now = time.monotonic()
            due = not self._asking and now - self._asked >= _EVERY_S
            if due:
                self._asking, self._asked = True, now
        if due:
            threading.Thread(target=self._ask, name="local server", daemon=True).start()
        return self._found

    def _ask(self) -> None:
        try:
            found, before = ask(self._site), self._found
            same = (found.state, found.version) == (before.state, before.version)
            since = before.since if same else datetime.now(UTC).isoformat(timespec="seconds")
            self._found = replace(found, since=since)
        except PixloopError:
            self._found = Served()  # what is wrong is told where it is
        finally:
            self._asking = False


def local_server(site: Site) -> LocalServer:
    """The one that knows a project's server."""
    return site.cached.get("local server", None, lambda: LocalServer(site))


def ask(site: Site) -> Served:
    """What the server says now.

    Raises:
        ConfigError: pixloop.yaml is wrong.
        RegistryError: the registry cannot be reached, so that nobody knows what should serve.
    """
    found = endpoint.read_endpoint(site)
    rates = found.rates
    return Served(
        found.state,
        found.url or "",
        found.version or "",
        found.expected or "",
        requests=rates.requests if rates else None,
        p50_ms=rates.p50_ms if rates else None,
        failed=rates.failed if rates else 0.0,
        last_words="" if found.answers else _last_words(site),
    )


def _last_words(site: Site) -> str:
    job = site.jobs.last("serve")
    if job is None or site.jobs.status(job) != "failed":
        return ""
    return site.jobs.last_words(job, "It ended with an error.")
