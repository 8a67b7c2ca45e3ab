"""The page ``/monitoring``: whether pictures are as they were, and answers as right.

What a look found is shown without looking; a look is a job. Parts ask again when a look has ended,
here or by ``pixloop watch``, and are answered only where there is something new to show.
"""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.errors import MonitoringError
from pixloop.model_versions import ModelVersion
from pixloop.web.endpoint import read_endpoint
from pixloop.web.forms import read_form
from pixloop.web.monitoring.looks import last_failure, read_looks
from pixloop.web.monitoring.watched import (
    choose_version,
    open_monitor,
    read_unlike,
    read_watched,
    watched_versions,
)
from pixloop.web.rendering import render
from pixloop.web.site import Site

#: The address of a version's parts; its number alone is let through.
_OF = "/monitoring/{version:int}"


def routes(site: Site) -> list[Route]:
    """The page, its parts, and what they change."""

    def page(request: Request) -> Response:
        versions = site.versions()
        if not versions:
            return render(request, "monitoring/new.html")
        version = choose_version(versions, request.query_params.get("version"))
        watched = watched_versions(site, versions)
        shown = [v for v in versions if v.version in watched or v.champion or v == version]
        context = {"versions": shown, "watched_versions": watched, **_found(site, version)}
        return render(request, "monitoring/page.html", context)

    def found(request: Request) -> Response:
        version = _version(site, request)
        context = _found(site, version)
        if request.query_params.get("seen") == context["digest"]:
            return Response(status_code=204)
        return render(request, "monitoring/found.html", context)

    def looks(request: Request) -> Response:
        version = _version(site, request)
        return render(request, "monitoring/looks.html", _looks(site, version))

    def look(request: Request) -> Response:
        version = _version(site, request)
        about = f"a look at version {version.version}"
        site.jobs.start("monitor", ["monitor", f"--version={version.version}"], about)
        return render(request, "monitoring/looks.html", _looks(site, version))

    def server(request: Request) -> Response:
        return render(request, "monitoring/server.html", {"endpoint": read_endpoint(site)})

    async def acknowledge(request: Request) -> Response:
        return await run_in_threadpool(_close, site, request, await read_form(request), False)

    async def take_as_normal(request: Request) -> Response:
        return await run_in_threadpool(_close, site, request, await read_form(request), True)

    def unlike(request: Request) -> Response:
        alarm, number = request.path_params["alarm"], request.path_params["number"]
        return _picture(read_unlike(site, _version(site, request), alarm, number))

    def typical(request: Request) -> Response:
        watched = read_watched(site, _version(site, request))
        pictures, number = watched.typical if watched else (), request.path_params["number"]
        return _picture(pictures[number] if number < len(pictures) else None)

    return [
        Route("/monitoring", page),
        Route("/monitoring/server", server),
        Route(f"{_OF}/found", found),
        Route(f"{_OF}/looks", looks),
        Route(f"{_OF}/look", look, methods=["POST"]),
        Route(f"{_OF}/acknowledge", acknowledge, methods=["POST"]),
        Route(f"{_OF}/normal", take_as_normal, methods=["POST"]),
        Route(f"{_OF}/alarms/{{alarm}}/{{number:int}}.jpg", unlike),
        Route(f"{_OF}/typical/{{number:int}}.jpg", typical),
    ]


def warm(site: Site) -> None:
    """Have ready what the first visit would wait for: imports, and what is known of a version."""
    if versions := site.versions():
        _found(site, choose_version(versions, None))


def _version(site: Site, request: Request) -> ModelVersion:
    return choose_version(site.versions(), str(request.path_params["version"]))


def _found(site: Site, version: ModelVersion) -> dict[str, Any]:
    """What ``monitoring/found.html`` is filled with, whatever state there is."""
    config = site.project.config
    context: dict[str, Any] = {
        "chosen": version,
        "capture_share": config.serving.capture_share,
        "captured": site.project.captures.is_dir(),
        "problem": "",
        "done": "",
        "look": None,
        "digest": "none",
    }
    try:
        watched = read_watched(site, version)
    except MonitoringError as e:
        return {**context, "problem": str(e), "digest": "problem"}
    if watched is None:
        return context
    # It imports what only this page needs.
    from pixloop.web.monitoring.facts import describe

    digest = f"{watched.digest}-{config.serving.capture_share}"
    return {**context, **describe(watched, config), "digest": digest}


def _looks(site: Site, version: ModelVersion) -> dict[str, Any]:
    running = site.jobs.running("monitor")
    return {
        "chosen": version,
        "looks": read_looks(site, version),
        "running": running[0] if running else None,
        "failure": last_failure(site),
    }


def _close(site: Site, request: Request, form: dict[str, str], as_normal: bool) -> Response:
    """Close the alarms that the page showed; where they are closed already, nothing changes."""
    version = _version(site, request)
    seen = [name for name in form.get("alarms", "").split(",") if name]
    monitor = open_monitor(site, version)
    if as_normal:
        monitor.take_as_normal(seen=seen)
        done = "The alarms are closed. Later pictures are held against those of now."
    else:
        monitor.acknowledge(seen)
        done = "The alarms are closed. The tests begin anew with the next picture."
    context = {**_found(site, version), "done": done}
    return render(request, "monitoring/found.html", context)


def _picture(content: bytes | None) -> Response:
    if content is None:
        raise HTTPException(404, "That picture was not kept.")
    return Response(content, media_type="image/jpeg")
