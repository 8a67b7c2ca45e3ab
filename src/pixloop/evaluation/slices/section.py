"""The report's section on slices: where the model is weak, and which pictures look alike to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.data.dataset import Dataset, Split
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.examples import thumbnail
from pixloop.evaluation.formats import percent
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.rendering import render
from pixloop.evaluation.section import Section, Subject
from pixloop.evaluation.slices.clusters import Clusters
from pixloop.evaluation.slices.facts import gather_facts
from pixloop.evaluation.slices.slices import Slicing, cut_slices
from pixloop.evaluation.slices.weakness import SliceWorth, rank_slices

Json = dict[str, Any]
Floats = NDArray[np.float64]

#: Slices in the table; the others are behind a click.
SHOWN = 10
#: Slices whose wrong pictures are shown, of each so many, and typical ones of each cluster.
_WITH_EXAMPLES, _EXAMPLES, _TYPICAL = 3, 6, 4
_THUMBNAIL_PX = 112


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of a slice."""

    image: str  #: a data: address
    tiny: bool  #: to be scaled up without smoothing
    path: str
    words: str  #: what the model made of it
    right: bool


def study_slices(subject: Subject[Any]) -> Section | None:
    """On which kinds of pictures the model is weaker than elsewhere."""
    config = subject.config.slices
    if not config.least_pictures:
        return None
    worth = worth_of(subject.answers)
    slicing = slice_test_pictures(subject.bundle, subject.data, config.least_pictures)
    if not slicing.slices:
        return None
    ranked = rank_slices(worth, slicing.slices, config.confidence)
    weak = [row for row in ranked if row.weak]
    what = "right" if isinstance(subject.answers, Predictions) else "mean F1"
    split = subject.data.split("test")
    examples = [
        (row, _wrong_pictures(subject.answers, worth, row, split))
        for row in (weak or ranked)[:_WITH_EXAMPLES]
    ]
    body = render(
        "slices.html",
        rows=ranked,
        weak=weak,
        shown=max(SHOWN, len(weak)),
        what=what,
        overall=float(worth.mean()),
        pictures=len(worth),
        confidence=config.confidence,
        least=config.least_pictures,
        examples=[(row, pictures) for row, pictures in examples if pictures],
        clusters=_clusters(subject.answers, worth, slicing, ranked, split),
        without_clusters=slicing.without_clusters,
    )
    return Section(
        key="slices",
        title="Slices",
        verdict=_verdict(ranked, what),
        good=not weak,
        content=_content(ranked, slicing, config.confidence),
        body=body,
    )


def worth_of(answers: Any) -> Floats:
    """Of each test picture, 0 to 1: whether its class is right, in detection the F1 of its boxes.

    Args:
        answers: ``Predictions`` or ``Detections``.
    """
    if isinstance(answers, Predictions):
        return answers.correct.astype(np.float64)
    found: Detections = answers
    return found.picture_f1


def slice_test_pictures(bundle: Bundle, data: Dataset, least: int) -> Slicing:
    """The slices of the test pictures; clusters are of what this bundle sees.

    Several studies ask: they look at the pictures once.
    """
    return _slice(
        bundle.path, bundle.manifest.model_dump_json(), data.folder, data.info.sha256, least
    )


@lru_cache(maxsize=1)
def _slice(bundle: Path, manifest: str, data: Path, sha256: str, least: int) -> Slicing:
    del manifest, sha256  # they tell what lies at the same place from what lay there before
    dataset = Dataset.open(data)
    return cut_slices(gather_facts(Bundle.open(bundle), dataset), dataset, least)


def _verdict(ranked: Sequence[SliceWorth], what: str) -> str:
    weak = [row for row in ranked if row.weak]
    if not weak:
        return f"None of {len(ranked)} slices is shown to be weaker than the other test pictures."
    worst = weak[0]
    return (
        f"Weak on {len(weak)} of {len(ranked)} slices, most on “{worst.slice.words}”: "
        f"{percent(worst.worth)} {what}, {percent(worst.elsewhere)} elsewhere."
    )


def _content(ranked: Sequence[SliceWorth], slicing: Slicing, confidence: float) -> Json:
    clusters = slicing.clusters
    return {
        "confidence": confidence,
        "correction": "holm",
        "weak": sum(row.weak for row in ranked),
        "clusters": None
        if clusters is None
        else {"count": clusters.count, "silhouette": clusters.silhouette},
        "without_clusters": slicing.without_clusters or None,
        "slices": [
            {
                "kind": row.slice.kind,
                "name": row.slice.name,
                "detail": row.slice.detail,
                "pictures": row.slice.pictures,
                "worth": row.worth,
                "elsewhere": row.elsewhere,
                "interval": [row.low, row.high],
                "p": row.p,
                "weak": row.weak,
            }
            for row in ranked
        ],
    }


def _wrong_pictures(answers: Any, worth: Floats, row: SliceWorth, split: Split) -> list[Thumbnail]:
    """Pictures of a slice that are answered worst; of equal ones the surest."""
    inside = np.flatnonzero(row.slice.inside & (worth < 1))
    sure = answers.scores[inside] if isinstance(answers, Predictions) else np.zeros(len(inside))
    order = np.lexsort((-sure, worth[inside]))
    return [describe_picture(answers, int(i), split) for i in inside[order][:_EXAMPLES]]


def _clusters(
    answers: Any, worth: Floats, slicing: Slicing, ranked: Sequence[SliceWorth], split: Split
) -> list[Json]:
    """Each cluster with its typical pictures, the weakest first."""
    clusters: Clusters | None = slicing.clusters
    if clusters is None:
        return []
    rows = {row.slice.name: row for row in ranked if row.slice.kind == "cluster"}
    found = [
        {
            "name": name,
            "row": rows[name],
            "typical": [describe_picture(answers, i, split) for i in clusters.typical(c, _TYPICAL)],
        }
        for c in range(clusters.count)
        if (name := f"cluster {c + 1}") in rows
    ]
    return sorted(found, key=lambda each: each["row"].worth)


def describe_picture(answers: Any, index: int, split: Split) -> Thumbnail:
    """A small copy of a test picture, and what the model made of it.

    Args:
        answers: ``Predictions`` or ``Detections``.
        index: of the picture.
        split: the test pictures.
    """
    image, tiny = thumbnail(split.read(index).image, _THUMBNAIL_PX)
    if isinstance(answers, Predictions):
        label = answers.classes[answers.targets[index]]
        answer = answers.classes[answers.predicted[index]]
        right = label == answer
        words = f"{label}, {percent(answers.scores[index])} sure"
        if not right:
            words = f"{label}, answered {answer}, {percent(answers.scores[index])} sure"
        return Thumbnail(image, tiny, answers.paths[index], words, right)
    f1 = float(answers.picture_f1[index])
    return Thumbnail(image, tiny, answers.paths[index], f"F1 {f1:.2f}", f1 == 1.0)
