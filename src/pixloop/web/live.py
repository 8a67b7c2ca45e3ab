"""What changes, told to open pages as it happens: server-sent events.

A page says since when it stands, and gets one event of each name that changed after that, then and
whenever it changes again; it asks for the parts that show it. Files are looked at before a page is
made, and while somebody listens.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pixloop.config import FILE_NAME
from pixloop.errors import ConfigError
from pixloop.web.cached import stamp
from pixloop.web.home.server import local_server
from pixloop.web.site import Site

_LOOK_S = 1.0
#: A comment is sent this often, so that a lost connection is noticed.
_BEAT_S = 15.0


class Changes:
    """When what pages show was last found to be changed. Threads may share one.

    Args:
        site: the project's pages.
    """

    def __init__(self, site: Site) -> None:
        self._site, self._lock = site, threading.Lock()
        self._seen: Mapping[str, Hashable] = {}
        self._found: dict[str, float] = {}

    def since(self, moment: float = math.inf) -> tuple[float, Sequence[str]]:
        """Look now.

        Args:
            moment: by ``time.monotonic``, in seconds.

        Returns:
            The moment of this look, for the next; the names of what was found to be changed after
            ``moment``. The first look finds that all is.
        """
        with self._lock:
            now = look(self._site)
            looked = time.monotonic()
            for name, seen in now.items():
                if name not in self._seen or seen != self._seen[name]:
                    self._found[name] = looked
            self._seen = now
            return looked, [name for name, found in self._found.items() if found > moment]


class Dated:
    """Wraps the application: whatever changed until ``request.state.began``, a page shows.

    Args:
        app: what is wrapped.
        changes: looked at before a page is made, so that it is not told what it shows already.
    """

    def __init__(self, app: ASGIApp, changes: Changes) -> None:
        self._app, self._changes = app, changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            is_page = "text/html" in Headers(scope=scope).get("accept", "")
            began = time.monotonic()
            if is_page:
                began, _ = await run_in_threadpool(self._changes.since)
            scope.setdefault("state", {})["began"] = began
        await self._app(scope, receive, send)


def routes(changes: Changes) -> list[Route]:
    """``/events``."""

    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(
            _told(changes, request),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return [Route("/events", events)]


def look(site: Site) -> Mapping[str, Hashable]:
    """How everything looks that pages show, by the names of events."""
    state, registry_file = site.state, _registry_file(site)
    return {
        "runs": _stamps(state / "runs", "*/run.json", "*/progress.json"),
        "versions": stamp(*([registry_file] if registry_file else []), state / "serving.json"),
        "review": stamp(state / "review" / "review.db"),
        "annotations": stamp(state / "annotations"),
        "monitoring": _stamps(state / "monitoring", "*/state.npz"),
        "watch": stamp(state / "watch" / "state.json", state / "watch" / "events.jsonl"),
        "jobs": _stamps(state / "web" / "jobs", "*/job.json", "*/ended.json"),
        "captures": stamp(state / "captures"),
        "server": (stamp(site.folder / FILE_NAME), local_server(site).look()),
    }


async def _told(changes: Changes, request: Request) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    moment = _moment(request.query_params.get("since", ""))
    beat = 0.0
    while not await request.is_disconnected():
        moment, names = await run_in_threadpool(changes.since, moment)
        for name in names:
            yield f"event: {name}\ndata: \n\n"
        await asyncio.sleep(_LOOK_S)
        beat += _LOOK_S
        if beat >= _BEAT_S:
            beat = 0.0
            yield ": still here\n\n"


def _moment(text: str) -> float:
    """What a page said; before everything, where none of ours can have said it."""
    try:
        moment = float(text)
    except ValueError:
        return -math.inf
    return moment if moment <= time.monotonic() else -math.inf


def _registry_file(site: Site) -> Path | None:
    """None also while pixloop.yaml is wrong: what else changes is told all the same."""
    try:
        return site.project.registry_file
    except ConfigError:
        return None


def _stamps(folder: Path, *patterns: str) -> Hashable:
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    return tuple(zip(files, stamp(*files), strict=True))
