"""The page ``/data``: what models learn from, what was left out, and what is doubtful."""

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.data.findings import QUARANTINE
from pixloop.errors import DataError
from pixloop.web.data import augmentation as data_augmentation
from pixloop.web.data import labels as data_labels
from pixloop.web.data import left_out as data_left_out
from pixloop.web.data import overview as data_overview
from pixloop.web.data.pictures import answer_picture, picture_of, read_place, read_row, split_named
from pixloop.web.data.shown import Shown, find_shown
from pixloop.web.data.views import Views, linker, number_of
from pixloop.web.rendering import render
from pixloop.web.site import Site

#: Pictures of a sample.
SAMPLE = 48


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""
    views = _Overview(site)
    return [
        Route("/data", views.overview),
        Route("/data/fresh", views.fresh),
        Route("/data/changes", views.changes),
        Route("/data/samples", views.samples),
        Route("/data/picture/{split}/{row:int}", views.picture),
        Route("/data/pictures/{split}/{row:int}", views.pixels),
        *data_left_out.routes(site),
        *data_labels.routes(site),
        *data_augmentation.routes(site),
    ]


class _Overview(Views):
    def overview(self, request: Request) -> Response:
        """What the data set holds."""

        def fill(shown: Shown) -> dict[str, Any]:
            query = request.query_params
            find, order = query.get("find", "")[:200], query.get("order", "name")
            page = number_of(request, "page", 1)
            table = data_overview.class_table(shown, find, order, page)
            return {
                "find": find,
                "order": order,
                "table": table,
                "pictures": data_overview.pictures_by_split(shown),
                "sizes": self.cached(shown, "sizes", data_overview.size_facts),
                "folder": os.path.relpath(shown.data.folder, self.site.folder),
                "left_out": len(self.lines(shown, QUARANTINE)),
                "link": linker("/data", {"find": find, "order": order}),
            }

        return self.with_data(request, "overview.html", fill)

    def fresh(self, request: Request) -> Response:
        """Whether another data set is there than the one that an open page shows."""
        try:
            shown = find_shown(self.site)
        except DataError:
            shown = None
        known = request.query_params.get("version", "")[:64]
        changed = shown is not None and shown.version != known
        return render(request, "data/fresh.html", {"changed": changed, "known": known})

    def changes(self, request: Request) -> Response:
        """What differs from the data set before; looked at when the page is open."""
        shown = self.shown()
        found = self.cached(shown, ("changes", shown.before), data_overview.changes_since)
        return render(request, "data/changes.html", {"changes": found})

    def samples(self, request: Request) -> Response:
        """Pictures drawn at random."""

        def fill(shown: Shown) -> dict[str, Any]:
            classes = shown.data.info.classes
            name = request.query_params.get("class", "")
            split = split_named(request.query_params.get("split", ""))
            seed = number_of(request, "seed", 0)
            label = classes.index(name) if name in classes else None
            places = shown.catalogue.draw(SAMPLE, seed, split, label)
            chosen = {"class": name if label is not None else "", "split": split or ""}
            return {
                "class_name": chosen["class"],
                "split": chosen["split"],
                "among": len(shown.catalogue.numbers(split, label)),
                "seed": seed,
                "others": linker("/data/samples", chosen)(seed=seed + 1),
                "pictures": [picture_of(shown, place) for place in places],
            }

        return self.with_data(request, "samples.html", fill)

    def picture(self, request: Request) -> Response:
        """One picture, large, with all that is known of it."""

        def fill(shown: Shown) -> dict[str, Any]:
            params = request.path_params
            place = read_place(shown, params["split"], params["row"])
            rows = shown.catalogue.count(place.split)
            return {
                "picture": picture_of(shown, place),
                "bytes": len(read_row(shown, place).image),
                "source": shown.catalogue.source(place),
                "previous": place.row - 1 if place.row else None,
                "next": place.row + 1 if place.row + 1 < rows else None,
            }

        return self.with_data(request, "picture.html", fill)

    def pixels(self, request: Request) -> Response:
        """A picture's pixels."""
        return answer_picture(request, self.shown())
