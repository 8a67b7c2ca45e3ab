"""The server's routes: SageMaker's ``/ping`` and ``/invocations``, and a page about them."""

from collections.abc import Sequence
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from pixloop.config import ServingConfig
from pixloop.serving.batching import Batcher
from pixloop.serving.engines import usable_cores
from pixloop.serving.invocations import Invocations
from pixloop.serving.jobs import FixedSlot, Slot, Version
from pixloop.serving.observing.observation import Observer
from pixloop.serving.openapi import openapi_document
from pixloop.serving.page import PAGE_HEADERS, render_page
from pixloop.serving.predictor import Predictor
from pixloop.serving.problems import PROBLEM_MEDIA_TYPE, RequestProblem, encode_problem

#: Requests that may wait, for each core: more would only wait longer, and are better told so.
_PLACES_EACH = 20
#: Pictures in a batch, where nothing was measured.
_MAX_BATCH = 4


class App:
    """The ASGI application.

    ``/invocations`` has a path of its own, without the framework: it is what has to be fast.
    """

    def __init__(
        self,
        slot: Slot,
        settings: ServingConfig,
        observers: Sequence[Observer] = (),
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        """Serve the model of a slot.

        Args:
            slot: where the model is.
            settings: the limits; ``host`` and ``port`` are the server's own matter.
            observers: are told of every request once it was answered.
            routes: further ones.
        """
        self.batcher = make_batcher(settings)
        self.invocations = Invocations(self.batcher, settings, observers)
        self._slot = slot
        self._pages = Starlette(
            routes=[*page_routes(slot, settings), *routes],
            exception_handlers=EXCEPTION_HANDLERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if (
            scope["type"] == "http"
            and scope["path"] == "/invocations"
            and scope["method"] == "POST"
        ):
            await self.invocations.answer(scope, receive, send, self._slot)
        else:
            await self._pages(scope, receive, send)

    def close(self) -> None:
        """End the workers."""
        self.batcher.close()


def make_batcher(settings: ServingConfig) -> Batcher:
    """The workers of a server, by its limits."""
    cores = usable_cores()
    return Batcher(
        settings.streams or cores,
        settings.max_batch or _MAX_BATCH,
        settings.queue or _PLACES_EACH * cores,
    )


def build_app(
    predictor: Predictor,
    model_name: str,
    settings: ServingConfig,
    observers: Sequence[Observer] = (),
) -> App:
    """The application for one model that never changes.

    Args:
        predictor: answers; called from several threads.
        model_name: what answers give as ``model``.
        settings: the limits.
        observers: are told of every request once it was answered.
    """
    return App(FixedSlot(Version(model_name, predictor)), settings, observers)


def page_routes(slot: Slot, settings: ServingConfig) -> list[Route]:
    """``/ping``, ``/docs`` and ``/openapi.json`` of a slot's model."""

    def document() -> dict[str, object]:
        version = slot.current
        manifest = version.predictor.manifest
        return openapi_document(
            version.name, manifest.task, manifest.classes, settings.max_body_bytes
        )

    async def ping(request: Request) -> Response:
        return JSONResponse({"status": "ready", "model": slot.current.name})

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    async def docs(request: Request) -> Response:
        page = render_page(document(), slot.current.predictor.manifest.task)
        return HTMLResponse(page, headers=PAGE_HEADERS)

    async def home(request: Request) -> Response:
        return RedirectResponse("docs")

    async def invocations(request: Request) -> Response:
        raise HTTPException(405, headers={"Allow": "POST"})

    return [
        Route("/", home),
        Route("/ping", ping),
        Route("/invocations", invocations),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
    ]


async def _answer_problem(request: Request, error: Exception) -> Response:
    problem = cast(RequestProblem, error)
    return Response(encode_problem(problem), problem.status, media_type=PROBLEM_MEDIA_TYPE)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    path = request.scope["path"]  # not request.url, which fails on a Host that is none
    known = {
        404: f"There is nothing at {path}. See /docs.",
        405: f"{request.method} is not what {path} takes. See /docs.",
    }
    problem = RequestProblem(error.status_code, known.get(error.status_code, error.detail))
    return Response(
        encode_problem(problem), problem.status, error.headers, media_type=PROBLEM_MEDIA_TYPE
    )


async def _answer_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _answer_failure(request: Request, error: Exception) -> Response:
    problem = RequestProblem(500, "The server failed on this request; its log says how.")
    return Response(encode_problem(problem), 500, media_type=PROBLEM_MEDIA_TYPE)


#: How errors are answered.
EXCEPTION_HANDLERS: dict[Any, Any] = {
    RequestProblem: _answer_problem,
    HTTPException: _answer_http_exception,
    ClientDisconnect: _answer_disconnect,
    # uvicorn logs what went wrong; the client is not told.
    Exception: _answer_failure,
}
