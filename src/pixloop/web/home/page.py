"""The page ``/``: the whole loop at one look, and what to do next.

The page itself waits for nothing: what must be asked of the registry comes with the first part.
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.errors import ConfigError, PipelineError
from pixloop.web.home.loop import Loop, read_loop, read_trail
from pixloop.web.home.rooms import rooms
from pixloop.web.home.timeline import chains
from pixloop.web.home.verdict import Verdict, judge
from pixloop.web.home.watch import LOCK, holder_of, read_watch
from pixloop.web.rendering import render
from pixloop.web.site import Site

Endpoint = Callable[[Request], Response]

#: Chains that are shown.
_SHOWN = 12


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""

    def page(request: Request) -> Response:
        try:
            loop = read_loop(site, patient=False)
        except ConfigError as e:
            return render(request, "home/page.html", _broken(site, e))
        context = {**_around(site), **_middle(loop), "whole": True, "project_name": _name(site)}
        return render(request, "home/page.html", context)

    def verdict(request: Request) -> Response:
        try:
            answer = render(request, "home/verdict.html", _middle(read_loop(site, patient=True)))
        except ConfigError as e:
            return render(request, "home/verdict.html", _broken(site, e))
        if "mended" in request.query_params:  # a page without rooms asks
            answer.headers["HX-Refresh"] = "true"
        return answer

    def part(template: str, context: Callable[[], dict[str, Any]]) -> Endpoint:
        def answer(request: Request) -> Response:
            try:
                return render(request, template, context())
            except ConfigError:
                return Response(status_code=204)  # the verdict says it

        return answer

    def start(request: Request) -> Response:
        if holder_of(site.state / "watch" / LOCK):
            raise PipelineError("A watch of this project is at work already.")
        site.jobs.start("watch", ["watch"], "started on the page of the loop")
        return render(request, "home/watch.html", _around(site))

    def stop(request: Request) -> Response:
        for job in site.jobs.running("watch"):
            site.jobs.stop(job)
        return render(request, "home/watch.html", _around(site))

    return [
        Route("/", page),
        Route("/loop/verdict", verdict),
        Route("/loop/rooms", part("home/rooms.html", lambda: _middle(read_loop(site, True)))),
        Route("/loop/timeline", part("home/timeline.html", lambda: _around(site))),
        Route("/loop/watch", part("home/watch.html", lambda: _around(site))),
        Route("/loop/watch/start", start, methods=["POST"]),
        Route("/loop/watch/stop", stop, methods=["POST"]),
    ]


def _middle(loop: Loop) -> dict[str, Any]:
    return {"loop": loop, "verdict": judge(loop), "rooms": rooms(loop)}


def _around(site: Site) -> dict[str, Any]:
    events, runs = read_trail(site)
    return {"watch": read_watch(site), "chains": chains(events, runs, _SHOWN)}


def _broken(site: Site, error: ConfigError) -> dict[str, Any]:
    """What is shown while pixloop.yaml is wrong: nothing but that."""
    verdict = Verdict("bad", "pixloop.yaml is wrong", f"{error} Mended, the loop is shown again.")
    return {"verdict": verdict, "project_name": site.folder.name, "whole": False}


def _name(site: Site) -> str:
    return site.project.config.name
