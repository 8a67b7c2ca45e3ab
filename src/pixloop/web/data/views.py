"""What all views of the data set share."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pixloop.data.dataset import SPLITS
from pixloop.errors import DataError
from pixloop.web.data.pictures import COLOURS
from pixloop.web.data.quarantine import Lines, quarantine
from pixloop.web.data.raw import look_at_raw
from pixloop.web.data.shown import Shown, find_shown, lost_run
from pixloop.web.forms import read_number
from pixloop.web.rendering import render
from pixloop.web.site import Site


class Views:
    """Views of one site's data set."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def with_data(
        self, request: Request, template: str, fill: Callable[[Shown], Mapping[str, Any]]
    ) -> Response:
        """A page about the data set, or what there is to say where there is none."""
        site, problem = self.site, ""
        try:
            shown = find_shown(site)
        except DataError as e:
            shown, problem = None, str(e)
        lost = lost_run(site)
        if shown is None:
            raw = None if problem else look_at_raw(site)
            context = {"problem": problem, "lost": lost, "raw": raw, "config": site.project.config}
            return render(request, "data/none.html", context)
        base = {"shown": shown, "lost": lost, "tab": template.partition(".")[0], "splits": SPLITS}
        return render(request, f"data/{template}", {**base, "colours": COLOURS, **fill(shown)})

    def shown(self) -> Shown:
        """The data set.

        Raises:
            HTTPException: 404, there is none yet.
        """
        shown = find_shown(self.site)
        if shown is None:
            raise HTTPException(404, "There is no data set yet. 'pixloop run' prepares one.")
        return shown

    def lines(self, shown: Shown, name: str) -> Lines:
        """The lines of a quarantine file of a data set."""
        return quarantine(self.site, shown.data.folder / name)

    def cached(self, shown: Shown, name: Any, read: Callable[[Shown], Any]) -> Any:
        """What is worked out of a data set once."""
        return self.site.cached.get(("data", name), shown, lambda: read(shown))


def linker(path: str, chosen: Mapping[str, str]) -> Callable[..., str]:
    """Makes addresses of a page with what was chosen on it, but for what is given."""

    def link(**changed: object) -> str:
        query = {k: v for k, v in {**chosen, **changed}.items() if v not in ("", None)}
        return f"{path}?{urlencode(query)}" if query else path

    return link


def number_of(request: Request, name: str, otherwise: int) -> int:
    """A number of the address's query."""
    return read_number(request.query_params.get(name, ""), otherwise)
