"""Templates to answers. Everything that is put into a template is escaped."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pixloop import __version__
from pixloop.watching.status import duration
from pixloop.web.site import Site

STATIC = Path(__file__).with_name("static")

#: The pages, in the order of the menu: path, name, the key that follows ``g``.
PAGES = (
    ("/", "Loop", "l"),
    ("/try", "Try", "t"),
    ("/models", "Models", "m"),
    ("/runs", "Runs", "r"),
    ("/monitoring", "Monitoring", "o"),
    ("/review", "Review", "v"),
    ("/data", "Data", "d"),
)


def render(
    request: Request, template: str, context: Mapping[str, Any] | None = None, status: int = 200
) -> HTMLResponse:
    """A template as an answer.

    A whole page extends ``base.html``; a fragment, which htmx puts into a page, does not.

    Args:
        request: for its path, which the menu marks.
        template: below ``templates/``.
        context: what it is filled with; ``site``, ``project_name``, ``pages``, ``path``, ``csrf``,
            ``began`` and ``version`` are there already.
        status: of the answer.
    """
    site: Site = request.app.state.site
    filled = {
        "site": site,
        "project_name": site.project.config.name
        if context is None or "project_name" not in context
        else context["project_name"],
        "pages": PAGES,
        "path": request.url.path,
        "csrf": site.csrf,
        "began": request.state.began,
        "version": __version__,
        **(context or {}),
    }
    return HTMLResponse(environment().get_template(template).render(filled), status)


@cache
def environment() -> Environment:
    """The templates, and the filters that say numbers and times as people do."""
    made = Environment(
        loader=PackageLoader("pixloop.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static_address
    made.filters.update(
        percent=percent, count=count, moment=moment, ago=ago, duration=duration, size=size
    )
    return made


@cache
def static_address(name: str) -> str:
    """The address of a file below ``static/``, which changes with its content.

    >>> static_address("app.css").startswith("/static/app.css?v=")
    True
    """
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


def percent(share: float | None, digits: int = 1) -> str:
    r"""A share as people read it.

    >>> percent(0.9734), percent(None)
    ('97.3\xa0%', '–')
    """
    return "–" if share is None else f"{share:.{digits}%}".replace("%", "\xa0%")


def count(number: float) -> str:
    r"""A number with thin spaces.

    >>> count(100000)
    '100\u202f000'
    """
    return f"{number:,.0f}".replace(",", "\u202f")


def moment(at: datetime | str) -> str:
    """A time, in UTC.

    >>> moment("2026-03-01T12:30:00+00:00")
    '2026-03-01 12:30 UTC'
    """
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(at: datetime | str, now: datetime | None = None) -> str:
    """How long ago a time was.

    >>> ago("2026-03-01T12:30:00+00:00", datetime(2026, 3, 1, 12, 40, tzinfo=UTC))
    '10 min ago'
    """
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    seconds = ((now or datetime.now(UTC)) - found).total_seconds()
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def size(number: float) -> str:
    """Bytes as people read them.

    >>> size(25_000_000), size(900)
    ('25 MB', '900 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f}\xa0{unit}".replace("\xa0", " ")
        number /= 1000
    raise AssertionError
