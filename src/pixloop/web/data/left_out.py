"""The views ``/data/findings``, ``/data/quarantine`` and ``/data/duplicates``."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.data.findings import BOX_QUARANTINE, QUARANTINE
from pixloop.errors import DataError
from pixloop.web.data import duplicates as data_duplicates
from pixloop.web.data import quarantine as data_quarantine
from pixloop.web.data.apart import Apart
from pixloop.web.data.doubts import find_trust
from pixloop.web.data.findings import findings_of
from pixloop.web.data.shown import Shown
from pixloop.web.data.views import Views, linker, number_of
from pixloop.web.paging import turn
from pixloop.web.site import Site
from pixloop.web.thumbnails import shrink

_THUMBNAIL_PX = 160


def routes(site: Site) -> list[Route]:
    """What was found, and left out."""
    views = _LeftOut(site)
    return [
        Route("/data/findings", views.findings),
        Route("/data/quarantine", views.quarantine),
        Route("/data/quarantine/{line:int}", views.quarantined),
        Route("/data/duplicates", views.duplicates),
    ]


class _LeftOut(Views):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        # What a picture may take down is not this process.
        self._decoder = Apart()

    def findings(self, request: Request) -> Response:
        """The data report in words."""

        def fill(shown: Shown) -> dict[str, Any]:
            reasons = self.lines(shown, QUARANTINE).counts()
            return {"findings": findings_of(shown), "reasons": reasons}

        return self.with_data(request, "findings.html", fill)

    def quarantine(self, request: Request) -> Response:
        """What was left out, a page at a time."""

        def fill(shown: Shown) -> dict[str, Any]:
            boxes = request.query_params.get("what") == "boxes"
            lines = self.lines(shown, BOX_QUARANTINE if boxes else QUARANTINE)
            reason = request.query_params.get("reason", "")
            reason = reason if reason in lines.reasons else ""
            numbers = lines.of(reason)
            turned = turn(len(numbers), data_quarantine.PAGE, number_of(request, "page", 1))
            chosen = {"what": "boxes" if boxes else "", "reason": reason}
            return {
                "boxes": boxes,
                "reason": reason,
                "counts": lines.counts(),
                "all": len(lines),
                "other": len(self.lines(shown, QUARANTINE if boxes else BOX_QUARANTINE)),
                "found": len(numbers),
                "page": turned.number,
                "last": turned.last,
                "lines": lines.read(numbers[turned.start : turned.end].tolist()),
                "seen": lambda line: (
                    not boxes
                    and line["reason"] not in data_quarantine.UNSEEN
                    and data_quarantine.source_file(self.site, line["path"]) is not None
                ),
                "words": data_quarantine.words,
                "link": linker("/data/quarantine", chosen),
            }

        return self.with_data(request, "quarantine.html", fill)

    def quarantined(self, request: Request) -> Response:
        """A small copy of a picture that was left out, from where it lies."""
        lines, number = self.lines(self.shown(), QUARANTINE), request.path_params["line"]
        if number >= len(lines):
            raise HTTPException(404, "The quarantine has no such line.")
        line = lines.read([number])[0]
        file = data_quarantine.source_file(self.site, line["path"])
        if file is None or line["reason"] in data_quarantine.UNSEEN:
            raise HTTPException(404, "There is no picture to show.")
        try:
            content, kind = self._decoder.call(shrink, file.read_bytes(), _THUMBNAIL_PX)
        except (DataError, OSError) as e:
            raise HTTPException(404, "This picture cannot be read.") from e
        return Response(content, media_type=kind)

    def duplicates(self, request: Request) -> Response:
        """Pictures that are the same one."""

        def fill(shown: Shown) -> dict[str, Any]:
            near, near_count = data_duplicates.near_groups(shown)
            exact, exact_count = data_duplicates.exact_groups(shown, self.lines(shown, QUARANTINE))
            trust = find_trust(self.site)
            said: Mapping[str, Any] = {} if trust is None else trust.said
            return {
                "near": near,
                "near_count": near_count,
                "exact": exact,
                "exact_count": exact_count,
                "trust": trust,
                "leaks": data_duplicates.twin_pairs(shown, said, "leaks"),
                "twins": data_duplicates.twin_pairs(shown, said, "duplicates"),
                "splits_of": data_duplicates.splits_of,
                "seen": lambda path: data_quarantine.source_file(self.site, path) is not None,
            }

        return self.with_data(request, "duplicates.html", fill)
