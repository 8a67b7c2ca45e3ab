"""Labels that are likely wrong, as the last report lists them, and what people were asked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixloop.annotation.items import Status
from pixloop.annotation.queue import ReviewQueue
from pixloop.data.dataset import Dataset
from pixloop.errors import AnnotationError
from pixloop.pipeline.runs import RunRecord
from pixloop.run_summary import EVALUATION, output_of
from pixloop.web.cached import stamp
from pixloop.web.data.pictures import Box, Picture, box_at, picture_of
from pixloop.web.data.shown import Shown
from pixloop.web.runs.telling import version_of
from pixloop.web.site import Site

#: Pictures a page.
PAGE = 24
#: What a model is less sure of is not drawn.
_FOUND = 0.5


@dataclass(frozen=True, slots=True)
class Trust:
    """What a report says of the data; ``run`` made it."""

    run: RunRecord
    said: Mapping[str, Any]

    @property
    def review(self) -> Sequence[Mapping[str, Any]]:
        """Its list of pictures that are worth a look."""
        found: Sequence[Mapping[str, Any]] = self.said.get("review", [])
        return found


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture whose label, or boxes, are worth a look.

    Attributes:
        number: in the report's list.
        detail: why, in words.
        split: where it is.
        path: its name.
        label: the class that was given.
        likely: the class that it probably is.
        sure: how sure that is, 0 to 1.
        picture: None where the data set that is shown has it no more.
        found: in detection, what the model finds.
        status: how far people are with it; None where they were not asked.
    """

    number: int
    detail: str
    split: str
    path: str
    label: str
    likely: str
    sure: float
    picture: Picture | None
    found: tuple[Box, ...]
    status: Status | None


def find_trust(site: Site) -> Trust | None:
    """What the last report that looked through the data says of it."""
    for run in site.runs():
        file = output_of(run, "Evaluate", "evaluation") / EVALUATION
        seen = stamp(file)
        if seen[0] is None:
            continue
        said = site.cached.get(("trust", run.id), seen, lambda file=file: _read(file))  # type: ignore[misc]
        if said is not None:
            return Trust(run, said)
    return None


def doubts_on(
    shown: Shown, trust: Trust, queue: ReviewQueue, entries: Sequence[Mapping[str, Any]]
) -> list[Doubt]:
    """Entries of a report's list, as they are shown."""
    places = shown.catalogue.find_hashes([entry["sha256"] for entry in entries])
    classes = shown.data.info.classes
    return [
        Doubt(
            number=int(entry["number"]),
            detail=str(entry["detail"]),
            split=str(entry["split"]),
            path=str(entry["path"]),
            label=str(entry["label"]),
            likely=str(entry["likely"]),
            sure=float(entry["weight"]),
            picture=picture_of(shown, places[entry["sha256"]])
            if entry["sha256"] in places
            else None,
            found=_found(entry["answer"], classes),
            status=_status(queue, str(entry["sha256"])),
        )
        for entry in entries
    ]


def ask_people(site: Site, trust: Trust, numbers: set[int] | None) -> int:
    """Put pictures of a report's list into the review queue; how many wait that did not before.

    Raises:
        AnnotationError: the list has no such number, or the data set no such picture.
        DataError: the data set of the report is gone.
    """
    # It brings scipy and the predictors along, which take two seconds.
    from pixloop.annotation.reported import find_reported

    config = site.project.config
    data = Dataset.open(output_of(trust.run, "Prepare", "dataset"))
    version = version_of(trust.run) or trust.run.id
    model = f"{config.registry.model or config.name}:{version}"
    return site.project.review.offer(find_reported(trust.said, data, model, numbers))


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["pixloop"].get("trust")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return said if isinstance(said, dict) else None


def _status(queue: ReviewQueue, sha256: str) -> Status | None:
    try:
        return queue.get(sha256).status
    except AnnotationError:
        return None


def _found(answer: Mapping[str, Any], classes: Sequence[str]) -> tuple[Box, ...]:
    numbers = {name: number for number, name in enumerate(classes)}
    return tuple(
        box_at(box["xyxy"], numbers[box["label"]], classes)
        for box in answer.get("boxes", ())
        if box["label"] in numbers and box["score"] >= _FOUND
    )
