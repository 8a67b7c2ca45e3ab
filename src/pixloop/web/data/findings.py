"""The findings of the data report, as people read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixloop.data.findings import KINDS
from pixloop.web.data.catalogue import Place
from pixloop.web.data.pictures import Picture, picture_of
from pixloop.web.data.shown import Shown

#: Examples that are shown with their pictures.
PICTURED = 8
_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, or a class, that a finding is about."""

    path: str
    detail: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Found:
    """A finding: "3 empty files: left out"."""

    kind: str
    severity: str
    count: int
    words: str
    action: str
    examples: tuple[Example, ...]


def findings_of(shown: Shown) -> list[Found]:
    """What the data report found, the most serious first."""
    said = [each for each in shown.report.get("findings", ()) if each.get("count")]
    paths = [example["path"] for each in said for example in each["examples"]]
    places = shown.catalogue.find_paths(paths)
    found = [_found(shown, each, places) for each in said]
    return sorted(found, key=lambda each: _ORDER.get(each.severity, 1))


def _found(shown: Shown, said: Mapping[str, Any], places: Mapping[str, Place]) -> Found:
    kind, count = str(said["kind"]), int(said["count"])
    known = KINDS.get(kind)
    words = known.text(count) if known else kind.replace("_", " ")
    pictured = [e["path"] for e in said["examples"] if e["path"] in places][:PICTURED]
    examples = tuple(
        Example(
            each["path"],
            each["detail"],
            picture_of(shown, places[each["path"]]) if each["path"] in pictured else None,
        )
        for each in said["examples"]
    )
    return Found(kind, str(said["severity"]), count, words, str(said["action"]), examples)
