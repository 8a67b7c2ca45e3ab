"""The view ``/data/augmentation``: a picture beside what training makes of it."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.web.data.apart import Apart
from pixloop.web.data.augmented import Asked, augment_apart, preprocessing_of
from pixloop.web.data.pictures import picture_of, read_place, read_row
from pixloop.web.data.shown import Shown
from pixloop.web.data.views import Views, linker, number_of
from pixloop.web.rendering import render
from pixloop.web.site import Site


def routes(site: Site) -> list[Route]:
    """The view, and the part that takes its time."""
    views = _Augmentation(site)
    return [
        Route("/data/augmentation", views.augmentation),
        Route("/data/augmentation/part", views.augmented),
    ]


class _Augmentation(Views):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        # Nothing waits for torch here.
        self._augmenter = Apart()

    def augmentation(self, request: Request) -> Response:
        """A picture beside what training makes of it."""

        def fill(shown: Shown) -> dict[str, Any]:
            seed, split = number_of(request, "seed", 0), request.query_params.get("split", "train")
            if "row" in request.query_params:
                place = read_place(shown, split, number_of(request, "row", 0))
            else:
                drawn = shown.catalogue.draw(1, seed, "train")
                place = read_place(shown, *drawn[0]) if drawn else read_place(shown, "train", 0)
            fixed = {"split": place.split, "row": str(place.row)}
            every = request.query_params.get("all") == "1"
            return {
                "picture": picture_of(shown, place),
                "seed": seed,
                "every": every,
                "names": self.site.project.config.training.augmentations,
                "another": linker("/data/augmentation", {"all": "1" if every else ""})(
                    seed=seed + 1
                ),
                "link": linker("/data/augmentation", fixed),
                "part": linker("/data/augmentation/part", fixed)(
                    seed=seed, all="1" if every else ""
                ),
            }

        return self.with_data(request, "augmentation.html", fill)

    def augmented(self, request: Request) -> Response:
        """The augmented pictures, which take a while the first time."""
        shown, query = self.shown(), request.query_params
        place = read_place(shown, query.get("split", ""), number_of(request, "row", 0))
        config = self.site.project.config
        asked = Asked(
            read_row(shown, place),
            shown.data.info.classes,
            tuple(config.training.augmentations),
            preprocessing_of(shown, config),
            number_of(request, "seed", 0),
            query.get("all") == "1",
        )
        made = self._augmenter.call(augment_apart, asked)
        return render(request, "data/augmented.html", {"made": made, "asked": asked})
