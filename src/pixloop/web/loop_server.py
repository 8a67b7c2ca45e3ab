"""The local server, as far as it tells: whether it answers, what it serves, how fast it is."""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from pixloop.config import ServingConfig
from pixloop.web.site import Site

#: It is asked this often at most, and given up on after so long.
_EVERY_S, _TIMEOUT_S = 3.0, 1.0
#: A server that listens to everything is asked at this machine's own address.
_OWN = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Served:
    """What the local server said the last time.

    Attributes:
        url: its address; empty where it takes whichever port is free.
        answers: whether it answered; None before it was asked.
        model: what its answers call the model, ``vehicles:3``.
        since: since when that has been so, as far as was seen; ISO 8601, UTC.
        requests: since its start; None where it does not say.
        p50_ms: the median time of an answer.
        failed: the share of requests that it failed on.
        stranger: something else answers at the address.
    """

    url: str
    answers: bool | None = None
    model: str = ""
    since: str = ""
    requests: int | None = None
    p50_ms: float | None = None
    failed: float = 0.0
    stranger: bool = False

    @property
    def version(self) -> str:
        """The version's number; empty where nothing answers."""
        return self.model.rpartition(":")[2]


class LocalServer:
    """Asks the server at an address now and then, beside whoever wants to know.

    Args:
        url: its address; empty where that is not known.
    """

    def __init__(self, url: str) -> None:
        self._found = Served(url)
        self._asked, self._asking = float("-inf"), False
        self._lock = threading.Lock()

    def look(self) -> Served:
        """What was found the last time; where that is a while ago, it is asked meanwhile."""
        with self._lock:
            now = time.monotonic()
            due = self._found.url and not self._asking and now - self._asked >= _EVERY_S
            if due:
                self._asking, self._asked = True, now
        if due:
            threading.Thread(target=self._ask, name="local server", daemon=True).start()
        return self._found

    def wait(self, most_s: float) -> Served:
        """As ``look``, but wait for a first answer."""
        found, until = self.look(), time.monotonic() + most_s
        while found.url and found.answers is None and time.monotonic() < until:
            time.sleep(0.02)
            found = self._found
        return found

    def _ask(self) -> None:
        try:
            found, before = ask(self._found.url), self._found
            same = (found.answers, found.model) == (before.answers, before.model)
            since = before.since if same else datetime.now(UTC).isoformat(timespec="seconds")
            self._found = Served(
                found.url, found.answers, found.model, since,
                found.requests, found.p50_ms, found.failed, found.stranger,
            )  # fmt: skip
        finally:
            self._asking = False


def local_server(site: Site) -> LocalServer:
    """The server that pixloop.yaml describes.

    Raises:
        ConfigError: pixloop.yaml is wrong.
    """
    url = address_of(site.project.config.serving)
    return site.cached.get("local server", url, lambda: LocalServer(url))


def address_of(serving: ServingConfig) -> str:
    """Where this machine reaches the server; empty where it takes whichever port is free.

    >>> address_of(ServingConfig(host="0.0.0.0", port=8080))
    'http://127.0.0.1:8080'
    """
    if not serving.port:
        return ""
    host = _OWN.get(serving.host, serving.host)
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{shown}:{serving.port}"


def ask(url: str) -> Served:
    """What the server at an address says now."""
    # These take a while to import, and the first page shall not wait for them.
    import httpx

    from pixloop.monitoring.server_rates import read_rates

    try:
        # Whatever the environment says of proxies: this is a server of this machine.
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = client.get(f"{url}/ping")
            try:
                model = str(answer.raise_for_status().json()["model"])[:200]
            except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
                return Served(url, answers=False, stranger=True)
            try:
                rates = read_rates(client.get(f"{url}/metrics").raise_for_status().text, url)
            except (httpx.HTTPError, ValueError):
                return Served(url, answers=True, model=model)
    except (httpx.HTTPError, httpx.InvalidURL):
        return Served(url, answers=False)
    return Served(
        url, answers=True, model=model, requests=rates.requests, p50_ms=rates.p50_ms,
        failed=rates.failed,
    )  # fmt: skip
