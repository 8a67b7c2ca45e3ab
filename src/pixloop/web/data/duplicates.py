"""Pictures that are the same one, in groups: where they are, and what was done about it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixloop.web.data.catalogue import Place
from pixloop.web.data.pictures import Picture, picture_of
from pixloop.web.data.quarantine import Lines
from pixloop.web.data.shown import Shown

#: Groups that a page shows of each kind.
MOST = 12
#: How findings and quarantine name the other picture.
_OTHER = re.compile(r"(?:.*, and )?(?:looks like|the same as) (.+)", re.DOTALL)
#: Findings of near-duplicates, and what was done in each case; the more serious first.
_NEAR = {
    "near_duplicate_labels": ("bad", "two labels; kept, have a look"),
    "near_duplicate_sides": ("warn", "also given for the test; moved to test"),
    "near_duplicate": ("calm", "kept together, on one side of the split"),
}
_EXACT = ("duplicate", "in_train_and_test")


@dataclass(frozen=True, slots=True)
class Member:
    """One picture of a group; ``picture`` is None where the data set has it no more."""

    path: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are the same one; ``done`` says what became of them."""

    members: tuple[Member, ...]
    done: str
    kind: str  #: as the pills have it


@dataclass(frozen=True, slots=True)
class Exact:
    """A file that was left out for another that is equal to it."""

    kept: Member
    left: tuple[tuple[int, str], ...]  #: lines of the quarantine, and their paths
    reason: str


def near_groups(shown: Shown) -> tuple[list[Group], int]:
    """Near-duplicates that the data report names, in groups, and how many pictures it counts."""
    others: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    count = 0
    for kind in reversed(_NEAR):
        for finding in shown.report.get("findings", ()):
            if finding["kind"] == kind:
                count = max(count, int(finding["count"]))
                _gather(finding["examples"], kind, others, kinds)
    paths = [path for first, rest in others.items() for path in (first, *rest)]
    places = shown.catalogue.find_paths(paths)
    groups = [
        Group(
            tuple(_member(shown, path, places) for path in (first, *rest)),
            _NEAR[kinds[first]][1],
            _NEAR[kinds[first]][0],
        )
        for first, rest in others.items()
    ]
    order = [kind for kind, _ in _NEAR.values()]
    return sorted(groups, key=lambda group: order.index(group.kind))[:MOST], count


def exact_groups(shown: Shown, lines: Lines) -> tuple[list[Exact], int]:
    """Files that were left out because another is equal to it, and how many there are."""
    numbers = [n for reason in _EXACT for n in lines.of(reason).tolist()]
    others: dict[str, list[tuple[int, str]]] = {}
    reasons: dict[str, str] = {}
    # Copies of one picture need not follow one another; of what is shown, few lines are read.
    for line in lines.read(numbers[: 4 * MOST]):
        found = _OTHER.fullmatch(line["detail"])
        if found:
            others.setdefault(found[1], []).append((line["number"], line["path"]))
            reasons.setdefault(found[1], line["reason"])
    chosen = list(others)[:MOST]
    places = shown.catalogue.find_paths(chosen)
    groups = [
        Exact(_member(shown, kept, places), tuple(others[kept]), reasons[kept]) for kept in chosen
    ]
    return groups, len(numbers)


def twin_pairs(shown: Shown, trust: Mapping[str, Any], which: str) -> list[Group]:
    """Pairs that the report found by what the model sees.

    Args:
        shown: the data set.
        trust: the report's section about the data.
        which: "leaks", between the test and the rest, or "duplicates".
    """
    pairs = trust.get(which, {}).get("pairs", [])[:MOST]
    places = shown.catalogue.find_hashes(
        [pair[side]["sha256"] for pair in pairs for side in ("a", "b")]
    )
    return [
        Group(
            tuple(
                Member(pair[side]["path"], _picture(shown, places.get(pair[side]["sha256"])))
                for side in ("a", "b")
            ),
            f"alike by {round(100 * pair['likeness'])} %"
            + ("; two labels" if pair["conflict"] else ""),
            "bad" if which == "leaks" or pair["conflict"] else "calm",
        )
        for pair in pairs
    ]


def _gather(
    examples: Iterable[Mapping[str, str]],
    kind: str,
    others: dict[str, list[str]],
    kinds: dict[str, str],
) -> None:
    for example in examples:
        found = _OTHER.fullmatch(example["detail"])
        if not found:
            continue
        kinds[found[1]] = kind
        rest = others.setdefault(found[1], [])
        if example["path"] not in (found[1], *rest):
            rest.append(example["path"])


def _member(shown: Shown, path: str, places: Mapping[str, Place]) -> Member:
    return Member(path, _picture(shown, places.get(path)))


def _picture(shown: Shown, place: Place | None) -> Picture | None:
    return None if place is None else picture_of(shown, place)


def splits_of(group: Group) -> Sequence[str]:
    """The splits of a group's pictures, each once."""
    return sorted({each.picture.place.split for each in group.members if each.picture})
