"""Whether the data can be trusted: wrong labels, leaks between the splits, duplicates."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import Dataset
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.rendering import render
from pixloop.evaluation.section import Section, Subject
from pixloop.evaluation.trust.labels import (
    Doubts,
    card_of,
    judge_boxes,
    judge_labels,
    thumbnail_at,
)
from pixloop.evaluation.trust.pictures import Pictures, look_through
from pixloop.evaluation.trust.review import Entry
from pixloop.evaluation.trust.twins import Twins, find_twins

KEY = "trust"
#: Pairs that are listed, and of them those that are shown.
_LISTED, _SHOWN = 200, 8
#: From these shares on, it is bad news.
_MANY_WRONG, _MANY_LEAKED = 0.05, 0.01


@dataclass(frozen=True, slots=True)
class Leaks:
    """Test pictures that are among the others as well.

    Attributes:
        pairs: the most alike first; ``a`` is the test picture.
        pictures: how many test pictures are concerned.
        metric: what is measured: "accuracy", or "F1 of a picture".
        value: of all test pictures.
        without: of those that did not leak; None where none is left.
    """

    pairs: tuple[Twins, ...]
    pictures: int
    metric: str
    value: float
    without: float | None


def study_trust(subject: Subject[Any]) -> Section | None:
    """Look through the data; None where ``trust.pictures`` is 0."""
    most = subject.config.trust.pictures
    if not most:
        return None
    data, answers = subject.data, subject.answers
    pictures = look_through(data, subject.bundle, most)
    doubts = (
        judge_boxes(data, subject.bundle, answers, most)
        if isinstance(answers, Detections)
        else judge_labels(pictures, data, answers)
    )
    twins = find_twins(pictures)
    leaks = find_leaks(twins, pictures, answers)
    duplicates = sort_duplicates(twins, pictures)
    conflicts = _conflicts(duplicates, pictures, data.info.classes, doubts.entries)
    content = _content(doubts, leaks, duplicates, conflicts, pictures, data)
    return Section(
        key=KEY,
        title="Data trust",
        verdict=_verdict(content),
        good=_judge(content),
        content=content,
        body=render(
            f"{KEY}.html",
            t=content,
            slices=subject.config.slices.least_pictures > 0,
            cards=(*doubts.cards, *(card_of(entry, data, pictures) for entry in conflicts)),
            rest=doubts.entries[len(doubts.cards) :],
            leaks=_pairs(leaks.pairs[:_SHOWN], pictures, data),
            duplicates=_pairs(duplicates[:_SHOWN], pictures, data),
        ),
    )


def find_leaks(
    twins: Iterable[Twins], pictures: Pictures, answers: Predictions | Detections
) -> Leaks:
    """The pairs of which one is a test picture and the other is not."""
    tests = pictures.of("test")
    pairs = tuple(
        pair if tests[pair.a] else Twins(pair.b, pair.a, pair.likeness)
        for pair in twins
        if tests[pair.a] != tests[pair.b]
    )
    leaked = np.unique([pictures.indices[pair.a] for pair in pairs]).astype(np.int64)
    boxes = isinstance(answers, Detections)
    worth: NDArray[np.float64] = (
        answers.picture_f1
        if isinstance(answers, Detections)
        else answers.correct.astype(np.float64)
    )
    rest = np.delete(worth, leaked)
    return Leaks(
        pairs=pairs,
        pictures=len(leaked),
        metric="F1 of a picture" if boxes else "accuracy",
        value=float(worth.mean()),
        without=float(rest.mean()) if len(rest) else None,
    )


def sort_duplicates(twins: Iterable[Twins], pictures: Pictures) -> list[Twins]:
    """The pairs on one side of the split, and all that have other labels; these come first."""
    tests = pictures.of("test")
    kept = [pair for pair in twins if tests[pair.a] == tests[pair.b] or _differ(pair, pictures)]
    return sorted(kept, key=lambda pair: not _differ(pair, pictures))


def _differ(pair: Twins, pictures: Pictures) -> bool:
    """Whether both have labels, and other ones."""
    return bool(pictures.labels[pair.a] != pictures.labels[pair.b])


def _conflicts(
    duplicates: Iterable[Twins],
    pictures: Pictures,
    classes: Sequence[str],
    known: Sequence[Entry],
) -> list[Entry]:
    """Entries for both pictures of pairs with other labels, numbered on; known ones are left."""
    numbered = {entry.sha256 for entry in known}
    entries: list[Entry] = []
    for pair in duplicates:
        if not _differ(pair, pictures):
            break
        for row, other in ((pair.a, pair.b), (pair.b, pair.a)):
            if pictures.sha256[row] in numbered:
                continue
            numbered.add(pictures.sha256[row])
            label, likely = (classes[pictures.labels[each]] for each in (row, other))
            answer = {"label": likely, "score": 0.5, "decision": "refer"}
            entries.append(
                Entry(
                    number=len(known) + len(entries) + 1,
                    split=pictures.splits[row],
                    path=pictures.paths[row],
                    sha256=pictures.sha256[row],
                    detail=f"labelled {label}; looks the same as {pictures.paths[other]}, which is "
                    f"labelled {likely}",
                    weight=0.5,
                    label=label,
                    likely=likely,
                    answer={**answer, "probabilities": {label: 0.5, likely: 0.5}},
                )
            )
    return entries[:_LISTED]


def _content(
    doubts: Doubts,
    leaks: Leaks,
    duplicates: Sequence[Twins],
    conflicts: Sequence[Entry],
    pictures: Pictures,
    data: Dataset,
) -> dict[str, Any]:
    total = sum(len(data.split(split)) for split in ("train", "validation", "calibration", "test"))
    tests = len(data.split("test"))
    entries = [*doubts.entries, *conflicts]
    return {
        "pictures": len(pictures),
        "of": total,
        "embedding": pictures.embeddings.shape[1] > 0,
        "task": data.info.task,
        "labels": {
            "judged": doubts.judged,
            "doubtful": doubts.doubtful,
            "by_split": _count_splits(doubts.entries),
            "estimate": None
            if doubts.wrong is None
            else {
                "wrong": doubts.wrong,
                "share": doubts.wrong / max(doubts.judged, 1),
                "method": "confident joint of given and likely classes (Northcutt et al. 2021)",
            },
            "check": asdict(doubts.finding) if doubts.finding else None,
            "boxes": None
            if doubts.boxes is None
            else {"drawn": doubts.boxes[0], "found": doubts.boxes[1]},
        },
        "leaks": {
            "pictures": leaks.pictures,
            "share": leaks.pictures / max(tests, 1),
            "metric": leaks.metric,
            "value": leaks.value,
            "without": leaks.without,
            "pairs": _listed(leaks.pairs, pictures, data.info.classes),
        },
        "duplicates": {
            "pairs_found": len(duplicates),
            "conflicting": sum(_differ(pair, pictures) for pair in duplicates),
            "pairs": _listed(duplicates, pictures, data.info.classes),
        },
        "review": [asdict(entry) for entry in entries],
    }


def _count_splits(entries: Iterable[Entry]) -> dict[str, int]:
    splits = [entry.split for entry in entries]
    return {split: splits.count(split) for split in sorted(set(splits))}


def _listed(
    pairs: Sequence[Twins], pictures: Pictures, classes: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {
            "a": _place(pair.a, pictures, classes),
            "b": _place(pair.b, pictures, classes),
            "likeness": pair.likeness,
            "conflict": _differ(pair, pictures),
        }
        for pair in pairs[:_LISTED]
    ]


def _place(row: int, pictures: Pictures, classes: Sequence[str]) -> dict[str, str]:
    label = int(pictures.labels[row])
    return {
        "path": pictures.paths[row],
        "split": pictures.splits[row],
        "sha256": pictures.sha256[row],
        "label": classes[label] if label >= 0 else "",
    }


def _pairs(pairs: Sequence[Twins], pictures: Pictures, data: Dataset) -> list[dict[str, Any]]:
    """Pairs as they are shown."""
    shown = _listed(pairs, pictures, data.info.classes)
    for pair, words in zip(pairs, shown, strict=True):
        for side, row in (("a", pair.a), ("b", pair.b)):
            image, tiny = thumbnail_at(row, data, pictures)
            words[side] |= {"image": image, "tiny": tiny}
    return shown


def _verdict(content: dict[str, Any]) -> str:
    labels, leaks, twins = content["labels"], content["leaks"], content["duplicates"]
    what = "picture" if content["task"] == "detection" else "label"
    parts = [_some(labels["doubtful"], what, "worth a look", "No", "is doubtful")]
    if labels["estimate"] and labels["doubtful"]:
        parts[0] += f" (an estimated {labels['estimate']['share']:.1%} are wrong)".replace(
            "%", " %"
        )
    if content["embedding"]:
        parts.append(_some(leaks["pictures"], "test picture", "also outside the test set", "no"))
    if twins["conflicting"]:
        parts.append(
            _some(twins["conflicting"], "pair", "of the same picture under two labels", "no", "")
        )
    return ", ".join(parts) + "."


def _some(count: int, what: str, rest: str, none: str, rest_of_none: str | None = None) -> str:
    if not count:
        return (
            f"{none} {what} is {rest}" if rest_of_none is None else f"{none} {what} {rest_of_none}"
        )
    verb = ("is " if count == 1 else "are ") if not rest.startswith("of ") else ""
    return f"{count} {what}{'' if count == 1 else 's'} {verb}{rest}"


def _judge(content: dict[str, Any]) -> bool | None:
    labels, leaks = content["labels"], content["leaks"]
    wrong = (labels["estimate"] or {}).get("share", 0.0)
    if wrong >= _MANY_WRONG or leaks["share"] >= _MANY_LEAKED:
        return False
    if content["duplicates"]["conflicting"]:
        return False
    return None if labels["doubtful"] or leaks["pictures"] else True
