"""The view ``/data/labels``: labels that are likely wrong, and asking people about them."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.data.dataset import SPLITS
from pixloop.errors import AnnotationError
from pixloop.web.data.doubts import PAGE as DOUBTS
from pixloop.web.data.doubts import ask_people, doubts_on, find_trust
from pixloop.web.data.shown import Shown
from pixloop.web.data.views import Views, linker, number_of
from pixloop.web.forms import read_fields, read_number
from pixloop.web.paging import turn
from pixloop.web.rendering import render
from pixloop.web.site import Site


def routes(site: Site) -> list[Route]:
    """The list, and what is asked."""
    views = _Labels(site)
    return [
        Route("/data/labels", views.labels),
        Route("/data/labels/ask", views.ask, methods=["POST"]),
    ]


class _Labels(Views):
    def labels(self, request: Request) -> Response:
        """The list of the last report."""
        page, split = number_of(request, "page", 1), request.query_params.get("split", "")
        return self.with_data(
            request, "labels.html", lambda shown: self._doubts(shown, page, split)
        )

    async def ask(self, request: Request) -> Response:
        """Put some, or all, into the review queue."""
        fields = await read_fields(request)

        def work() -> Response:
            trust, shown = find_trust(self.site), self.shown()
            if trust is None:
                raise AnnotationError("There is no report to ask about. 'pixloop run' makes one.")
            wanted = None if "all" in fields else _numbers(fields.get("number", []))
            known = len(trust.review) if wanted is None else len(wanted)
            new = ask_people(self.site, trust, wanted)
            page = read_number((fields.get("page") or ["1"])[-1], 1)
            split = (fields.get("split") or [""])[-1]
            asked = {"new": new, "known": known - new}
            context = self._doubts(shown, page, split) | {"asked": asked, "shown": shown}
            return render(request, "data/labels_part.html", context)

        return await run_in_threadpool(work)

    def _doubts(self, shown: Shown, page: int, split: str) -> dict[str, Any]:
        trust = find_trust(self.site)
        said = () if trust is None else trust.review
        splits = sorted({entry["split"] for entry in said}, key=_split_order)
        split = split if split in splits else ""
        entries = [entry for entry in said if split in ("", entry["split"])]
        turned = turn(len(entries), DOUBTS, page)
        chosen = entries[turned.start : turned.end]
        return {
            "trust": trust,
            "splits": splits,
            "split": split,
            "found": len(entries),
            "all": len(said),
            "page": turned.number,
            "last": turned.last,
            "doubts": []
            if trust is None
            else doubts_on(shown, trust, self.site.project.review, chosen),
            "asked": None,
            "link": linker("/data/labels", {"split": split}),
        }


def _numbers(texts: list[str]) -> set[int]:
    numbers = {read_number(text, 0) for text in texts}
    if not numbers or 0 in numbers:
        raise AnnotationError("Name the pictures by their numbers in the report's list.")
    return numbers


def _split_order(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)
