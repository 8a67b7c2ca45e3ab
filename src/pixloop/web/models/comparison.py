"""Two versions beside one another: their metrics at once, and on the same test pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.errors import PipelineError
from pixloop.model_versions import ModelVersion, compare_versions
from pixloop.web.jobs import Job
from pixloop.web.models import facts as models_facts
from pixloop.web.models import files as models_files
from pixloop.web.rendering import render
from pixloop.web.reports import sandboxed
from pixloop.web.site import Site

#: A comparison of thousands of slices and pictures is smaller.
_MOST_PRINTED = 50_000_000
#: Differences below this are shown as none.
_NOTHING = 5e-5


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of both."""

    name: str
    a: str
    b: str
    difference: str
    better: bool | None  #: whether b is; None where it makes no difference


@dataclass(frozen=True, slots=True)
class Pictures:
    """How far the comparison on the same pictures is.

    Attributes:
        state: of its job; ``none`` without one.
        job: the last one for these two.
        words: the verdict, the most important sentence first.
        notes: what else must be known.
        rows: the measures; the interval stands behind the difference.
        made: when the page was written; None where there is none.
        busy: another comparison is at work, so that this one must wait.
    """

    state: Literal["none", "running", "done", "failed", "interrupted"]
    job: Job | None
    words: Sequence[str]
    notes: Sequence[str]
    rows: Sequence[Row]
    made: datetime | None
    busy: bool


def routes(site: Site) -> list[Route]:
    """``/models/compare``, and its parts."""

    def page(request: Request) -> Response:
        versions = site.versions()
        if not request.query_params:
            return render(request, "models/compare_choose.html", {"versions": versions})
        a, b = _both(site, request)
        return render(
            request,
            "models/compare.html",
            {
                "a": a,
                "b": b,
                "versions": versions,
                "rows": metric_rows(a, b),
                "made": made_of(a, b),
                "same_data": _data_of(a) is not None and _data_of(a) == _data_of(b),
            },
        )

    def form(request: Request) -> Response:
        """The choosers anew, with what is chosen in them now."""
        chosen = {name: request.query_params.get(name, "") for name in ("a", "b")}
        return render(request, "models/compare_form.html", {"versions": site.versions(), **chosen})

    def pictures(request: Request) -> Response:
        a, b = _both(site, request)
        return _render_pictures(request, site, a, b)

    def start(request: Request) -> Response:
        a, b = _both(site, request)
        start_comparison(site, a.version, b.version)
        return _render_pictures(request, site, a, b)

    def stop(request: Request) -> Response:
        a, b = _both(site, request)
        job = _job_of(site, a.version, b.version)
        if job:
            site.jobs.stop(job)
        return _render_pictures(request, site, a, b)

    def written(request: Request) -> Response:
        a, b = _both(site, request)
        return sandboxed(page_of(site, a.version, b.version))

    return [
        Route("/models/compare", page),
        Route("/models/compare/form", form),
        Route("/models/compare/pictures", pictures),
        Route("/models/compare/pictures", start, methods=["POST"]),
        Route("/models/compare/stop", stop, methods=["POST"]),
        Route("/models/compare/page", written),
    ]


def metric_rows(a: ModelVersion, b: ModelVersion) -> Sequence[Row]:
    """The metrics that both have, side by side."""
    rows = []
    for name, pair in compare_versions(a, b).metrics.items():
        better = None
        if abs(pair.difference) >= _NOTHING:
            better = (pair.difference < 0) == models_facts.less_is_better(name)
        difference = f"{pair.difference:+.4f}".replace("-", "−") if better is not None else "0"
        title = models_facts.metric_name(name)
        rows.append(Row(title, f"{pair.a:.4f}", f"{pair.b:.4f}", difference, better))
    return rows


def made_of(a: ModelVersion, b: ModelVersion) -> Sequence[tuple[str, str, str]]:
    """What both were made of: name, of a, of b."""
    first, second = dict(models_facts.lineage(a)), dict(models_facts.lineage(b))
    rows = [(name, value, second[name]) for name, value in first.items() if name in second]
    rows.append(("graph", a.chosen_graph, b.chosen_graph))
    before, after = dict(models_facts.settings(a)), dict(models_facts.settings(b))
    changed = [name for name in before if name in after and before[name] != after[name]]
    return [*rows, *((name, before[name], after[name]) for name in changed)]


def start_comparison(site: Site, a: str, b: str) -> Job:
    """Compare two versions on the same test pictures, as a process of its own.

    Raises:
        PipelineError: a comparison is at work, or no data set has been prepared.
    """
    if a == b:
        raise PipelineError(f"Version {a} is the same as itself: choose another one.")
    running = site.jobs.running("compare")
    if running and running[0].command == _command(a, b):
        return running[0]  # a second click
    return site.jobs.start("compare", _command(a, b), about=f"version {b} against version {a}")


def page_of(site: Site, a: str, b: str) -> Path:
    """Where ``pixloop models compare`` writes the page of two versions."""
    return site.state / "comparisons" / f"{a}-{b}.html"


def read_pictures(site: Site, a: str, b: str) -> Pictures:
    """How far the comparison of two versions on the same pictures is."""
    job, page = _job_of(site, a, b), page_of(site, a, b)
    state = site.jobs.status(job) if job else "none"
    running = site.jobs.running("compare")
    found: Mapping[str, Any] = {}
    if job and state == "done":
        log = site.jobs.log(job, _MOST_PRINTED)
        found = site.cached.get(("compared", a, b), job.id, lambda: _printed(log))
    made = datetime.fromtimestamp(page.stat().st_mtime, UTC) if page.is_file() else None
    return Pictures(
        state,
        job,
        found.get("verdict", ()),
        found.get("notes", ()),
        [_measure_row(name, each) for name, each in found.get("measures", {}).items()],
        made,
        busy=bool(running) and state != "running",
    )


def _render_pictures(request: Request, site: Site, a: ModelVersion, b: ModelVersion) -> Response:
    found = read_pictures(site, a.version, b.version)
    log = site.jobs.log(found.job, 8_000) if found.job and found.state != "done" else ""
    now = log.strip().rpartition("\n")[2]
    context = {"a": a.version, "b": b.version, "found": found, "log": log, "now": now}
    return render(request, "models/compare_pictures.html", context)


def _both(site: Site, request: Request) -> tuple[ModelVersion, ModelVersion]:
    asked = request.query_params
    a, b = asked.get("a", ""), asked.get("b", "")
    if a == b and a:
        raise HTTPException(404, "Choose two different versions to compare.")
    return models_files.find(site, a), models_files.find(site, b)


def _command(a: str, b: str) -> tuple[str, ...]:
    return ("models", "compare", a, b, "--json")


def _job_of(site: Site, a: str, b: str) -> Job | None:
    return next((job for job in site.jobs.list("compare") if job.command == _command(a, b)), None)


def _data_of(version: ModelVersion) -> object:
    return version.lineage.get("dataset_sha256")


def _printed(log: str) -> Mapping[str, Any]:
    """The JSON object that ends what a command has printed; warnings may come before."""
    start = 0 if log.startswith("{") else log.find("\n{") + 1
    try:
        found = json.JSONDecoder().raw_decode(log, start)[0]
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _measure_row(name: str, found: Mapping[str, Any]) -> Row:
    interval = found.get("interval")
    between = f" ({_signed(interval[0])} to {_signed(interval[1])})" if interval else ""
    return Row(
        models_facts.metric_name(name),
        _plain(found.get("champion")),
        _plain(found.get("challenger")),
        _signed(found.get("difference")) + between,
        found.get("better"),
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")
