"""A detector's report.html: what evaluation.json says, for people.

The verdict comes first, then what it rests on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from pixloop.evaluation.decisions import decisions_part
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.examples import choose_box_examples
from pixloop.evaluation.detection.plots import (
    MOST_LINES,
    iou_histogram,
    precision_recall_plot,
)
from pixloop.evaluation.detection.precision import precision_recall
from pixloop.evaluation.detection.risk import risk_of_boxes
from pixloop.evaluation.page import Evidence, matrix_rows, reliability_plot, render_page
from pixloop.evaluation.plots import risk_curve
from pixloop.evaluation.risk import RiskPoint

_CAUSES = {
    "class": ("wrong class", "right place, another class"),
    "localisation": ("wrong place", "right class, but an IoU of only 0.1 to 0.5"),
    "both": ("both", "near something of another class"),
    "duplicate": ("duplicate", "a surer box has it already"),
    "background": ("background", "nothing is there"),
    "missed": ("missed", "a true box that no answer accounts for"),
}


def render_detection_report(summary: Mapping[str, Any], evidence: Evidence[Detections]) -> str:
    """The report as HTML; ``summary`` is the ``pixloop`` section of evaluation.json."""
    detections = evidence.answers
    classes = _class_rows(summary["classes"])
    drawn = [row["name"] for row in classes if row["boxes"]][:MOST_LINES]
    histogram = summary["iou_histogram"]
    return render_page(
        "detection.html",
        summary,
        evidence,
        ("map_50", "AP50"),
        classes=classes,
        drawn=drawn,
        curves=_curves(detections, drawn),
        overlap=iou_histogram(
            histogram["edges"], histogram["boxes"], summary["metrics"]["mean_iou"]
        ),
        causes=_cause_rows(summary["causes"]),
        cause_names={cause: name for cause, (name, _) in _CAUSES.items()},
        matrix=matrix_rows(detections.confusion, (*detections.classes, "background")),
        calibration=reliability_plot(summary["reliability"], "boxes"),
        risk=_risk(summary),
        **decisions_part(summary["threshold"], _risk_points(detections), "boxes"),
        examples=choose_box_examples(detections, evidence.dataset.split("test")),
    )


def _class_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a class, the weakest first; those without a true box last."""
    rows = [{"name": name, **values} for name, values in metrics.items()]
    return sorted(rows, key=lambda row: (row["ap_50"] is None, row["ap_50"]))


def _cause_rows(causes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Causes with their words, the most frequent first."""
    rows = [
        {"name": _CAUSES[cause][0], "text": _CAUSES[cause][1], **values}
        for cause, values in causes.items()
    ]
    return sorted(rows, key=lambda row: -int(row["count"]))


def _curves(detections: Detections, drawn: list[str]) -> Markup:
    curves = dict(zip(detections.classes, precision_recall(detections.matches), strict=True))
    shown = detections.matches.score[detections.shown]
    # Boxes are answered by the calibrated score, which orders them as the raw one does.
    least = float(shown.min()) if len(shown) else np.inf
    return precision_recall_plot({name: curves[name] for name in drawn}, least)


def _risk(summary: Mapping[str, Any]) -> Markup:
    threshold = summary["threshold"]
    chosen = None
    if threshold["accepted_pictures"]:
        chosen = (threshold["accepted_share"], threshold["error"])
    points = [RiskPoint(**point) for point in summary["risk_curve"]]
    return risk_curve(points, threshold["max_error"], chosen, "boxes")


def _risk_points(detections: Detections) -> Callable[[str], list[RiskPoint]]:
    """What thresholds do to the boxes of a class."""
    judged, labels = detections.shown & ~detections.matches.ignored, detections.matches.label

    def points(name: str) -> list[RiskPoint]:
        return risk_of_boxes(detections, judged & (labels == detections.classes.index(name)))

    return points
