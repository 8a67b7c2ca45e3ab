"""A classifier's report.html: what evaluation.json says, for people.

The verdict comes first, then what it rests on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from pixloop.evaluation.decisions import decisions_part
from pixloop.evaluation.examples import choose_examples
from pixloop.evaluation.metrics import Counts, confusion_matrix
from pixloop.evaluation.page import (
    MAX_CLASSES,
    Evidence,
    matrix_rows,
    reliability_plot,
    render_page,
)
from pixloop.evaluation.plots import risk_curve
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.risk import RiskPoint, risk_points
from pixloop.evaluation.thresholds import selective_curve

_TOP_CONFUSIONS, _TOP_BESIDE_MATRIX = 15, 7


def render_report(summary: Mapping[str, Any], evidence: Evidence[Predictions]) -> str:
    """The report as HTML; ``summary`` is the ``pixloop`` section of evaluation.json."""
    predictions = evidence.answers
    counts = confusion_matrix(predictions.targets, predictions.predicted, len(predictions.classes))
    return render_page(
        "classification.html",
        summary,
        evidence,
        ("f1_macro", "macro F1"),
        classes=_class_rows(summary["classes"], counts, predictions.classes),
        matrix=matrix_rows(counts, predictions.classes),
        confusions=(confusions := _confusions(counts, predictions.classes)),
        confusion_shares=[c["count"] / c["of"] for c in confusions],
        calibration=reliability_plot(summary["reliability"]),
        risk=_risk_curve(summary),
        **decisions_part(summary["threshold"], _risk_points(predictions), "answers"),
        examples=choose_examples(predictions, evidence.dataset.split("test")),
    )


def _class_rows(
    metrics: Mapping[str, Any], counts: Counts, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """A row a class, the weakest first, with what it is most often mistaken for."""
    rows = []
    for k, name in enumerate(classes):
        others = counts[k].copy()
        others[k] = 0
        worst = int(others.argmax())
        mistaken = (classes[worst], int(others[worst])) if others[worst] else None
        rows.append({"name": name, "mistaken": mistaken, **metrics[name]})
    # A class without test pictures has no F1 worth ranking.
    return sorted(rows, key=lambda row: (row["pictures"] == 0, row["f1"]))


def _confusions(counts: Counts, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most frequent mistakes: true class, answer, how often, and of how many."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    most = _TOP_CONFUSIONS if len(classes) > MAX_CLASSES else _TOP_BESIDE_MATRIX
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(place), len(classes)) for place in order)
    return [
        {
            "label": classes[k],
            "answer": classes[j],
            "count": int(wrong[k, j]),
            "of": int(counts[k].sum()),
        }
        for k, j in pairs
        if wrong[k, j]
    ]


def _risk_curve(summary: Mapping[str, Any]) -> Markup:
    threshold = summary["threshold"]
    chosen = None
    if threshold["accepted"]:
        chosen = (threshold["accepted_share"], threshold["error"])
    points = [RiskPoint(**point) for point in summary["risk_curve"]]
    return risk_curve(points, threshold["max_error"], chosen)


def _risk_points(predictions: Predictions) -> Callable[[str], list[RiskPoint]]:
    """What thresholds do to the answers that name a class."""

    def points(label: str) -> list[RiskPoint]:
        of = predictions.predicted == predictions.classes.index(label)
        curve = selective_curve(predictions.scores[of], predictions.correct[of])
        return risk_points(curve, int(of.sum()))

    return points
