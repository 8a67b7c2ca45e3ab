"""What the page starts: choosing what is asked next, looking for more, and the exchange."""

import threading
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.errors import AnnotationError, ConfigError, PixloopError
from pixloop.web.forms import read_form, read_number
from pixloop.web.jobs import JobKind
from pixloop.web.rendering import render
from pixloop.web.site import Site

#: More are not asked at a time: what people answer changes what is worth asking.
MOST_ASKED = 1000
#: So long is believed what Label Studio said.
_STUDIO_S = 10.0
_KINDS: dict[JobKind, str] = {
    "collect": "Look for pictures",
    "annotate": "Exchange with Label Studio",
}


def routes(site: Site) -> list[Route]:
    """What is posted, and the parts that show how far it is."""
    choosing = threading.Lock()

    def choose(budget: int) -> int:
        if not choosing.acquire(blocking=False):
            raise AnnotationError("the next pictures are being chosen already.")
        try:
            share = site.project.config.review.random_share
            return len(site.project.review.choose(budget, share))
        finally:
            choosing.release()

    async def ask_next(request: Request) -> Response:
        budget = _read_budget((await read_form(request)).get("budget", ""))
        number = await run_in_threadpool(choose, budget)
        return await run_in_threadpool(_say, request, _words(number))

    def collect(request: Request) -> Response:
        site.jobs.start("collect", ["review", "collect"], "Look for pictures worth asking")
        return _work(request, site)

    def exchange(request: Request) -> Response:
        if not site.project.label_studio.is_connected:
            raise AnnotationError("Label Studio does not run. 'pixloop annotate up' starts it.")
        site.jobs.start("annotate", ["annotate", "sync"], "Exchange with Label Studio")
        return _work(request, site)

    def stop(request: Request) -> Response:
        for kind in _KINDS:
            for job in site.jobs.running(kind):
                if job.id == request.path_params["job"]:
                    site.jobs.stop(job)
        return _work(request, site)

    def work(request: Request) -> Response:
        return _work(request, site)

    def studio(request: Request) -> Response:
        return render(request, "review/studio.html", {"studio": _studio(site)})

    return [
        Route("/review/next", ask_next, methods=["POST"]),
        Route("/review/collect", collect, methods=["POST"]),
        Route("/review/exchange", exchange, methods=["POST"]),
        Route("/review/work/{job}/stop", stop, methods=["POST"]),
        Route("/review/work", work),
        Route("/review/studio", studio),
    ]


def _read_budget(text: str) -> int:
    budget = read_number(text, 0)
    if not 1 <= budget <= MOST_ASKED:
        raise ConfigError(f"expected a number from 1 to {MOST_ASKED}, how many are asked.")
    return budget


def _words(number: int) -> str:
    if number == 0:
        return "Nothing waits that could be asked. Look for pictures first."
    return f"{number} {'is' if number == 1 else 'are'} asked."


def _say(request: Request, text: str) -> Response:
    return render(request, "review/said.html", {"text": text})


def _work(request: Request, site: Site) -> Response:
    """The last job of each kind: at work, or how it ended."""
    found = []
    for kind, name in _KINDS.items():
        for job in site.jobs.list(kind)[:1]:
            log = site.jobs.log(job)
            about = {"name": name, "job": job, "status": site.jobs.status(job)}
            found.append(about | {"log": log, "last": _last_words(log)})
    return render(request, "review/work.html", {"work": found})


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " ".join(lines[:6]) if len(lines) <= 6 else lines[-1]


def _studio(site: Site) -> dict[str, str]:
    """Where Label Studio is; ``url`` is empty where none runs, ``note`` says what is wrong."""
    studio = site.project.label_studio
    if not studio.is_connected:
        return {"url": "", "note": "", "email": "", "password_file": ""}
    try:
        status = site.cached.get("review studio", int(time.monotonic() / _STUDIO_S), studio.status)
    except PixloopError as e:
        return {"url": "", "note": str(e), "email": "", "password_file": ""}
    url = status.project_url or status.url or ""
    return {
        "url": url if url.startswith(("http://", "https://")) else "",
        "note": status.note,
        "email": status.email or "",
        "password_file": str(status.password_file or ""),
    }
