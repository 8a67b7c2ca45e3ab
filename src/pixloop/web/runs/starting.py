"""``/runs/new``: the form that starts a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixloop.errors import ConfigError, PipelineError
from pixloop.watching.status import duration
from pixloop.web.forms import read_form
from pixloop.web.rendering import render
from pixloop.web.runs.command import run_arguments, run_command
from pixloop.web.runs.form import (
    Filled,
    check,
    form_sections,
    read_filled,
)
from pixloop.web.runs.telling import expected_seconds
from pixloop.web.site import Site

_MOST_WORDS = 300


def routes(site: Site) -> list[Route]:
    """The form, what it would do, and doing it."""

    def page(request: Request) -> Response:
        project = site.project
        nothing = Filled((), {})
        context = {
            "sections": form_sections(project.config),
            "busy": why_busy(site),
            **_told(site, nothing),
        }
        return render(request, "runs/new.html", context)

    async def check_form(request: Request) -> Response:
        filled = await read_form(request)
        return JSONResponse(await run_in_threadpool(_look, site, filled))

    async def start(request: Request) -> Response:
        filled = await read_form(request)
        return await run_in_threadpool(_start, site, filled)

    return [
        Route("/runs/new", page),
        Route("/runs/check", check_form, methods=["POST"]),
        Route("/runs/start", start, methods=["POST"]),
    ]


def why_busy(site: Site) -> str:
    """Why no run can begin now; empty where one can."""
    runs = site.runs()
    running = next((run for run in runs if run.status == "running"), None)
    if running is not None:
        return f"A run is at work (process {running.pid}); one runs at a time."
    for job in site.jobs.running("run"):
        if any(run.pid == job.pid for run in runs[:1]):
            return "The last run's process is just ending."
        return "A run is about to begin; one runs at a time."
    return ""


def start_run(site: Site, changes: Sequence[str], because: str = "") -> None:
    """Start a run as a process of its own.

    Raises:
        ConfigError: pixloop.yaml does not take the changes.
        PipelineError: another run is at work.
    """
    errors = check(site.project, changes)
    if errors:
        raise ConfigError(" ".join(f"{key}: {words}".lstrip(": ") for key, words in errors.items()))
    busy = why_busy(site)
    if busy:
        raise PipelineError(busy)
    arguments = run_arguments(site.project, changes)
    told = (f"--because={because}",) if because else ()
    site.jobs.start("run", (*arguments, *told), about=", ".join(changes))


def _look(site: Site, filled: Mapping[str, str]) -> Mapping[str, Any]:
    return _told(site, read_filled(site.project, filled))


def _start(site: Site, filled: Mapping[str, str]) -> Response:
    read = read_filled(site.project, filled)
    if read.errors:
        return JSONResponse(_told(site, read), 422)
    because = " ".join(filled.get("because", "").split())[:_MOST_WORDS]
    start_run(site, read.changes, because)
    return JSONResponse({"location": "/runs"})


def _told(site: Site, filled: Filled) -> Mapping[str, Any]:
    """What would happen, for the page to say before the click."""
    changed = [change.partition("=")[0] for change in filled.changes]
    return {
        "command": run_command(run_arguments(site.project, filled.changes)),
        "changed": changed,
        "errors": dict(filled.errors),
        "time": _time(site, filled.changes),
    }


def _time(site: Site, changes: Sequence[str]) -> str:
    if not site.runs():
        return "No run has shown yet how long it takes here."
    if not changes:
        return (
            "Steps whose settings, pictures and code are as in an earlier run are reused: if all "
            "are, it takes seconds."
        )
    seconds = expected_seconds(site.runs(), changes)
    if seconds is None:
        return "No run has shown yet how long these steps take here."
    return f"About {duration(max(seconds, 1))}, by the last runs; finished steps are reused."
