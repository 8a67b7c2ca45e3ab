"""The card of the server on this machine: how it does, starting it, stopping it."""

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.web.endpoint import read_endpoint, start_server, stop_server
from pixloop.web.forms import read_form
from pixloop.web.rendering import render
from pixloop.web.site import Site

_LOG_BYTES = 16_000


def routes(site: Site) -> list[Route]:
    """``/models/endpoint``, and what it can be told."""

    def card(request: Request) -> Response:
        return render(
            request,
            "models/endpoint.html",
            {
                "endpoint": read_endpoint(site),
                "startable": any(each.status != "rejected" for each in site.versions()),
                "last": site.jobs.last("serve"),
            },
        )

    def log(request: Request) -> Response:
        job = site.jobs.last("serve")
        text = site.jobs.log(job, _LOG_BYTES) if job else ""
        return render(request, "models/endpoint_log.html", {"log": text})

    def start(request: Request) -> Response:
        start_server(site)
        return told("The server is starting.", "pixloop:jobs")

    async def stop(request: Request) -> Response:
        form = await read_form(request)
        await run_in_threadpool(stop_server, site, form.get("job", ""))
        return told("The server answers what it has begun, and stops.", "pixloop:jobs")

    return [
        Route("/models/endpoint", card),
        Route("/models/endpoint/log", log),
        Route("/models/endpoint/start", start, methods=["POST"]),
        Route("/models/endpoint/stop", stop, methods=["POST"]),
    ]


def told(words: str, *changed: str) -> Response:
    """Nothing to show, but to say; the parts of the page that hear of changes ask anew."""
    heard = {"pixloop:told": words, **dict.fromkeys(changed, "")}
    return Response(status_code=204, headers={"HX-Trigger": json.dumps(heard)})
