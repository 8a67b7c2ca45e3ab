"""``/runs/<id>``: one run, live while it is at work."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pixloop.errors import PipelineError
from pixloop.pipeline.jobs import LOG
from pixloop.pipeline.runs import RunRecord
from pixloop.run_summary import report_of
from pixloop.web.rendering import render
from pixloop.web.reports import sandboxed
from pixloop.web.runs.causes import tell_cause
from pixloop.web.runs.command import run_command
from pixloop.web.runs.epochs import best_epoch, read_epochs, shown_score
from pixloop.web.runs.progress import read_progress, usual_seconds
from pixloop.web.runs.starting import start_run, why_busy
from pixloop.web.runs.stopping import stop_run, worker_of
from pixloop.web.runs.telling import (
    PILLS,
    WORDS,
    first_unfinished,
    metric_of,
    tell_track,
    version_of,
)
from pixloop.web.site import Site

_LOG_BYTES = 65_536


def routes(site: Site) -> list[Route]:
    """The page, its parts, and what can be done with a run."""
    stopping: set[str] = set()  # runs that were asked to stop

    def tell(run: RunRecord) -> Mapping[str, Any]:
        return {**_tell(site, run), "stopping": run.status == "running" and run.id in stopping}

    def page(request: Request) -> Response:
        return render(request, "runs/run.html", tell(_find(site, request)))

    def state(request: Request) -> Response:
        return render(request, "runs/state.html", tell(_find(site, request)))

    def epochs(request: Request) -> Response:
        return render(request, "runs/epochs.html", _tell_epochs(site, _find(site, request)))

    def epochs_json(request: Request) -> Response:
        return JSONResponse(_curves(site, _find(site, request)))

    def log(request: Request) -> Response:
        run = _find(site, request)
        return PlainTextResponse(read_log(run, request.query_params.get("step", "")))

    def report(request: Request) -> Response:
        return sandboxed(report_of(_find(site, request)), "This run has no report.")

    def cancel(request: Request) -> Response:
        run = _find(site, request)
        stop_run(run)
        stopping.add(run.id)
        return render(request, "runs/state.html", tell(run))

    def retry(request: Request) -> Response:
        run = _find(site, request)
        if run.status == "running":
            raise PipelineError("This run is at work.")
        start_run(site, run.cause.settings, f"as the run of {run.started[:16].replace('T', ' ')}")
        return Response(headers={"HX-Redirect": "/runs"})

    return [
        Route("/runs/{id}", page),
        Route("/runs/{id}/state", state),
        Route("/runs/{id}/epochs", epochs),
        Route("/runs/{id}/epochs.json", epochs_json),
        Route("/runs/{id}/log", log),
        Route("/runs/{id}/report", report),
        Route("/runs/{id}/cancel", cancel, methods=["POST"]),
        Route("/runs/{id}/retry", retry, methods=["POST"]),
    ]


def read_log(run: RunRecord, step: str) -> str:
    """The end of what a step has printed; of one that is not in the run, nothing."""
    if step not in run.steps:
        return ""
    try:
        with (run.folder / "steps" / step / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def has_log(run: RunRecord, step: str) -> bool:
    """Whether a step has printed anything."""
    try:
        return (run.folder / "steps" / step / LOG).stat().st_size > 0
    except OSError:
        return False


def _find(site: Site, request: Request) -> RunRecord:
    """The run that the address names, which is looked up and never made a path of."""
    asked = request.path_params["id"]
    for run in site.runs():
        if run.id == asked:
            return run
    raise HTTPException(404, "There is no such run. Older ones may have been removed.")


def _tell(site: Site, run: RunRecord) -> Mapping[str, Any]:
    runs = site.runs()
    progress = read_progress(site, run)
    metric = site.project.config.gate.metric
    logged = [name for name in run.steps if has_log(run, name) or _is_odd(run, name)]
    return {
        "run": run,
        "pill": PILLS[run.status],
        "words": WORDS.get(run.status, run.status),
        "cause": tell_cause(run.cause),
        "command": run_command(("run", *(f"--set={each}" for each in run.cause.settings))),
        "progress": progress,
        "track": tell_track(run, progress, usual_seconds(runs, besides=run.id)),
        "worker": worker_of(run),
        "next_step": first_unfinished(run),
        "busy": why_busy(site) if run.status != "running" else "",
        "version": version_of(run),
        "metric": metric,
        "value": metric_of(site, run, metric),
        "has_report": report_of(run).is_file(),
        "logged": logged,
        "log_step": _log_step(run, logged),
        **_tell_epochs(site, run),
    }


def _log_step(run: RunRecord, logged: list[str]) -> str:
    """The step whose log is shown first: the one at work, or that did not end well, or the last."""
    odd = [name for name in logged if _is_odd(run, name)]
    return (odd or logged[-1:] or [""])[0]


def _is_odd(run: RunRecord, step: str) -> bool:
    return run.steps[step].status not in ("done", "cached", "waiting")


def _tell_epochs(site: Site, run: RunRecord) -> Mapping[str, Any]:
    epochs = read_epochs(site, run) if _has_trained(run) else ()
    name, title = shown_score(epochs)
    return {
        "run": run,
        "epochs": epochs,
        "score": name,
        "score_title": title,
        "best": best_epoch(epochs),
    }


def _curves(site: Site, run: RunRecord) -> Mapping[str, Any]:
    epochs = read_epochs(site, run) if _has_trained(run) else ()
    name, title = shown_score(epochs)
    return {
        "epoch": [each.epoch for each in epochs],
        "train_loss": [each.train_loss for each in epochs],
        "validation_loss": [each.value("loss") for each in epochs],
        "score": [each.value(name) for each in epochs],
        "score_title": title,
    }


def _has_trained(run: RunRecord) -> bool:
    step = run.steps.get("Train")
    return step is not None and step.status != "waiting"
