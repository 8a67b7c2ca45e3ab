"""A detector's ``pixloop`` section of evaluation.json: every number of the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pixloop.bundle import Manifest, now
from pixloop.config import GateConfig
from pixloop.evaluation.calibration import calibration_error, score_reliability
from pixloop.evaluation.decisions import describe_threshold
from pixloop.evaluation.detection.causes import count_causes
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.matching import Floats
from pixloop.evaluation.detection.precision import (
    AveragePrecision,
    measure_precision,
    precision_interval,
)
from pixloop.evaluation.detection.risk import risk_of_boxes
from pixloop.evaluation.detection.thresholds import accept_boxes
from pixloop.evaluation.summary import compare_values, judge

Json = dict[str, Any]

#: Edges of the histogram of the matched boxes' IoU.
IOU_EDGES: Floats = np.round(np.arange(0.5, 1.001, 0.05), 2)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Precision, recall and F1 of each class among the answered boxes, (K,).

    Each is 0 where its denominator is. Means weigh all classes equally, and count a class without
    a true box as 0, as in classification: a gate must not pass on what was never tested.
    """

    boxes: tuple[int, ...]  #: true boxes
    precision: Floats
    recall: Floats
    f1: Floats


def summarise_detections(
    manifest: Manifest,
    detections: Detections,
    gate: GateConfig,
    champion: Detections | None,
    promotion: Json | None = None,
) -> Json:
    """The section, as JSON values without NaN.

    Args:
        manifest: of the bundle that was scored.
        detections: its answers to the test pictures, among which there is a true box.
        gate: the conditions to judge by.
        champion: the champion's answers to the same pictures, where there is one.
        promotion: what ``promotion.weigh`` says of the two.
    """
    precision = measure_precision(detections.found, detections.truth, len(detections.classes))
    point = operating_point(detections)
    metrics = {**_main_metrics(precision, point), **_box_metrics(detections)}
    comparison = _compare(gate.metric, metrics, detections, champion)
    interval = precision_interval(detections.matches)
    return {
        "name": manifest.name,
        "task": "detection",
        "created": now(),
        "pictures": len(detections),
        "graph": manifest.chosen_graph,
        "box_scores": detections.box_scores.model_dump(),
        "metrics": metrics,
        "intervals": {"map_50": list(interval) if interval else None},
        "boxes": _count_boxes(detections),
        "classes": _classes(detections, precision, point),
        "iou_histogram": _histogram(detections),
        "causes": _causes(detections),
        "confusion_matrix": detections.confusion.tolist(),
        "threshold": _threshold(detections),
        "reliability": _reliability(detections),
        "risk_curve": _risk_curve(detections),
        "comparison": comparison,
        "promotion": promotion,
        "gate": judge(gate, comparison, promotion),
    }


def operating_point(detections: Detections) -> OperatingPoint:
    """What the answered boxes are worth. Those in crowd regions do not count."""
    matches, classes = detections.matches, len(detections.classes)
    judged = detections.shown & ~matches.ignored
    answered = np.bincount(matches.label[judged], minlength=classes)
    right = np.bincount(matches.label[judged & matches.right], minlength=classes)
    true = matches.true_boxes.sum(axis=0)
    return OperatingPoint(
        boxes=tuple(true.tolist()),
        precision=right / np.maximum(answered, 1),
        recall=right / np.maximum(true, 1),
        f1=2 * right / np.maximum(answered + true, 1),
    )


def _main_metrics(precision: AveragePrecision, point: OperatingPoint) -> Json:
    """Those that a gate can ask for, and the map by size."""
    return {
        "map": precision.map,
        "map_50": precision.map_50,
        "map_75": precision.map_75,
        **{f"map_{size}": value for size, value in precision.by_size.items()},
        "precision_macro": float(point.precision.mean()),
        "recall_macro": float(point.recall.mean()),
        "f1_macro": float(point.f1.mean()),
    }


def _box_metrics(detections: Detections) -> Json:
    """The overlap of the right boxes, and how far off the scores of the answered ones are."""
    matches, shown = detections.matches, detections.shown
    iou = matches.iou[shown & matches.right]
    judged = shown & ~matches.ignored
    right = matches.right[judged]
    return {
        "mean_iou": float(iou.mean()) if len(iou) else None,
        "ece_before": calibration_error(score_reliability(matches.score[judged], right)),
        "ece_after": calibration_error(score_reliability(detections.scores[judged], right)),
    }


def _reliability(detections: Detections) -> Json:
    """The bins of the answered boxes' scores before and after calibration."""
    judged = detections.shown & ~detections.matches.ignored
    right = detections.matches.right[judged]
    scores = {"before": detections.matches.score[judged], "after": detections.scores[judged]}
    return {
        when: [asdict(bin_) for bin_ in score_reliability(score, right)]
        for when, score in scores.items()
    }


def _risk_curve(detections: Detections) -> list[Json]:
    judged = detections.shown & ~detections.matches.ignored
    return [asdict(point) for point in risk_of_boxes(detections, judged)]


def _count_boxes(detections: Detections) -> Json:
    matches, shown = detections.matches, detections.shown
    return {
        "true": int(matches.true_boxes.sum()),
        "answered": int(shown.sum()),
        "right": int((shown & matches.right).sum()),
        "wrong": int((shown & ~matches.right & ~matches.ignored).sum()),
        "ignored": int((shown & matches.ignored).sum()),
    }


def _classes(d: Detections, precision: AveragePrecision, point: OperatingPoint) -> Json:
    return {
        name: {
            "boxes": point.boxes[k],
            "precision": float(point.precision[k]),
            "recall": float(point.recall[k]),
            "f1": float(point.f1[k]),
            "ap": precision.classes[k],
            "ap_50": precision.classes_50[k],
        }
        for k, name in enumerate(d.classes)
    }


def _histogram(detections: Detections) -> Json:
    right = detections.shown & detections.matches.right
    counts, _ = np.histogram(np.minimum(detections.matches.iou[right], 1.0), IOU_EDGES)
    return {"edges": IOU_EDGES.tolist(), "boxes": counts.tolist()}


def _causes(detections: Detections) -> Json:
    """How often each cause is there, and its share of all mistakes."""
    counts = count_causes(detections.mistakes)
    total = max(sum(counts.values()), 1)
    return {cause: {"count": n, "share": n / total} for cause, n in counts.items()}


def _threshold(detections: Detections) -> Json:
    """The bundle's thresholds, and what they do on the test pictures.

    ``error`` is what is promised: the mean, over pictures with accepted boxes, of the share of
    wrong ones. ``accepted_share`` is of all answered boxes that are in no crowd region, ``recall``
    the share of the true boxes that an accepted one is.
    """
    matches = detections.matches
    judged = detections.shown & ~matches.ignored
    true = matches.true_boxes.sum(axis=0)

    def measure(classes: Sequence[str]) -> Json:
        labels = [detections.classes.index(label) for label in classes]
        of = judged & np.isin(matches.label, labels)
        taken = detections.accepted & of
        # As if it were the only candidate: everything that is accepted has the same score.
        curve = accept_boxes(
            matches.picture[taken], np.ones(int(taken.sum())), matches.right[taken], np.ones(1)
        )
        accepted, wrong = int(curve.boxes[0]), int(curve.wrong[0])
        pictures, there = int(curve.pictures[0]), int(true[labels].sum())
        return {
            "answered": int(of.sum()),
            "accepted": accepted,
            "wrong": wrong,
            "accepted_share": accepted / max(int(of.sum()), 1),
            "accepted_pictures": pictures,
            "error": float(curve.error[0]) if pictures else None,
            "error_interval": list(curve.interval(0)) if pictures else None,
            "recall": (accepted - wrong) / there if there else None,
        }

    return describe_threshold(detections.threshold, detections.classes, measure)


def _compare(
    metric: str, metrics: Json, challenger: Detections, champion: Detections | None
) -> Json:
    """Both models on the same pictures, and the true boxes that only one of them finds."""
    value = float(metrics[metric])
    if champion is None:
        return compare_values(metric, value)
    precision = measure_precision(champion.found, champion.truth, len(champion.classes))
    theirs = _main_metrics(precision, operating_point(champion))
    pairs = list(zip(challenger.hits, champion.hits, strict=True))
    return {
        **compare_values(metric, value, float(theirs[metric])),
        "gained": sum(len(ours - their) for ours, their in pairs),
        "lost": sum(len(their - ours) for ours, their in pairs),
    }
