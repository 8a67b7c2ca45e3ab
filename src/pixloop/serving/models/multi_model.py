"""Several models in one server: SageMaker's multi-model API, and hot swaps.

====================================  ==============================================================
``GET /ping``                         200 once the server is up, whatever is loaded
``GET /models``                       what is loaded; in pages, by ``next_page_token``
``POST /models``                      load: ``{"model_name": …, "url": folder}``; 409 where it is
                                      loaded already, 507 where memory does not suffice
``GET /models/NAME``                  one of them
``PUT /models/NAME``                  ``{"url": folder}`` takes its place while it serves, or is
                                      refused (pixloop's own)
``DELETE /models/NAME``               unload
``POST /models/NAME/invoke``          as ``POST /invocations`` of a server for one model, whose
                                      pages there are below ``/models/NAME/`` as well
====================================  ==============================================================

Source: Amazon SageMaker Developer Guide, "Custom Containers Contract for Multi-Model Endpoints".

Whoever reaches this server may change what it serves, within one folder; so it is only started
where it is asked for. A web page that is open on the same machine cannot: what changes something
is JSON or no GET or POST, for which browsers ask first.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from pixloop.config import ServingConfig
from pixloop.errors import BundleError, PixloopError, ServingError
from pixloop.serving.app import EXCEPTION_HANDLERS, make_batcher, page_routes
from pixloop.serving.invocations import Invocations
from pixloop.serving.models.acceptance import OpenModel, Unfit
from pixloop.serving.models.loaded import (
    AlreadyLoaded,
    LoadedModel,
    LoadedModels,
    NoRoom,
    NotLoaded,
    Outside,
)
from pixloop.serving.models.served import OnSwap, Superseded, SwapRefused
from pixloop.serving.observing.observation import Observer
from pixloop.serving.page import PAGE_HEADERS
from pixloop.serving.problems import RequestProblem

_PAGE = 100
_MAX_BODY_BYTES = 64 * 1024
_BODY_TIMEOUT_S = 30.0
#: What an error of the models is in HTTP; the first that fits.
_STATUSES: tuple[tuple[type[PixloopError], int], ...] = (
    (NotLoaded, 404),
    (AlreadyLoaded, 409),
    (Superseded, 409),
    (Unfit, 409),
    (NoRoom, 507),
    (Outside, 403),
    (ServingError, 422),
    (BundleError, 422),
)


Result = TypeVar("Result")


class MultiModelApp:
    """The ASGI application; one crew of workers serves all models."""

    def __init__(
        self,
        folder: Path,
        settings: ServingConfig,
        open_model: OpenModel,
        observers: Sequence[Observer] = (),
        routes: Sequence[BaseRoute] = (),
        on_swap: OnSwap = lambda version, outcome: None,
    ) -> None:
        """No model is loaded yet.

        Args:
            folder: every bundle that may be loaded lies in it.
            settings: the limits; ``host`` and ``port`` are the server's own matter.
            open_model: loads a bundle's graph.
            observers: are told of every request once it was answered.
            routes: further ones.
            on_swap: is told of every version that took over, or did not.
        """
        self.models = LoadedModels(folder, open_model, on_swap)
        self.batcher = make_batcher(settings)
        self.invocations = Invocations(self.batcher, settings, observers)
        self._settings = settings
        self._pages = Starlette(
            routes=[
                Route("/", lambda request: RedirectResponse("docs")),
                Route("/ping", self._ping),
                Route("/docs", self._docs),
                Route("/models", self._list),
                Route("/models", self._load, methods=["POST"]),
                Route("/models/{name}", self._show),
                Route("/models/{name}", self._swap, methods=["PUT"]),
                Route("/models/{name}", self._unload, methods=["DELETE"]),
                Mount("/models/{name}", self._model_pages),
                *routes,
            ],
            exception_handlers=EXCEPTION_HANDLERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        model = self._invoked(scope)
        if model is None:
            await self._pages(scope, receive, send)
        else:
            await self.invocations.answer(scope, receive, send, model.served)

    def close(self) -> None:
        """End the workers, and forget the models."""
        self.batcher.close()
        self.models.close()

    def _invoked(self, scope: Scope) -> LoadedModel | None:
        """The model that a request is for, if it is loaded."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        match scope["path"].split("/"):
            case ["", "models", name, "invoke" | "invocations"] if name in self.models.names():
                return self.models.get(name)
        return None

    async def _ping(self, request: Request) -> Response:
        return JSONResponse({"status": "ready", "models": self.models.names()})

    async def _docs(self, request: Request) -> Response:
        links = "".join(
            f'<li><a href="models/{escape(name)}/docs">{escape(name)}</a></li>'
            for name in self.models.names()
        )
        text = f"<ul>{links}</ul>" if links else "<p>None. POST /models loads one.</p>"
        page = f"<!doctype html><html lang=en><title>Models</title><h1>Models</h1>{text}</html>"
        return HTMLResponse(page, headers=PAGE_HEADERS)

    async def _list(self, request: Request) -> Response:
        names, after = self.models.names(), request.query_params.get("next_page_token", "")
        rest = [name for name in names if name > after]
        answer: dict[str, Any] = {"models": [_plain(name, self.models) for name in rest[:_PAGE]]}
        if len(rest) > _PAGE:
            answer["nextPageToken"] = rest[_PAGE - 1]
        return JSONResponse(answer)

    async def _load(self, request: Request) -> Response:
        body = await _read_json(request)
        name, url, version = _text(body, "model_name"), _text(body, "url"), body.get("version", "")
        await _do(lambda: self.models.load(name, url, version))
        return JSONResponse(_plain(name, self.models))

    async def _show(self, request: Request) -> Response:
        name = request.path_params["name"]
        served = _translated(lambda: self.models.get(name)).served
        swap = asdict(served.last) if served.last else None
        state = {"version": served.current.name, "onTrial": served.on_trial, "lastSwap": swap}
        return JSONResponse({**_plain(name, self.models), **state})

    async def _swap(self, request: Request) -> Response:
        name, body = request.path_params["name"], await _read_json(request)
        url, version = _text(body, "url"), body.get("version", "")
        await _do(lambda: self.models.swap(name, url, version))
        return await self._show(request)

    async def _unload(self, request: Request) -> Response:
        name = request.path_params["name"]
        await _do(lambda: self.models.unload(name))
        return JSONResponse({"modelName": name})

    async def _model_pages(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = _translated(lambda: self.models.get(scope["path_params"]["name"]))
        await Router(page_routes(model.served, self._settings))(scope, receive, send)


def _plain(name: str, models: LoadedModels) -> dict[str, Any]:
    return {"modelName": name, "modelUrl": _translated(lambda: models.get(name)).url}


def _translated(do: Callable[[], Result]) -> Result:
    """What ``do`` gives.

    Raises:
        RequestProblem: it raised an error of ours.
    """
    try:
        return do()
    except PixloopError as e:
        cause = e.__cause__ if isinstance(e, SwapRefused) else None
        for error in (cause, e):
            for kind, status in _STATUSES:
                if isinstance(error, kind):
                    raise RequestProblem(status, str(e)) from e
        raise


async def _do(change: Callable[[], None]) -> None:
    """Change the models, in a thread: requests are answered meanwhile."""
    await to_thread.run_sync(lambda: _translated(change))


async def _read_json(request: Request) -> dict[str, Any]:
    """The JSON object of a small body.

    Raises:
        RequestProblem: it is none.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestProblem(415, f"Send application/json, not {media_type or 'nothing'!r}.")
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise RequestProblem(413, f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    except TimeoutError as e:
        detail = f"The body did not arrive within {_BODY_TIMEOUT_S:.0f} seconds."
        raise RequestProblem(408, detail) from e
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise RequestProblem(400, f"The body is not valid JSON: {e}.") from e
    if not isinstance(document, dict) or not isinstance(document.get("version", ""), str):
        raise RequestProblem(422, "Expected a JSON object of strings.", pointer="#")
    return document


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise RequestProblem(422, f"Expected {key!r} to be a string.", pointer=f"#/{key}")
    return value
