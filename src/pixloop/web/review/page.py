"""The page ``/review``: a gallery of what is asked, waits and was answered, and what can be done.

Labelling is ``labelling``, the pictures are ``pictures``, and what takes its time is ``work``.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pixloop.annotation.items import STATUSES, Item, ReasonKind, Status
from pixloop.annotation.queue_pages import count_reasons, read_page
from pixloop.web.cached import stamp
from pixloop.web.forms import read_number
from pixloop.web.paging import turn
from pixloop.web.rendering import render
from pixloop.web.review import labelling as review_labelling
from pixloop.web.review import pictures as review_pictures
from pixloop.web.review import work as review_work
from pixloop.web.review.answers import KnownAnswers, learned_until
from pixloop.web.review.items import WHY, asked_model, picture_on_card
from pixloop.web.site import Site

#: Pictures of a page of the gallery.
PAGE = 48
#: What the tabs are called, in the order in which they stand.
_TABS: dict[Status, str] = {
    "asked": "Asked",
    "waiting": "Waiting",
    "answered": "Answered",
    "skipped": "Skipped",
}


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""
    answers = KnownAnswers(site.project.annotations.folder)

    def page(request: Request) -> Response:
        picture = request.query_params.get("picture")
        if picture is not None:
            return RedirectResponse(f"/review/label?{urlencode({'picture': picture})}", 303)
        found = {**_summary(site, answers), **_gallery(site, answers, _view(site, request))}
        return render(request, "review/page.html", found)

    def summary(request: Request) -> Response:
        return render(request, "review/summary.html", _summary(site, answers))

    def gallery(request: Request) -> Response:
        view = _view(site, request)
        return render(request, "review/gallery.html", _gallery(site, answers, view))

    return [
        Route("/review", page),
        Route("/review/summary", summary),
        Route("/review/gallery", gallery),
        *review_labelling.routes(site, answers),
        *review_pictures.routes(site),
        *review_work.routes(site),
    ]


@dataclass(frozen=True, slots=True)
class _View:
    """What of the queue is looked at.

    Attributes:
        status: the tab.
        why: the kind of a reason, or None for all.
        page: from 1.
    """

    status: Status
    why: ReasonKind | None
    page: int

    def query(self, **changes: object) -> str:
        """Of the address that shows it."""
        asked = {"show": self.status, "why": self.why, "page": self.page, **changes}
        return urlencode({name: value for name, value in asked.items() if value not in (None, 1)})


def _view(site: Site, request: Request) -> _View:
    """What the address names; what it names wrongly counts as not named."""
    asked = request.query_params
    shown = next((each for each in STATUSES if each == asked.get("show")), None)
    why = next((each for each in WHY if each == asked.get("why")), None)
    return _View(shown or _first_tab(site), why, read_number(asked.get("page", ""), 1))


def _first_tab(site: Site) -> Status:
    """The first in which there is something."""
    counts = site.project.review.counts()
    return next((status for status in _TABS if counts[status]), "asked")


def _gallery(site: Site, answers: KnownAnswers, view: _View) -> dict[str, Any]:
    queue = site.project.review
    counts, reasons = queue.counts(), _reasons(site, view.status)
    total = counts[view.status] if view.why is None else reasons.get(view.why, 0)
    turned = turn(total, PAGE, view.page)
    view = _View(view.status, view.why, turned.number)
    items: list[Item] = queue.read(
        lambda db: read_page(db, view.status, view.why, PAGE, turned.start), []
    )
    model = asked_model(site)
    return {
        "view": view,
        "tabs": _TABS,
        "why_words": WHY,
        "counts": counts,
        "reasons": reasons,
        "total": total,
        "last_page": turned.last,
        "cards": [picture_on_card(item, model, answers.of(item.sha256)) for item in items],
    }


def _summary(site: Site, answers: KnownAnswers) -> dict[str, Any]:
    config = site.project.config
    counts = site.project.review.counts()
    return {
        "counts": counts,
        "model": asked_model(site),
        "settings": config.review,
        "suggested": min(config.review.budget, max(1, counts["waiting"]), review_work.MOST_ASKED),
        "most": review_work.MOST_ASKED,
        "unlearned": answers.count_since(learned_until(site.runs())),
        "triggers": config.triggers,
    }


def _reasons(site: Site, status: Status) -> dict[ReasonKind, int]:
    """Counting the reasons of a long queue takes a tenth of a second: once a change."""
    queue = site.project.review
    seen = stamp(queue.folder / "review.db")

    def count() -> dict[ReasonKind, int]:
        return queue.read(lambda db: count_reasons(db, status), {})

    return site.cached.get(("review reasons", status), seen, count)
