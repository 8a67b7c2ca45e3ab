"""The page ``/models``: the versions, each of them, and what can be done with them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.model_versions import ModelVersion
from pixloop.run_summary import CARD, PAGE
from pixloop.web.forms import read_form, read_number
from pixloop.web.models import comparison as models_comparison
from pixloop.web.models import endpoint as models_endpoint
from pixloop.web.models import facts as models_facts
from pixloop.web.models import files as models_files
from pixloop.web.models.actions import (
    ACTIONS,
    Action,
    act,
    roll_back,
    warm,
)
from pixloop.web.models.choices import choices, rollback_choice
from pixloop.web.models.endpoint import told
from pixloop.web.paging import turn
from pixloop.web.rendering import render
from pixloop.web.reports import sandboxed
from pixloop.web.runs.telling import version_of
from pixloop.web.site import Site
from pixloop.web.versions import champion_of

#: Versions that are shown at once.
PAGE_LENGTH = 50
#: Classes that a version's page lists; the report has all.
_CLASSES = 200


def routes(site: Site) -> list[Route]:
    """The page, the page of each version, and their parts."""

    def page(request: Request) -> Response:
        return render(request, "models/page.html")

    def listed(request: Request) -> Response:
        page = read_number(request.query_params.get("page", ""), 1)
        return render(request, "models/list.html", _listed(site, page))

    def top(request: Request) -> Response:
        versions = site.versions()
        return render(
            request,
            "models/top.html",
            {"champion": champion_of(versions), "versions": versions, **_naming(site, versions)},
        )

    def version(request: Request) -> Response:
        return render(request, "models/version.html", _described(site, _asked(site, request)))

    def head(request: Request) -> Response:
        found = _asked(site, request)
        return render(request, "models/version_head.html", _headed(site, found))

    def actions(request: Request) -> Response:
        found = _asked(site, request)
        champion = champion_of(site.versions())
        warm(site)
        context = {"version": found, "choices": choices(site, found), "seen": _number(champion)}
        return render(request, "models/actions.html", context)

    def rollback(request: Request) -> Response:
        seen = _number(champion_of(site.versions()))
        context = {"choice": rollback_choice(site), "seen": seen}
        return render(request, "models/rollback.html", context)

    async def change(request: Request) -> Response:
        action = request.path_params["action"]
        if action not in ACTIONS:
            raise HTTPException(404)
        found = await run_in_threadpool(_asked, site, request)
        form = await read_form(request)
        words = await run_in_threadpool(
            act,
            site,
            cast(Action, action),
            found.version,
            form.get("seen", ""),
            form.get("reason", ""),
        )
        return told(words, "pixloop:versions", "pixloop:jobs")

    async def go_back(request: Request) -> Response:
        form = await read_form(request)
        words = await run_in_threadpool(roll_back, site, form.get("seen", ""))
        return told(words, "pixloop:versions")

    def report(request: Request) -> Response:
        return sandboxed(models_files.reports(site, _asked(site, request)) / PAGE)

    def card(request: Request) -> Response:
        return sandboxed(models_files.reports(site, _asked(site, request)) / CARD)

    return [
        Route("/models", page),
        Route("/models/list", listed),
        Route("/models/top", top),
        Route("/models/rollback", rollback),
        Route("/models/rollback", go_back, methods=["POST"]),
        *models_comparison.routes(site),
        *models_endpoint.routes(site),
        Route("/models/{version}", version),
        Route("/models/{version}/head", head),
        Route("/models/{version}/actions", actions),
        Route("/models/{version}/report", report),
        Route("/models/{version}/card", card),
        Route("/models/{version}/{action}", change, methods=["POST"]),
    ]


def _asked(site: Site, request: Request) -> ModelVersion:
    return models_files.find(site, request.path_params["version"])


def _number(version: ModelVersion | None) -> str:
    return version.version if version else ""


def _naming(site: Site, versions: Sequence[ModelVersion]) -> Mapping[str, Any]:
    """What templates call versions and metrics by."""
    config = site.project.config
    newest = versions[0].version if versions else ""
    return {
        "standing": lambda each: models_facts.standing(each, newest, config),
        "main": models_facts.MAIN[config.task],
        "metric_name": models_facts.metric_name,
    }


def _listed(site: Site, page: int) -> Mapping[str, Any]:
    versions = site.versions()
    turned = turn(len(versions), PAGE_LENGTH, page)
    return {
        "shown": versions[turned.start : turned.end],
        "count_all": len(versions),
        "first": turned.start + 1,
        "number": turned.number,
        "last": turned.last,
        "runs": _runs(site),
        **_naming(site, versions),
    }


def _runs(site: Site) -> Mapping[str, str]:
    """The run that made each version: the first that registered it; later ones found it there."""
    return {number: run.id for run in site.runs() if (number := version_of(run)) is not None}


def _headed(site: Site, version: ModelVersion) -> Mapping[str, Any]:
    versions = site.versions()
    champion = champion_of(versions)
    return {
        "version": version,
        "champion": champion if champion and champion.version != version.version else None,
        "run": _runs(site).get(version.version),
        **_naming(site, versions),
    }


def _described(site: Site, version: ModelVersion) -> Mapping[str, Any]:
    evaluation = models_files.read(site, version)
    found = evaluation or {}
    manifest = models_files.manifest(site, version)
    classes = _classes(found, manifest.classes if manifest else ())
    return {
        **_headed(site, version),
        "evaluated": evaluation is not None,
        "pictures": found.get("pictures"),
        "intervals": found.get("intervals") or {},
        "verdict": models_facts.verdict(found),
        "sentences": (found.get("verdict") or {}).get("sentences", ()),
        "studies": (found.get("verdict") or {}).get("studies", ()),
        "gate": found.get("gate"),
        "promotion": found.get("promotion"),
        "promise": models_facts.promise(found),
        "parity": models_facts.parity(found),
        "certificate": found.get("certificate") or {},
        "detects": found.get("task") == "detection",
        "lineage": models_facts.lineage(version),
        "settings": models_facts.settings(version),
        "classes": classes[:_CLASSES],
        "class_count": len(classes),
        "bytes": sum(file.bytes for file in manifest.files.values()) if manifest else None,
    }


def _classes(
    evaluation: Mapping[str, Any], known: Sequence[str]
) -> Sequence[tuple[str, int | None, float | None]]:
    """Classes with their test pictures (or boxes) and F1 (or AP50), the weakest first."""
    measured = evaluation.get("classes") or {}
    rows = [
        (name, row.get("pictures", row.get("boxes")), row.get("f1", row.get("ap_50")))
        for name, row in measured.items()
    ] or [(name, None, None) for name in known]
    return sorted(rows, key=lambda row: (row[2] is None, row[2] or 0.0))
