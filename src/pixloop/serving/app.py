"""The server's routes: SageMaker's ``/ping`` and ``/invocations``, and a page about them."""

from functools import partial
from typing import cast

from anyio import CapacityLimiter, fail_after, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pixloop.config import ServingConfig
from pixloop.errors import ImageError, ImageTooLarge
from pixloop.serving.classifier import Classifier
from pixloop.serving.codec import Answer, decode_request, encode_answer
from pixloop.serving.detector import Detector
from pixloop.serving.engines import usable_cores
from pixloop.serving.openapi import openapi_document
from pixloop.serving.page import PAGE_HEADERS, render_page
from pixloop.serving.problems import (
    PICTURE_TOO_LARGE,
    PROBLEM_MEDIA_TYPE,
    UNREADABLE_PICTURE,
    RequestProblem,
    encode_problem,
)

#: A client that sends slower than this is let go, so that it cannot hold a place in the queue.
BODY_TIMEOUT_S = 30.0
#: Of a body that is refused, this much is still read: a client that is cut off while it sends
#: sees a broken connection instead of the reason.
_DRAINED_BYTES = 100_000_000


def build_app(
    predictor: Classifier | Detector, model_name: str, settings: ServingConfig
) -> Starlette:
    """The ASGI application.

    Args:
        predictor: answers; called from several threads.
        model_name: what answers give as ``model``.
        settings: the limits; ``host`` and ``port`` are the server's own matter.
    """
    manifest = predictor.manifest
    document = openapi_document(
        model_name, manifest.task, manifest.classes, settings.max_body_bytes
    )
    page = render_page(document, manifest.task)
    invocations = Invocations(predictor, model_name, settings)

    async def ping(request: Request) -> Response:
        return JSONResponse({"status": "ready", "model": model_name})

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    async def docs(request: Request) -> Response:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    async def home(request: Request) -> Response:
        return RedirectResponse("docs")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/ping", ping),
            Route("/invocations", invocations.answer, methods=["POST"]),
            Route("/openapi.json", openapi),
            Route("/docs", docs),
        ],
        exception_handlers={
            RequestProblem: _answer_problem,
            HTTPException: _answer_http_exception,
            ClientDisconnect: _answer_disconnect,
            # uvicorn logs what went wrong; the client is not told.
            Exception: _answer_failure,
        },
    )


class Invocations:
    """``POST /invocations``, with bounds on how many wait, how large a body is, and how slow."""

    def __init__(
        self, predictor: Classifier | Detector, model_name: str, settings: ServingConfig
    ) -> None:
        self._predictor, self._model_name = predictor, model_name
        self._max_bytes = settings.max_body_bytes
        self._at_work = CapacityLimiter(usable_cores())
        self._places = (settings.queue or 32 * usable_cores()) + usable_cores()
        self._taken = 0

    async def answer(self, request: Request) -> Response:
        """Answer one request, or raise the ``RequestProblem`` that says why not."""
        if self._taken >= self._places:
            await _read_body(request, 0)
            raise RequestProblem(503, "Too many requests are waiting. Try again in a moment.")
        self._taken += 1
        try:
            return await self._answer(request)
        finally:
            self._taken -= 1

    async def _answer(self, request: Request) -> Response:
        _check_headers(request)
        body = await _read_body(request, self._max_bytes)
        if body is None:
            limit = f"{self._max_bytes:,} bytes"
            raise RequestProblem(413, f"The body is larger than {limit}. Send less at once.")
        work = partial(
            answer_body,
            self._predictor,
            self._model_name,
            body,
            request.headers.get("content-type", ""),
        )
        content, media_type = await to_thread.run_sync(work, limiter=self._at_work)
        return Response(content, media_type=media_type)


def answer_body(
    predictor: Classifier | Detector, model_name: str, body: bytes, content_type: str
) -> tuple[bytes, str]:
    """The whole work for one request: body and content type in, body and content type out.

    Raises:
        RequestProblem: the request is not one that can be answered.
    """
    request = decode_request(body, content_type)
    predictions: list[Answer] = []
    for place, answer in zip(request.places, predictor.predict_each(request.pictures), strict=True):
        if isinstance(answer, ImageError):
            too_large = isinstance(answer, ImageTooLarge)
            raise RequestProblem(
                413 if too_large else 422,
                f"The picture cannot be read: {answer}.",
                PICTURE_TOO_LARGE if too_large else UNREADABLE_PICTURE,
                place.pointer,
                place.line,
            )
        predictions.append(answer)
    return encode_answer(request, predictions, model_name)


def _check_headers(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise RequestProblem(415, f"Content-Encoding {coding!r} is not read here; send it plain.")


async def _read_body(request: Request, max_bytes: int) -> bytes | None:
    """The body, or None where it is larger; what is larger is read on for a while and dropped."""
    chunks: list[bytes] = []
    size = 0
    try:
        with fail_after(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DRAINED_BYTES + max_bytes:
                    break
                if size <= max_bytes:
                    chunks.append(chunk)
                else:
                    chunks.clear()
    except TimeoutError as e:
        detail = f"The body did not arrive within {BODY_TIMEOUT_S:.0f} seconds."
        raise RequestProblem(408, detail) from e
    return b"".join(chunks) if size <= max_bytes else None


async def _answer_problem(request: Request, error: Exception) -> Response:
    problem = cast(RequestProblem, error)
    headers = {"Retry-After": "1"} if problem.status == 503 else {}
    return Response(encode_problem(problem), problem.status, headers, PROBLEM_MEDIA_TYPE)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    known = {
        404: f"There is nothing at {request.url.path}. POST pictures to /invocations; see /docs.",
        405: f"{request.method} is not what {request.url.path} takes. See /docs.",
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
