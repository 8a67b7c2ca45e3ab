"""Which labels, or boxes, of a data set are doubtful: of both tasks, as entries of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixloop.bundle import Bundle
from pixloop.data.dataset import SPLITS, Dataset, SplitName
from pixloop.evaluation.detection.detections import Detections, detect_split
from pixloop.evaluation.detection.examples import Album, View
from pixloop.evaluation.examples import thumbnail
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.trust.boxes import (
    Part,
    PictureDoubt,
    answer_of,
    count_found,
    doubt_boxes,
)
from pixloop.evaluation.trust.label_errors import (
    Finding,
    LabelDoubt,
    Source,
    check_finding,
    doubt_labels,
)
from pixloop.evaluation.trust.pictures import Pictures
from pixloop.evaluation.trust.review import Entry, answer_with, doubt_words
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor

#: Entries of a report's list, and of them those that are shown with their pictures.
LISTED, SHOWN = 200, 24
_SIDE_PX = 160  # the longest of a card's picture


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown of an entry: the picture, or with boxes a part of it."""

    entry: Entry
    image: str = ""  #: a data: address
    tiny: bool = False
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Doubts:
    """What is doubtful among the labels of a data set.

    Attributes:
        judged: how many labels, or pictures with boxes, were looked at.
        doubtful: how many of them are doubtful.
        entries: the most doubtful, those first.
        cards: what is shown of the first of them.
        wrong: an estimate of how many labels are wrong; None in detection.
        finding: how well flipped labels are found here; None in detection.
        boxes: of detection, how many boxes the test pictures have, and how many are found.
    """

    judged: int
    doubtful: int
    entries: tuple[Entry, ...]
    cards: tuple[Card, ...]
    wrong: float | None = None
    finding: Finding | None = None
    boxes: tuple[int, int] | None = None


def judge_labels(pictures: Pictures, data: Dataset, predictions: Predictions) -> Doubts:
    """The doubtful labels of a classification's pictures."""
    classes = data.info.classes
    sources = label_sources(pictures, classes, predictions)
    doubts, wrong = doubt_labels(sources, len(classes))
    entries = tuple(
        _entry_of(number, doubt, pictures, classes)
        for number, doubt in enumerate(doubts[:LISTED], start=1)
    )
    return Doubts(
        judged=sum(len(source.labels) for source in sources),
        doubtful=len(doubts),
        entries=entries,
        cards=tuple(card_of(entry, data, pictures) for entry in entries[:SHOWN]),
        wrong=wrong,
        finding=check_finding(sources, len(classes)),
    )


def label_sources(
    pictures: Pictures, classes: Sequence[str], predictions: Predictions
) -> list[Source]:
    """The test pictures with the model's answers, and the others with what it sees in them."""
    order = np.array([predictions.classes.index(name) for name in classes], np.int64)
    tests = np.flatnonzero(pictures.of("test"))
    answers = predictions.probabilities[np.ix_(pictures.indices[tests], order)].astype(np.float32)
    sources = [Source(tests, pictures.labels[tests], shares=answers)]
    if pictures.projected.shape[1]:
        others = np.flatnonzero(~pictures.of("test"))
        seen = pictures.projected[others]
        sources.append(Source(others, pictures.labels[others], features=seen))
    return [source for source in sources if len(source.rows)]


def judge_boxes(data: Dataset, bundle: Bundle, detections: Detections, most: int) -> Doubts:
    """The doubtful boxes of the test pictures, and of as many others as ``most`` leaves."""
    found: list[tuple[PictureDoubt, SplitName, Detections, Part]] = []
    judged = 0
    for split, part, answers in _searched(data, bundle, detections, most):
        judged += len(part)
        found += [(doubt, split, answers, part) for doubt in doubt_boxes(answers)]
    found.sort(key=lambda each: -each[0].weight)
    entries, cards = [], []
    for number, (doubt, split, answers, part) in enumerate(found[:LISTED], start=1):
        entry = Entry(
            number=number,
            split=split,
            path=answers.paths[doubt.picture],
            sha256=answers.sha256[doubt.picture],
            detail=doubt.words,
            weight=doubt.weight,
            label=doubt.boxes[0].label or "",
            likely=doubt.boxes[0].likely or "",
            answer=answer_of(answers, doubt.picture),
        )
        entries.append(entry)
        if number <= SHOWN:
            view = Album(answers, part).close_up(doubt.boxes[0].mistake).view
            cards.append(Card(entry, view=view))
    return Doubts(judged, len(found), tuple(entries), tuple(cards), boxes=count_found(detections))


def card_of(entry: Entry, data: Dataset, pictures: Pictures) -> Card:
    """An entry with its picture."""
    row = pictures.sha256.index(entry.sha256)
    image, tiny = thumbnail_at(row, data, pictures)
    return Card(entry, image, tiny)


def thumbnail_at(row: int, data: Dataset, pictures: Pictures) -> tuple[str, bool]:
    """A small copy of a picture, as ``examples.thumbnail`` makes it."""
    split = data.split(pictures.splits[row])
    return thumbnail(split.read(int(pictures.indices[row])).image, _SIDE_PX)


def _entry_of(number: int, doubt: LabelDoubt, pictures: Pictures, classes: Sequence[str]) -> Entry:
    split = pictures.splits[doubt.row]
    judge = "the model" if split == "test" else "the other pictures"
    return Entry(
        number=number,
        split=split,
        path=pictures.paths[doubt.row],
        sha256=pictures.sha256[doubt.row],
        detail=doubt_words(doubt, classes, judge),
        weight=doubt.sure,
        label=classes[doubt.label],
        likely=classes[doubt.likely],
        answer=answer_with(doubt.shares, classes),
    )


def _searched(
    data: Dataset, bundle: Bundle, detections: Detections, most: int
) -> Iterator[tuple[SplitName, Part, Detections]]:
    """The splits with the detector's answers, the test pictures' first: those are known."""
    tests = data.split("test")
    yield "test", Part(tests, range(len(tests))), detections
    left = most - len(tests)
    detector: Any = open_predictor(bundle)
    for split in (name for name in reversed(SPLITS) if name != "test"):
        rows = data.split(split)
        part = Part(rows, range(min(len(rows), max(left, 0))))
        left -= len(part)
        if isinstance(detector, Detector) and not all(o.crowd.all() for o in part.objects):
            yield (
                split,
                part,
                detect_split(detector, part, data.info.classes, f"searching {split} pictures"),
            )
