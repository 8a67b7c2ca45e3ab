"""The page ``/try``: pictures in, answers out, and what a person makes of them.

Pictures come as they are, a request each: the body is the file. ``by`` says who answers:
``server``, an address, or a version's number.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pixloop.errors import ConfigError, ImageError, PixloopError
from pixloop.web.endpoint import local_address, read_endpoint
from pixloop.web.rendering import render, size
from pixloop.web.site import FOLDER, Site
from pixloop.web.tryout.addresses import curl, python
from pixloop.web.tryout.answers import SERVER, Answering, is_version, words
from pixloop.web.tryout.explanations import Explanations, is_checked, why_not
from pixloop.web.tryout.models import Models
from pixloop.web.tryout.reports import check_said, report
from pixloop.web.versions import preferred

#: The newest versions, of which one is chosen; any other by its number in the address.
_MOST_OFFERED = 100


def routes(site: Site) -> list[Route]:
    """The page, its parts, and what it asks."""
    models = Models(site)
    views = _Views(site, models, Answering(site, models))
    return [
        Route("/try", views.page),
        Route("/try/server", views.server),
        Route("/try/request", views.request),
        Route("/try/explaining", views.explaining),
        Route("/try/predict", views.predict, methods=["POST"]),
        Route("/try/explain", views.explain, methods=["POST"]),
        Route("/try/wrong", views.wrong, methods=["POST"]),
    ]


class _Views:
    def __init__(self, site: Site, models: Models, answering: Answering) -> None:
        self._site, self._models, self._answering = site, models, answering
        self._cache = site.state / "explanations"
        self._explanations = Explanations(site.state / FOLDER, self._cache)

    # ---- the page

    def page(self, request: Request) -> Response:
        site = self._site
        versions, config = site.versions(), site.project.config
        wanted = request.query_params.get("by", "")
        chosen = next((v for v in versions if v.version == wanted), None) or preferred(versions)
        offered = list(versions[:_MOST_OFFERED])
        if chosen is not None and chosen not in offered:
            offered.append(chosen)
        address = local_address(config.serving.host, config.serving.port)
        context = {
            "versions": offered,
            "chosen": chosen,
            "classes": self._classes(),
            "task": config.task,
            "most_bytes": config.serving.max_body_bytes,
            "address": address,
            "captured": config.serving.capture_share,
            **_request_texts(address, "", "image/jpeg"),
        }
        return render(request, "tryout/page.html", context)

    def server(self, request: Request) -> Response:
        """Whether this machine's server answers, as a part of the page."""
        return render(request, "tryout/server.html", {"found": read_endpoint(self._site)})

    def request(self, request: Request) -> Response:
        """A request as text to copy, as a part of the page."""
        asked = request.query_params
        by, problem = asked.get("by", ""), ""
        address = read_endpoint(self._site).url
        if by != SERVER and not is_version(by):
            try:
                address = self._answering.address(by)
            except ConfigError as e:
                problem = words(e)
        context = {
            "problem": problem,
            "by": by,
            "here": is_version(by),
            **_request_texts(address, asked.get("name", ""), asked.get("type", "")),
        }
        return render(request, "tryout/request.html", context)

    def explaining(self, request: Request) -> Response:
        """Whether a version's answers can be explained, and whether that begins with checks."""
        try:
            bundle = self._models.bundle(self._models.version(request.query_params.get("by", "")))
        except PixloopError as e:
            return JSONResponse({"why_not": words(e), "checked": False})
        checked = is_checked(bundle, self._cache)
        return JSONResponse({"why_not": why_not(bundle), "checked": checked})

    # ---- what is done with a picture

    async def predict(self, request: Request) -> Response:
        picture = await self._read(request)
        if isinstance(picture, Response):
            return picture
        by = request.query_params.get("by", "")
        try:
            answered = await run_in_threadpool(self._answering.ask, by, picture)
        except PixloopError as e:
            return _problem(e)
        return JSONResponse(answered.plain)

    async def explain(self, request: Request) -> Response:
        picture = await self._read(request)
        if isinstance(picture, Response):
            return picture
        by = request.query_params.get("by", "")
        try:
            version = await run_in_threadpool(self._models.version, by)
            bundle = await run_in_threadpool(self._models.bundle, version)
        except PixloopError as e:
            return _problem(e)
        if reason := why_not(bundle):
            return _say(409, reason)
        lines = _lines(self._explanations.explain(bundle, picture))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def wrong(self, request: Request) -> Response:
        picture = await self._read(request)
        if isinstance(picture, Response):
            return picture
        by, said = (request.query_params.get(name, "") for name in ("by", "said"))
        try:
            return JSONResponse(await run_in_threadpool(self._report, by, said, picture))
        except PixloopError as e:
            return _problem(e)

    def _report(self, by: str, said: str, picture: bytes) -> dict[str, Any]:
        project = self._site.project
        task = project.config.task
        check_said(said, task, self._classes())
        answered = self._answering.answer(by, picture)
        return report(project.review, picture, said, answered, task).model_dump(mode="json")

    async def _read(self, request: Request) -> bytes | Response:
        """The picture, or the answer that it is too large; read to its end in any case.

        A browser that is cut off while it sends shows a broken connection instead of the reason.
        """
        most, length, chunks = self._site.project.config.serving.max_body_bytes, 0, list[bytes]()
        async for chunk in request.stream():
            length += len(chunk)
            if length <= most:
                chunks.append(chunk)
            else:
                chunks.clear()
        if length > most:
            return _say(413, f"The picture is {size(length)}; at most {size(most)} are taken.")
        return b"".join(chunks)

    def _classes(self) -> Sequence[str]:
        """Those that the project knows; none before there is a version."""
        version = preferred(self._site.versions())
        return () if version is None else self._models.bundle(version).manifest.classes


def _request_texts(address: str | None, name: str, kind: str) -> dict[str, str]:
    """The requests to copy; empty where nobody knows an address that would answer them."""
    if address is None:
        return {"curl": "", "python": ""}
    return {"curl": curl(address, name, kind), "python": python(address, name, kind)}


def _lines(told: Iterator[dict[str, Any]]) -> Iterator[str]:
    for each in told:
        yield json.dumps(each) + "\n"


def _problem(error: PixloopError) -> Response:
    """What went wrong with one picture; others go on."""
    status = 422 if isinstance(error, ImageError | ConfigError) else 409
    return _say(status, words(error))


def _say(status: int, text: str) -> Response:
    return JSONResponse({"detail": text}, status)
