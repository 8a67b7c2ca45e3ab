"""The page ``/``."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.web.rendering import render
from pixloop.web.site import Site


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""

    def page(request: Request) -> Response:
        return render(request, "home/page.html")

    return [Route("/", page)]
