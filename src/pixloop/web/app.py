"""The pages as one application: a module a page, each of which gives its routes."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pixloop.errors import ConfigError, PixloopError
from pixloop.web import live
from pixloop.web.data import page as data
from pixloop.web.guard import Guard, TooLarge
from pixloop.web.home import page as home
from pixloop.web.models import page as models
from pixloop.web.monitoring import page as monitoring
from pixloop.web.rendering import STATIC, render
from pixloop.web.review import page as review
from pixloop.web.runs import page as runs
from pixloop.web.site import Site
from pixloop.web.tryout import page as tryout

#: By what names this machine asks itself.
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
#: A form, an answer of a thousand boxes, several pictures at the server's own limit.
_ROOM_BYTES = 1_000_000
_PICTURES = 4
_STANDARD = {status.value for status in HTTPStatus}


def make_app(site: Site, hosts: Iterable[str] | None = LOCAL_NAMES) -> ASGIApp:
    """The application of a project's pages.

    Args:
        site: the project.
        hosts: names by which it may be asked; None for any, which needs a token.
    """
    changes = live.Changes(site)
    pages = Starlette(
        routes=[
            *_page_routes(site),
            *live.routes(changes),
            Mount("/static", _Static(directory=STATIC)),
        ],
        exception_handlers={
            PixloopError: _answer_error,
            HTTPException: _answer_http_exception,
            TooLarge: _answer_too_large,
            Exception: _answer_failure,
        },
    )
    pages.state.site = site
    most = _PICTURES * site.project.config.serving.max_body_bytes + _ROOM_BYTES
    return Guard(live.Dated(pages, changes), site.csrf, hosts, site.token, most)


def _page_routes(site: Site) -> list[BaseRoute]:
    rooms = (home, tryout, models, runs, monitoring, review, data)
    return [route for room in rooms for route in room.routes(site)]


class _Static(StaticFiles):
    """Files whose address changes with their content, so that they may be kept for ever."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


async def _answer_error(request: Request, error: Exception) -> Response:
    """What a page cannot do is said where it was asked: in the page, or in a part of it."""
    status = 422 if isinstance(error, ConfigError) else 409
    return _problem(request, status, "That did not work", str(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: "There is no such page", 405: "That cannot be asked so"}
    detail = error.detail if isinstance(error, HTTPException) else ""
    if status in _STANDARD and detail == HTTPStatus(status).phrase:
        detail = ""  # nobody has said more than the title does
    return _problem(request, status, words.get(status, "That did not work"), detail)


async def _answer_too_large(request: Request, error: Exception) -> Response:
    return _problem(request, 413, "That is too large", "Send fewer or smaller pictures.")


async def _answer_failure(request: Request, error: Exception) -> Response:
    # uvicorn's log has the rest.
    return _problem(request, 500, "The server failed on this", "Its log in the terminal says how.")


def _problem(request: Request, status: int, title: str, detail: str) -> Response:
    fragment = request.headers.get("hx-request") == "true"
    template = "problem_part.html" if fragment else "problem.html"
    context = {"title": title, "detail": detail, "mend": False}
    try:
        return render(request, template, context, status)
    except ConfigError as e:  # pixloop.yaml is what is wrong
        named = {"project_name": request.app.state.site.folder.name, "mend": detail == str(e)}
        return render(request, template, {**context, **named}, status)
