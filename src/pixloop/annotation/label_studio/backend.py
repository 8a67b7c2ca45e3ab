"""What Label Studio asks for the model's answer, and tells of annotations.

It holds no model: it asks the server that serves (``pixloop serve``), so that people see what the
deployed version says. It runs as a process of its own: ``python -m`` this module, with the file of
its settings.
"""

import base64
import binascii
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixloop.annotation.label_studio.answers import MODEL, prefill
from pixloop.annotation.label_studio.interface import PICTURE
from pixloop.annotation.label_studio.marks import read_mark
from pixloop.errors import ImageError, ServingError
from pixloop.serving.client import Client

#: The header that hooks come with, and the name that Label Studio gives beside the secret.
SECRET_HEADER, USER = "X-Pixloop-Secret", "pixloop"
#: A person waits for the task to open.
_PING_S, _ASK_S = 2.0, 20.0


class BackendSettings(BaseModel):
    """What a backend is started with; the file is for its owner's eyes only."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    port: int
    server: str  #: the address of what serves
    label_studio: str  #: the address of Label Studio
    token: str  #: for pictures that only Label Studio has
    secret: str
    classes: tuple[str, ...]
    pictures: Path  #: the folder with the queue's pictures, each called by its SHA-256
    bell: Path  #: touched when Label Studio tells of annotations


class Pictures:
    """Finds the picture that a task asks about, as it was sent to the server."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        """``folder`` has the queue's pictures; others are fetched from Label Studio."""
        self._folder = folder
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=_ASK_S
        )

    def find(self, task: dict[str, Any]) -> bytes:
        """The picture of a task.

        Raises:
            ImageError: it is nowhere to be had.
        """
        mark = read_mark(task)
        if mark is not None and (file := self._folder / mark.sha256).is_file():
            return file.read_bytes()
        address = str((task.get("data") or {}).get(PICTURE, ""))
        # Only what Label Studio itself holds: an address elsewhere could be anybody's.
        if not address.startswith("/data/"):
            raise ImageError(f"task {task.get('id')}: its picture is not here: {address[:200]}")
        try:
            response = self._http.get(address)
            response.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise ImageError(f"task {task.get('id')}: no picture at {address[:200]}: {e}") from e
        return response.content


class Backend:
    """Answers for tasks by asking the server."""

    def __init__(self, settings: BackendSettings, open_client: Callable[[], Client]) -> None:
        """``open_client`` gives a client of the server; one a request."""
        self._settings = settings
        self._open = open_client
        self._pictures = Pictures(settings.pictures, settings.label_studio, settings.token)

    def health(self) -> dict[str, Any]:
        """Whether the server answers; Label Studio itself only wants to hear that we are up."""
        state = {"status": "UP", "model_class": MODEL, "server": self._settings.server}
        try:
            with Client(self._settings.server, timeout_s=_PING_S, retries=0) as client:
                return state | {"model": client.ping()}
        except ServingError as e:
            return state | {"model": None, "detail": f"tasks open empty: {e}"}

    def predict(self, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A prediction for each task; an empty one where its picture cannot be read.

        Raises:
            ServingError: the server does not answer.
        """
        with self._open() as client:
            return [self._predict(client, task) for task in tasks]

    def _predict(self, client: Client, task: dict[str, Any]) -> dict[str, Any]:
        try:
            return prefill(client.predict([self._pictures.find(task)])[0], self._settings.classes)
        except ImageError as e:
            print(f"no answer: {e}", file=sys.stderr, flush=True)
            return {"model_version": MODEL, "score": 0.0, "result": []}

    def ring(self) -> None:
        """Say that there are annotations; what is new is asked for, never taken from a hook."""
        self._settings.bell.parent.mkdir(parents=True, exist_ok=True)
        self._settings.bell.touch()

    def is_known(self, request: Request) -> bool:
        """Whether a request brings the secret: as a hook does, or as Label Studio asks."""
        given = request.headers.get(SECRET_HEADER) or _password(request)
        return secrets.compare_digest(given.encode(), self._settings.secret.encode())


def make_app(settings: BackendSettings) -> Starlette:
    """The web application."""
    backend = Backend(
        settings, lambda: Client(settings.server, timeout_s=_ASK_S, retries=1, total_s=_ASK_S)
    )

    def health(request: Request) -> Response:
        return JSONResponse(backend.health())

    def setup(request: Request) -> Response:
        return JSONResponse({"model_version": MODEL})

    def versions(request: Request) -> Response:
        return JSONResponse({"versions": [MODEL]})

    async def predict(request: Request) -> Response:
        if not backend.is_known(request):
            return _REFUSED
        try:
            tasks = [task for task in (await request.json())["tasks"] if isinstance(task, dict)]
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": "expected an object with tasks"}, 400)
        try:
            return JSONResponse({"results": await run_in_threadpool(backend.predict, tasks)})
        except ServingError as e:
            # Not an empty answer: Label Studio would keep it, and never ask again.
            return JSONResponse({"error": str(e)}, 503)

    def webhook(request: Request) -> Response:
        # The body is not read: it holds the project's token.
        if not backend.is_known(request):
            return _REFUSED
        backend.ring()
        return JSONResponse({})

    return Starlette(
        routes=[
            Route("/", health),
            Route("/health", health),
            Route("/setup", setup, methods=["POST"]),
            Route("/versions", versions),
            Route("/predict", predict, methods=["POST"]),
            Route("/webhook", webhook, methods=["POST"]),
        ],
        # A page in a browser could reach a loopback address by a name of its own.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


_REFUSED = JSONResponse({"error": "the secret is missing or wrong"}, 401)


def _password(request: Request) -> str:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def main(file: Path) -> None:
    """Serve until told to stop."""
    settings = BackendSettings.model_validate_json(file.read_bytes())
    uvicorn.run(
        make_app(settings),
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
