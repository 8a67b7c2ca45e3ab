"""The worst case in pictures: as they are beside as they were altered, each with its answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixloop.bundle import BoxScores, Manifest
from pixloop.decoding import RgbArray
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.examples import thumbnail
from pixloop.evaluation.formats import percent
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.evaluation.robustness.outcomes import BoxOutcome, LabelOutcome, Outcome
from pixloop.evaluation.robustness.sample import Sample, encode
from pixloop.records import Xyxy

SHOWN = 6
_SIDE_PX, _BOXES_PX = 180, 320


@dataclass(frozen=True, slots=True)
class Look:
    """A picture in one state, and what was answered to it."""

    image: str  #: a data: address
    tiny: bool  #: to be scaled up without smoothing
    answer: str
    right: bool
    width: int = 1  #: in pixels of which ``boxes`` are
    height: int = 1
    boxes: tuple[tuple[Xyxy, str, str], ...] = ()  #: edges, the kind (see report.css), words


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture, before and after."""

    path: str
    label: str  #: what it is; empty in detection
    before: Look
    after: Look


def show_worst(
    manifest: Manifest, sample: Sample, clean: Outcome, worst: Outcome, altered: Sequence[Scene]
) -> list[Pair]:
    """What is lost most plainly, at most ``SHOWN`` pictures.

    Args:
        manifest: of the model.
        sample: the pictures.
        clean: what came of them as they are.
        worst: what came of them altered.
        altered: the altered pictures, in the sample's order.
    """
    if isinstance(clean, LabelOutcome) and isinstance(worst, LabelOutcome):
        return _show_labels(sample, clean, worst, altered)
    if isinstance(clean, BoxOutcome) and isinstance(worst, BoxOutcome):
        return _show_boxes(manifest, sample, clean, worst, altered)
    return []


def _show_labels(
    sample: Sample, clean: LabelOutcome, worst: LabelOutcome, altered: Sequence[Scene]
) -> list[Pair]:
    """Right before and wrong after, the surest first."""
    lost = np.flatnonzero(clean.correct & ~worst.correct)
    order = lost[np.argsort(-worst.scores[lost], kind="stable")][:SHOWN]
    return [
        Pair(
            sample.paths[i],
            clean.targets[i],
            look_at(sample.scenes[i].pixels, _sure(clean, i), True),
            look_at(altered[i].pixels, _sure(worst, i), False),
        )
        for i in order.tolist()
    ]


def _sure(outcome: LabelOutcome, index: int) -> str:
    return f"{outcome.predicted[index]}, {percent(float(outcome.scores[index]), 0)} sure"


def look_at(pixels: RgbArray, answer: str, right: bool) -> Look:
    """A picture and its answer."""
    image, tiny = thumbnail(encode(pixels), _SIDE_PX)
    return Look(image, tiny, answer, right)


def _show_boxes(
    manifest: Manifest,
    sample: Sample,
    clean: BoxOutcome,
    worst: BoxOutcome,
    altered: Sequence[Scene],
) -> list[Pair]:
    """Those in which the most true boxes are no longer found."""
    before, after = (_answered(manifest, sample, outcome) for outcome in (clean, worst))
    lost = [len(b) - len(a) for b, a in zip(before.hits, after.hits, strict=True)]
    order = np.argsort(-np.array(lost), kind="stable")[: SHOWN // 2]
    return [
        Pair(
            sample.paths[i],
            "",
            _look_at_boxes(sample.scenes[i].pixels, before, i),
            _look_at_boxes(altered[i].pixels, after, i),
        )
        for i in order.tolist()
        if lost[i] > 0
    ]


def _answered(manifest: Manifest, sample: Sample, outcome: BoxOutcome) -> Detections:
    """What was found, with the scores from which on a box is answered."""
    return Detections(
        classes=outcome.classes,
        paths=sample.paths,
        sha256=("",) * len(sample),
        found=outcome.found,
        truth=outcome.truth,
        box_scores=manifest.box_scores or BoxScores(),
        threshold=manifest.threshold,
    )


def _look_at_boxes(pixels: RgbArray, detections: Detections, index: int) -> Look:
    truth, hits = detections.truth[index], detections.hits[index]
    boxes: list[tuple[Xyxy, str, str]] = []
    for i, (x1, y1, x2, y2) in enumerate(truth.boxes.tolist()):
        if not truth.crowd[i]:
            kind, words = ("true", "found") if i in hits else ("missed", "not found")
            name = detections.classes[truth.labels[i]]
            boxes.append(((x1, y1, x2, y2), kind, f"{name}: {words}"))
    matches = detections.matches
    own = np.flatnonzero((matches.picture == index) & detections.shown & ~matches.ignored)
    for row in own.tolist():
        x1, y1, x2, y2 = detections.found[index].boxes[matches.box[row]].tolist()
        kind = "right" if matches.right[row] else "wrong"
        name = detections.classes[matches.label[row]]
        words = f"answered {name}, score {detections.scores[row]:.2f}: {kind}"
        boxes.append(((x1, y1, x2, y2), kind, words))
    image, tiny = thumbnail(encode(pixels), _BOXES_PX)
    height, width = pixels.shape[:2]
    total = int((~truth.crowd).sum())
    answer = f"{len(hits)} of {total} found"
    return Look(image, tiny, answer, len(hits) == total, width, height, tuple(boxes))
