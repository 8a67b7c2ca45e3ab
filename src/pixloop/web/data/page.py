"""The page ``/data``: what models learn from, what was left out, and what is doubtful."""

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.data.dataset import SPLITS
from pixloop.data.findings import BOX_QUARANTINE, QUARANTINE
from pixloop.errors import AnnotationError, DataError
from pixloop.web.data import duplicates as data_duplicates
from pixloop.web.data import overview as data_overview
from pixloop.web.data import quarantine as data_quarantine
from pixloop.web.data.apart import Apart
from pixloop.web.data.augmented import Asked, augment_apart, preprocessing_of
from pixloop.web.data.doubts import PAGE as DOUBTS
from pixloop.web.data.doubts import Trust, ask_people, doubts_on, find_trust
from pixloop.web.data.findings import findings_of
from pixloop.web.data.pictures import (
    COLOURS,
    answer_picture,
    picture_of,
    read_place,
    read_row,
    split_named,
)
from pixloop.web.data.raw import look_at_raw
from pixloop.web.data.shown import Shown, find_shown, lost_run
from pixloop.web.forms import read_fields, read_number
from pixloop.web.paging import turn
from pixloop.web.rendering import render
from pixloop.web.site import Site
from pixloop.web.thumbnails import shrink

#: Pictures of a sample.
SAMPLE = 48
_THUMBNAIL_PX = 160


def routes(site: Site) -> list[Route]:
    """The page, and its parts."""
    pages = _Pages(site)
    return [
        Route("/data", pages.overview),
        Route("/data/fresh", pages.fresh),
        Route("/data/changes", pages.changes),
        Route("/data/samples", pages.samples),
        Route("/data/picture/{split}/{row:int}", pages.picture),
        Route("/data/pictures/{split}/{row:int}", pages.pixels),
        Route("/data/findings", pages.findings),
        Route("/data/quarantine", pages.quarantine),
        Route("/data/quarantine/{line:int}", pages.quarantined),
        Route("/data/duplicates", pages.duplicates),
        Route("/data/labels", pages.labels),
        Route("/data/labels/ask", pages.ask, methods=["POST"]),
        Route("/data/augmentation", pages.augmentation),
        Route("/data/augmentation/part", pages.augmented),
    ]


class _Pages:
    """The views of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        # What a picture may take down is not this process; and nothing waits for torch.
        self._decoder, self._augmenter = Apart(), Apart()

    # ---- overview

    def overview(self, request: Request) -> Response:
        """What the data set holds."""

        def fill(shown: Shown) -> dict[str, Any]:
            query = request.query_params
            find, order = query.get("find", "")[:200], query.get("order", "name")
            page = _number(request, "page", 1)
            table = data_overview.class_table(shown, find, order, page)
            return {
                "find": find,
                "order": order,
                "table": table,
                "pictures": data_overview.pictures_by_split(shown),
                "sizes": self._cached(shown, "sizes", data_overview.size_facts),
                "folder": os.path.relpath(shown.data.folder, self._site.folder),
                "left_out": len(self._lines(shown, QUARANTINE)),
                "link": _linker("/data", {"find": find, "order": order}),
            }

        return self._with_data(request, "overview.html", fill)

    def fresh(self, request: Request) -> Response:
        """Whether another data set is there than the one that an open page shows."""
        try:
            shown = find_shown(self._site)
        except DataError:
            shown = None
        known = request.query_params.get("version", "")[:64]
        changed = shown is not None and shown.version != known
        return render(request, "data/fresh.html", {"changed": changed, "known": known})

    def changes(self, request: Request) -> Response:
        """What differs from the data set before; looked at when the page is open."""
        shown = self._shown()
        found = self._cached(shown, ("changes", shown.before), data_overview.changes_since)
        return render(request, "data/changes.html", {"changes": found})

    # ---- pictures

    def samples(self, request: Request) -> Response:
        """Pictures drawn at random."""

        def fill(shown: Shown) -> dict[str, Any]:
            classes = shown.data.info.classes
            name = request.query_params.get("class", "")
            split = split_named(request.query_params.get("split", ""))
            seed = _number(request, "seed", 0)
            label = classes.index(name) if name in classes else None
            places = shown.catalogue.draw(SAMPLE, seed, split, label)
            chosen = {"class": name if label is not None else "", "split": split or ""}
            return {
                "class_name": chosen["class"],
                "split": chosen["split"],
                "among": len(shown.catalogue.numbers(split, label)),
                "seed": seed,
                "others": _linker("/data/samples", chosen)(seed=seed + 1),
                "pictures": [picture_of(shown, place) for place in places],
            }

        return self._with_data(request, "samples.html", fill)

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

        return self._with_data(request, "picture.html", fill)

    def pixels(self, request: Request) -> Response:
        """A picture's pixels."""
        return answer_picture(request, self._shown())

    # ---- what was found and left out

    def findings(self, request: Request) -> Response:
        """The data report in words."""

        def fill(shown: Shown) -> dict[str, Any]:
            reasons = self._lines(shown, QUARANTINE).counts()
            return {"findings": findings_of(shown), "reasons": reasons}

        return self._with_data(request, "findings.html", fill)

    def quarantine(self, request: Request) -> Response:
        """What was left out, a page at a time."""

        def fill(shown: Shown) -> dict[str, Any]:
            boxes = request.query_params.get("what") == "boxes"
            lines = self._lines(shown, BOX_QUARANTINE if boxes else QUARANTINE)
            reason = request.query_params.get("reason", "")
            reason = reason if reason in lines.reasons else ""
            numbers = lines.of(reason)
            turned = turn(len(numbers), data_quarantine.PAGE, _number(request, "page", 1))
            chosen = {"what": "boxes" if boxes else "", "reason": reason}
            return {
                "boxes": boxes,
                "reason": reason,
                "counts": lines.counts(),
                "all": len(lines),
                "other": len(self._lines(shown, QUARANTINE if boxes else BOX_QUARANTINE)),
                "found": len(numbers),
                "page": turned.number,
                "last": turned.last,
                "lines": lines.read(numbers[turned.start : turned.end].tolist()),
                "seen": lambda line: (
                    not boxes
                    and line["reason"] not in data_quarantine.UNSEEN
                    and data_quarantine.source_file(self._site, line["path"]) is not None
                ),
                "words": data_quarantine.words,
                "link": _linker("/data/quarantine", chosen),
            }

        return self._with_data(request, "quarantine.html", fill)

    def quarantined(self, request: Request) -> Response:
        """A small copy of a picture that was left out, from where it lies."""
        lines, number = self._lines(self._shown(), QUARANTINE), request.path_params["line"]
        if number >= len(lines):
            raise HTTPException(404, "The quarantine has no such line.")
        line = lines.read([number])[0]
        file = data_quarantine.source_file(self._site, line["path"])
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
            exact, exact_count = data_duplicates.exact_groups(shown, self._lines(shown, QUARANTINE))
            trust = find_trust(self._site)
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
                "seen": lambda path: data_quarantine.source_file(self._site, path) is not None,
            }

        return self._with_data(request, "duplicates.html", fill)

    # ---- labels that are likely wrong

    def labels(self, request: Request) -> Response:
        """The list of the last report."""
        page, split = _number(request, "page", 1), request.query_params.get("split", "")
        return self._with_data(
            request, "labels.html", lambda shown: self._doubts(shown, page, split)
        )

    async def ask(self, request: Request) -> Response:
        """Put some, or all, into the review queue."""
        fields = await read_fields(request)

        def work() -> Response:
            trust, shown = find_trust(self._site), self._shown()
            if trust is None:
                raise AnnotationError("There is no report to ask about. 'pixloop run' makes one.")
            wanted = None if "all" in fields else _numbers(fields.get("number", []))
            known = len(trust.review) if wanted is None else len(wanted)
            new = ask_people(self._site, trust, wanted)
            page = read_number((fields.get("page") or ["1"])[-1], 1)
            split = (fields.get("split") or [""])[-1]
            asked = {"new": new, "known": known - new}
            context = self._doubts(shown, page, split) | {"asked": asked, "shown": shown}
            return render(request, "data/labels_part.html", context)

        return await run_in_threadpool(work)

    def _doubts(self, shown: Shown, page: int, split: str) -> dict[str, Any]:
        trust = find_trust(self._site)
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
            "doubts": [] if trust is None else self._shown_doubts(shown, trust, chosen),
            "asked": None,
            "link": _linker("/data/labels", {"split": split}),
        }

    def _shown_doubts(self, shown: Shown, trust: Trust, entries: Any) -> Any:
        return doubts_on(shown, trust, self._site.project.review, entries)

    # ---- augmentation

    def augmentation(self, request: Request) -> Response:
        """A picture beside what training makes of it."""

        def fill(shown: Shown) -> dict[str, Any]:
            seed, split = _number(request, "seed", 0), request.query_params.get("split", "train")
            if "row" in request.query_params:
                place = read_place(shown, split, _number(request, "row", 0))
            else:
                drawn = shown.catalogue.draw(1, seed, "train")
                place = read_place(shown, *drawn[0]) if drawn else read_place(shown, "train", 0)
            fixed = {"split": place.split, "row": str(place.row)}
            every = request.query_params.get("all") == "1"
            return {
                "picture": picture_of(shown, place),
                "seed": seed,
                "every": every,
                "names": self._site.project.config.training.augmentations,
                "another": _linker("/data/augmentation", {"all": "1" if every else ""})(
                    seed=seed + 1
                ),
                "link": _linker("/data/augmentation", fixed),
                "part": _linker("/data/augmentation/part", fixed)(
                    seed=seed, all="1" if every else ""
                ),
            }

        return self._with_data(request, "augmentation.html", fill)

    def augmented(self, request: Request) -> Response:
        """The augmented pictures, which take a while the first time."""
        shown, query = self._shown(), request.query_params
        place = read_place(shown, query.get("split", ""), _number(request, "row", 0))
        config = self._site.project.config
        asked = Asked(
            read_row(shown, place),
            shown.data.info.classes,
            tuple(config.training.augmentations),
            preprocessing_of(shown, config),
            _number(request, "seed", 0),
            query.get("all") == "1",
        )
        made = self._augmenter.call(augment_apart, asked)
        return render(request, "data/augmented.html", {"made": made, "asked": asked})

    # ---- inside

    def _with_data(
        self, request: Request, template: str, fill: Callable[[Shown], Mapping[str, Any]]
    ) -> Response:
        """A page about the data set, or what there is to say where there is none."""
        site, problem = self._site, ""
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

    def _shown(self) -> Shown:
        shown = find_shown(self._site)
        if shown is None:
            raise HTTPException(404, "There is no data set yet. 'pixloop run' prepares one.")
        return shown

    def _lines(self, shown: Shown, name: str) -> data_quarantine.Lines:
        return data_quarantine.quarantine(self._site, shown.data.folder / name)

    def _cached(self, shown: Shown, name: Any, read: Callable[[Shown], Any]) -> Any:
        """What is worked out of a data set once."""
        return self._site.cached.get(("data", name), shown, lambda: read(shown))


def _linker(path: str, chosen: Mapping[str, str]) -> Callable[..., str]:
    """Makes addresses of a page with what was chosen on it, but for what is given."""

    def link(**changed: object) -> str:
        query = {k: v for k, v in {**chosen, **changed}.items() if v not in ("", None)}
        return f"{path}?{urlencode(query)}" if query else path

    return link


def _number(request: Request, name: str, otherwise: int) -> int:
    return read_number(request.query_params.get(name, ""), otherwise)


def _numbers(texts: list[str]) -> set[int]:
    numbers = {read_number(text, 0) for text in texts}
    if not numbers or 0 in numbers:
        raise AnnotationError("Name the pictures by their numbers in the report's list.")
    return numbers


def _split_order(split: str) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)
