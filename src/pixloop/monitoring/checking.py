"""Answers held against what people said about their pictures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pixloop.data.annotations import AnnotatedBox, Resolved
from pixloop.monitoring.observations import Observation
from pixloop.monitoring.quality import Checked
from pixloop.records import Xyxy

#: From which overlap on a box is the one that was answered.
_IOU = 0.5


def judges(resolved: Iterable[Resolved]) -> dict[str, Resolved]:
    """The pictures that may judge a model, by their SHA-256: drawn at random, and decided."""
    return {each.sha256: each for each in resolved if each.drawn == "random" and not each.reason}


def check(observation: Observation, truth: Resolved) -> Checked | None:
    """What a person's answer says about the model's; None where it says nothing."""
    answer = observation.answer
    if "boxes" in answer:
        return _check_boxes(observation, answer["boxes"], truth.boxes or ())
    if truth.label is None:
        return None
    said = str(answer["label"])
    return Checked(
        sha256=observation.sha256,
        at=observation.at,
        value=float(said == truth.label),
        pair=(truth.label, said),
    )


def _check_boxes(
    observation: Observation,
    answered: Sequence[Mapping[str, Any]],
    present: Sequence[AnnotatedBox],
) -> Checked:
    right = _match(answered, present)
    return Checked(
        sha256=observation.sha256,
        at=observation.at,
        value=sum(right) / len(right) if right else None,
        found=sum(right),
        answered=len(right),
        present=len(present),
        boxes=tuple(
            (str(box["label"]), float(box["score"]), hit)
            for box, hit in zip(answered, right, strict=True)
        ),
        true=tuple(box.label for box in present),
    )


def _match(answered: Sequence[Mapping[str, Any]], present: Sequence[AnnotatedBox]) -> list[bool]:
    """Whether each box is right: of its class, and the surest one on its object."""
    right = [False] * len(answered)
    free = set(range(len(present)))
    for i in np.argsort([-float(box["score"]) for box in answered], kind="stable"):
        box = answered[i]
        overlaps = {
            j: _overlap(box["xyxy"], present[j].xyxy)
            for j in free
            if present[j].label == box["label"]
        }
        best = max(overlaps, key=lambda j: overlaps[j], default=None)
        if best is not None and overlaps[best] >= _IOU:
            right[i] = True
            free.remove(best)
    return right


def _overlap(a: Sequence[float], b: Xyxy) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
