"""Average precision as COCO defines it, and the precision-recall curves behind it.

The numbers of evaluation.json are faster_coco_eval's. The curves come from our own matching,
which agrees with it; so do the intervals, which would take too long otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import Bools, Floats, Ints, Matches
from pixloop.serving.detector import Found

#: COCO looks at so many boxes of a picture and class, the surest ones.
MAX_BOXES = 100
#: COCO's recalls, at which the precision is read off.
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
#: Sizes by COCO: the area of a true box in pixels of the upright picture.
SIZES = ("small", "medium", "large")  # below 32², below 96², from 96² on

_RESAMPLES, _INTERVAL = 200, (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's average precisions, 0 to 1; None where there is no true box to find."""

    map: float | None  #: mean over IoU 0.50, 0.55 … 0.95 and classes
    map_50: float | None  #: at IoU 0.50
    map_75: float | None
    by_size: dict[str, float | None]  #: like ``map``, for true boxes of each of ``SIZES``
    classes: tuple[float | None, ...]  #: like ``map``, of each class
    classes_50: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """One class's boxes, the surest first, each counted in."""

    scores: Floats  #: (B,) as found, falling
    precision: Floats  #: (B,) the share of right ones from here up
    recall: Floats  #: (B,) the share of true boxes found
    average: float | None  #: COCO's average precision; None without a true box


def measure_precision(
    found: Sequence[Found], truth: Sequence[Objects], num_classes: int
) -> AveragePrecision:
    """COCO's average precisions by faster_coco_eval, with at most ``MAX_BOXES`` boxes."""
    images = [{"id": i + 1} for i in range(len(found))]
    categories = [{"id": k + 1, "name": str(k)} for k in range(num_classes)]
    reference = COCO()
    reference.dataset = {
        "info": {},
        "images": images,
        "categories": categories,
        "annotations": _true_annotations(truth),
    }
    reference.createIndex()
    evaluator = COCOeval_faster(reference, reference.loadRes(_found_annotations(found)), "bbox")
    evaluator.params.maxDets = [1, 10, MAX_BOXES]
    evaluator.evaluate()
    evaluator.accumulate()
    # (IoU, recall, class, size, boxes): -1 where there is no true box.
    table = evaluator.eval["precision"][..., -1].reshape(10, len(RECALLS), num_classes, 4)
    return AveragePrecision(
        map=_mean(table[..., 0]),
        map_50=_mean(table[0, ..., 0]),
        map_75=_mean(table[5, ..., 0]),
        by_size={size: _mean(table[..., i + 1]) for i, size in enumerate(SIZES)},
        classes=tuple(_mean(table[:, :, k, 0]) for k in range(num_classes)),
        classes_50=tuple(_mean(table[0, :, k, 0]) for k in range(num_classes)),
    )


def precision_recall(matches: Matches) -> list[PrecisionRecall]:
    """Every class's curve at the matches' limit, without ignored boxes."""
    curves = []
    for k, true_boxes in enumerate(matches.true_boxes.sum(axis=0)):
        rows = _ranked(matches, k)
        right = matches.right[rows]
        hits, seen = np.cumsum(right), np.arange(1, len(rows) + 1)
        precision, recall = hits / seen, hits / max(int(true_boxes), 1)
        average = _interpolated(precision, recall) if true_boxes else None
        curves.append(PrecisionRecall(matches.score[rows], precision, recall, average))
    return curves


def precision_interval(matches: Matches, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of the mean average precision at the matches' limit.

    Pictures are drawn with replacement (Efron 1979), for the boxes of one are not independent.
    None without a true box.
    """
    ranked = rank_classes(matches)
    rng, means = np.random.default_rng(seed), []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(0, matches.pictures, matches.pictures)
        weights = np.bincount(drawn, minlength=matches.pictures)
        averages = weighted_averages(matches, ranked, weights)
        if averages:
            means.append(float(np.mean(averages)))
    if not means:
        return None
    low, high = np.percentile(means, _INTERVAL)
    return float(low), float(high)


def weighted_averages(matches: Matches, ranked: Sequence[Ints], weights: Ints) -> list[float]:
    """The average precision of each class with a true box, pictures counted ``weights`` times.

    Args:
        matches: of all pictures.
        ranked: each class's rows, the surest first.
        weights: (N,) of the pictures.
    """
    averages = []
    for rows, true_boxes in zip(ranked, weights @ matches.true_boxes, strict=True):
        if true_boxes:
            times = weights[matches.picture[rows]]
            hits = np.cumsum(times * matches.right[rows])
            precision = hits / np.maximum(np.cumsum(times), 1)
            averages.append(_interpolated(precision, hits / true_boxes))
    return averages


def rank_classes(matches: Matches) -> list[Ints]:
    """The rows of each class that COCO counts, the surest first."""
    return [_ranked(matches, k) for k in range(matches.true_boxes.shape[1])]


def _ranked(matches: Matches, label: int) -> Ints:
    counted: Bools = (matches.label == label) & (matches.rank < MAX_BOXES) & ~matches.ignored
    rows: Ints = np.flatnonzero(counted)
    # Stable: of equal scores the earlier picture comes first, as in COCO.
    return rows[np.argsort(-matches.score[rows], kind="stable")]


def _interpolated(precision: Floats, recall: Floats) -> float:
    """The mean precision at ``RECALLS``, where a recall has the best precision from it on."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, RECALLS, side="left")].mean())


def _mean(precision: Floats) -> float | None:
    """The mean of the entries that exist; classes without a true box have -1."""
    present = precision[precision > -1]
    return float(present.mean()) if present.size else None


def _true_annotations(truth: Sequence[Objects]) -> list[dict[str, object]]:
    rows = [
        (image, box, label, crowd)
        for image, objects in enumerate(truth)
        for box, label, crowd in zip(
            objects.boxes.tolist(), objects.labels.tolist(), objects.crowd.tolist(), strict=True
        )
    ]
    return [
        {
            "id": i + 1,
            "image_id": image + 1,
            "category_id": label + 1,
            "bbox": (xywh := _xywh(box)),
            "area": xywh[2] * xywh[3],
            "iscrowd": int(crowd),
        }
        for i, (image, box, label, crowd) in enumerate(rows)
    ]


def _found_annotations(found: Sequence[Found]) -> list[dict[str, object]]:
    return [
        {"image_id": i + 1, "category_id": label + 1, "bbox": _xywh(box), "score": score}
        for i, each in enumerate(found)
        for box, label, score in zip(
            each.boxes.tolist(), each.labels.tolist(), each.scores.tolist(), strict=True
        )
    ]


def _xywh(xyxy: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = xyxy
    return [x1, y1, x2 - x1, y2 - y1]
