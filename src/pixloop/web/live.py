"""What changes, told to open pages as it happens: server-sent events.

A page subscribes once; of each name that changes it gets one event, and asks for the parts that
show it. Files are looked at only while somebody listens.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from pixloop.config import FILE_NAME
from pixloop.errors import ConfigError
from pixloop.web.cached import stamp
from pixloop.web.home.server import local_server
from pixloop.web.site import Site

_LOOK_S = 1.0
#: A comment is sent this often, so that a lost connection is noticed.
_BEAT_S = 15.0


def routes(site: Site) -> list[Route]:
    """``/events``."""

    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(
            _changes(site, request),
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


async def _changes(site: Site, request: Request) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    before = await run_in_threadpool(look, site)
    beat = 0.0
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK_S)
        now = await run_in_threadpool(look, site)
        for name, seen in now.items():
            if seen != before[name]:
                yield f"event: {name}\ndata: \n\n"
        before = now
        beat += _LOOK_S
        if beat >= _BEAT_S:
            beat = 0.0
            yield ": still here\n\n"


def _registry_file(site: Site) -> Path | None:
    """None also while pixloop.yaml is wrong: what else changes is told all the same."""
    try:
        return site.project.registry_file
    except ConfigError:
        return None


def _stamps(folder: Path, *patterns: str) -> Hashable:
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    return tuple(zip(files, stamp(*files), strict=True))
