"""The labelling page: a small server on this machine alone, and one page that needs no network.

Its address holds a token, so that other people and other pages on this machine do not find it. A
request must name the server by its own address (against DNS rebinding), and one that changes
something must come from its own page. The page itself puts text into the document as text only.
"""

import io
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixloop.annotation.answering import Answering
from pixloop.annotation.items import Item
from pixloop.data.annotations import AnnotatedBox
from pixloop.decoding import decode_image
from pixloop.drawing import PALETTE
from pixloop.errors import AnnotationError, DataError, PixloopError

HOST = "127.0.0.1"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
#: An answer of a thousand boxes is a tenth of it.
MAX_BODY_BYTES = 1_000_000
_FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
#: What browsers show; everything else is encoded again.
_SHOWN = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif"}

Handler = Callable[[Request], Awaitable[Response]]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str
    label: str | None = None
    boxes: tuple[AnnotatedBox, ...] | None = None
    skip: bool = False
    undo: bool = False


def make_app(answering: Answering, token: str, name: str) -> Starlette:
    """The page's application.

    Args:
        answering: takes the answers.
        token: stands first in every path.
        name: of the project, for the title.
    """

    def guarded(handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            problem = _refuse(request, token)
            response = problem or await handler(request)
            response.headers.update(HEADERS)
            return response

        return guard

    async def file(request: Request) -> Response:
        found = _FILES.get(request.path_params.get("file", ""))
        if found is None:
            return _problem(404, "there is no such page")
        content = Path(__file__).with_name(found[0]).read_bytes()
        return Response(content, media_type=found[1])

    async def items(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_state, answering, name))

    async def picture(request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        try:
            content, media_type = await run_in_threadpool(_shown, answering, sha256)
        except PixloopError as e:
            return _problem(404, str(e))
        return Response(content, media_type=media_type)

    async def answer(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return _problem(413, f"an answer has at most {MAX_BODY_BYTES} bytes")
        try:
            said = _Said.model_validate_json(body)
            await run_in_threadpool(_take, answering, said)
        except ValidationError as e:
            return _problem(400, f"that is no answer: {e.errors(include_url=False)[0]['msg']}")
        except (AnnotationError, DataError) as e:
            return _problem(409, str(e))
        return JSONResponse(answering.queue.counts())

    routes = [
        Route("/{token}/items", guarded(items)),
        Route("/{token}/pictures/{sha256}", guarded(picture)),
        Route("/{token}/answers", guarded(answer), methods=["POST"]),
        Route("/{token}/", guarded(file)),
        Route("/{token}/{file}", guarded(file)),
    ]
    return Starlette(routes=routes)


def serve_page(
    answering: Answering, name: str, ready: Callable[[str], None], port: int = 0
) -> None:
    """Serve the page until the process is told to stop.

    Args:
        answering: takes the answers.
        name: of the project.
        ready: is called with the page's address.
        port: a free one, where it is 0.

    Raises:
        AnnotationError: the port is taken.
    """
    token = secrets.token_urlsafe(24)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind((HOST, port))
        except OSError as e:
            raise AnnotationError(
                f"the labelling page cannot have port {port}: {e.strerror}. Choose another with "
                "--port, or leave it out."
            ) from e
        config = uvicorn.Config(
            make_app(answering, token, name), log_level="warning", access_log=False
        )
        ready(f"http://{HOST}:{listener.getsockname()[1]}/{token}/")
        uvicorn.Server(config).run(sockets=[listener])


def _refuse(request: Request, token: str) -> Response | None:
    given = request.path_params["token"].encode()
    if not secrets.compare_digest(given, token.encode()):
        return _problem(404, "there is no such page")
    host = request.headers.get("host", "")
    if host.rpartition(":")[0] not in (HOST, "localhost"):
        return _problem(403, "this server is asked by its own address only")
    if request.method == "POST":
        if request.headers.get("origin") != f"http://{host}":
            return _problem(403, "answers come from the page itself only")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _problem(415, "an answer is application/json")
    return None


async def _read(request: Request) -> bytes | None:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _take(answering: Answering, said: _Said) -> None:
    if said.undo:
        answering.undo(said.sha256)
    elif said.skip:
        answering.skip(said.sha256)
    elif said.boxes is not None:
        answering.boxes(said.sha256, said.boxes)
    elif said.label is not None:
        answering.label(said.sha256, said.label)
    else:
        raise AnnotationError("that is no answer: expected a label, boxes, skip or undo.")


def _state(answering: Answering, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "task": answering.task,
        "classes": list(answering.classes),
        "colours": [PALETTE[i % len(PALETTE)] for i in range(len(answering.classes))],
        "counts": answering.queue.counts(),
        "items": [_item(item) for item in answering.open_items()],
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "sha256": item.sha256,
        "answer": item.answer,
        "model": item.model,
        "at": item.at,
        "drawn": item.drawn,
        "given": item.origin.get("label", ""),
        "reasons": [{"kind": reason.kind, "detail": reason.detail} for reason in item.reasons],
    }


def _shown(answering: Answering, sha256: str) -> tuple[bytes, str]:
    """The picture in a format that browsers show; they turn it upright themselves."""
    content = answering.queue.picture(sha256)
    for start, media_type in _SHOWN.items():
        if content.startswith(start):
            return content, media_type
    file = io.BytesIO()
    Image.fromarray(decode_image(content)).save(file, "PNG")
    return file.getvalue(), "image/png"


def _problem(status: int, detail: str) -> Response:
    return Response(json.dumps({"detail": detail}), status, media_type="application/problem+json")
