"""The page ``/runs``: what has run and why, what runs now, and the start of another run."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.pipeline.runs import RunRecord
from pixloop.web.forms import read_number
from pixloop.web.paging import turn
from pixloop.web.rendering import render
from pixloop.web.runs import one as runs_one
from pixloop.web.runs import starting as runs_starting
from pixloop.web.runs.causes import tell_cause
from pixloop.web.runs.progress import read_progress
from pixloop.web.runs.telling import failed_start, tell_row
from pixloop.web.site import Site

_ROWS = 25


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""

    def page(request: Request) -> Response:
        return render(request, "runs/page.html", _list(site, request))

    def now(request: Request) -> Response:
        return render(request, "runs/now.html", _now(site, site.runs()))

    def rows(request: Request) -> Response:
        return render(request, "runs/list.html", _list(site, request))

    return [
        Route("/runs", page),
        Route("/runs/now", now),
        Route("/runs/list", rows),
        *runs_starting.routes(site),
        *runs_one.routes(site),
    ]


def _now(site: Site, runs: Sequence[RunRecord]) -> Mapping[str, Any]:
    """What is at work, or could not begin."""
    running = next((run for run in runs if run.status == "running"), None)
    jobs = site.jobs.running("run") if running is None else ()
    # One whose run has its record already is only ending.
    last = runs[0].pid if runs else None
    starting = any(job.pid != last for job in jobs)
    failed = None if running or jobs else failed_start(site, runs)
    return {
        "running": running,
        "cause": tell_cause(running.cause) if running else "",
        "progress": read_progress(site, running) if running else None,
        "starting": starting,
        "failed": failed,
        "failed_log": site.jobs.log(failed, 4096).strip() if failed else "",
    }


def _list(site: Site, request: Request) -> Mapping[str, Any]:
    runs = site.runs()
    asked = read_number(request.query_params.get("page", "1"), 0)
    turned = turn(len(runs), _ROWS, asked)
    if asked != turned.number:
        raise HTTPException(404, f"There are {turned.last} pages of runs.")
    metric = site.project.config.gate.metric
    return {
        **_now(site, runs),
        "rows": [tell_row(site, run, metric) for run in runs[turned.start : turned.end]],
        "total": len(runs),
        "metric": metric,
        "number": turned.number,
        "page_count": turned.last,
    }
