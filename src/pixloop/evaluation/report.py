"""report.html: what evaluation.json says, for people. One file, no outside resource, no script.

The verdict comes first, then what it rests on. Every text that came from outside (class names,
paths, lineage) is escaped by the template; a content security policy forbids the rest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pixloop import __version__
from pixloop.bundle import Manifest
from pixloop.data.dataset import Dataset
from pixloop.data.findings import KINDS
from pixloop.evaluation.calibration import reliability
from pixloop.evaluation.examples import choose_examples
from pixloop.evaluation.metrics import Counts, confusion_matrix
from pixloop.evaluation.plots import history_plot, reliability_diagram, risk_curve
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.thresholds import selective_curve
from pixloop.files import write_text

#: With more classes than this, lists of the worst take the place of the full matrix and table.
MAX_CLASSES = 25

_WORST_CLASSES = 15
_TOP_CONFUSIONS, _TOP_BESIDE_MATRIX = 15, 7
_METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the report shows beside the numbers of evaluation.json.

    The last three are the content of files that may be missing, which takes their part from the
    report: the parity certificate, data_report.json and training.json.
    """

    manifest: Manifest
    dataset: Dataset
    predictions: Predictions
    certificate: Mapping[str, Any] | None = None
    data_report: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None


def write_report(path: Path, summary: Mapping[str, Any], evidence: Evidence) -> None:
    """Write the report; ``summary`` is the ``pixloop`` section of evaluation.json."""
    write_text(path, render_report(summary, evidence))


def render_report(summary: Mapping[str, Any], evidence: Evidence) -> str:
    """The report as HTML."""
    predictions = evidence.predictions
    counts = confusion_matrix(predictions.targets, predictions.predicted, len(predictions.classes))
    return (
        _environment()
        .get_template("report.html")
        .render(
            s=summary,
            manifest=evidence.manifest,
            metric=_METRIC_NAMES[summary["gate"]["metric"]],
            classes=_class_rows(summary["classes"], counts, predictions.classes),
            table_rows=_WORST_CLASSES if len(predictions.classes) > MAX_CLASSES else MAX_CLASSES,
            matrix=_matrix(counts, predictions.classes),
            confusions=(confusions := _confusions(counts, predictions.classes)),
            confusion_shares=[c["count"] / c["of"] for c in confusions],
            calibration=reliability_diagram(
                reliability(predictions.uncalibrated, predictions.targets),
                reliability(predictions.probabilities, predictions.targets),
            ),
            risk=_risk_curve(summary["threshold"], predictions),
            examples=choose_examples(predictions, evidence.dataset.split("test")),
            graphs=(evidence.certificate or {}).get("graphs", []),
            certificate=evidence.certificate or {},
            training=_training(evidence.training),
            splits=evidence.dataset.info.counts,
            findings=_findings(evidence.data_report),
            lineage=_lineage(evidence.manifest),
            version=__version__,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pixloop.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, target=_target, count=_count, points=_points)
    return environment


def percent(share: float, digits: int = 1) -> str:
    r"""A share in per cent; nothing but all is 100, and nothing but none is 0.

    >>> percent(0.9412), percent(0.99999), percent(1.0), percent(0.00001)
    ('94.1\xa0%', '99.9\xa0%', '100\xa0%', '0.1\xa0%')
    """
    if share in (0, 1):
        return f"{share * 100:.0f}\xa0%"
    least = 10.0**-digits
    return f"{min(max(share * 100, least), 100 - least):.{digits}f}\xa0%"


def _target(share: float) -> str:
    """A share that someone chose, with the digits they chose: ``2 %``."""
    return f"{share * 100:.4g}\xa0%"


def _points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{difference * 100:+.1f}".replace("-", "−")


def _count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")


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


def _matrix(counts: Counts, classes: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """The confusion matrix with each row's shares, or None where it would be too large."""
    if len(classes) > MAX_CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        {
            "name": name,
            "cells": [
                {"answer": answer, "count": int(n), "share": float(share), "right": j == k}
                for j, (answer, n, share) in enumerate(
                    zip(classes, counts[k], shares[k], strict=True)
                )
            ],
        }
        for k, name in enumerate(classes)
    ]


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


def _risk_curve(threshold: Mapping[str, Any], predictions: Predictions) -> Markup:
    chosen = None
    if threshold["accepted"]:
        chosen = (threshold["accepted_share"], threshold["error"])
    curve = selective_curve(predictions.scores, predictions.correct)
    return risk_curve(curve, len(predictions), threshold["max_error"], chosen)


def _training(training: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Both plots of the training history, and what was kept."""
    history = (training or {}).get("history") or []
    if training is None or not history:
        return None
    return {
        **training,
        "loss": history_plot(
            {
                "training": _series((e["epoch"], e.get("train_loss")) for e in history),
                "validation": _series(
                    (e["epoch"], e.get("validation", {}).get("loss")) for e in history
                ),
            },
            "loss",
        ),
        "f1": history_plot(
            {
                "macro F1": _series(
                    (e["epoch"], e.get("validation", {}).get("f1_macro")) for e in history
                ),
            },
            "macro F1",
            from_zero=False,
        ),
    }


def _series(points: Iterable[tuple[int, float | None]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if y is not None]


def _findings(data_report: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The data report's findings with their words, the gravest first; None without a report."""
    if data_report is None:
        return None
    order = ("error", "warning", "info")
    findings = sorted(data_report["findings"], key=lambda f: order.index(f["severity"]))
    return [{**found, "text": KINDS[found["kind"]].text} for found in findings]


def _lineage(manifest: Manifest) -> list[tuple[str, str]]:
    """Names and values in one flat list, the configuration's keys last."""
    rows: list[tuple[str, str]] = [("bundle made", manifest.created)]
    for key, value in manifest.lineage.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}: {inner}", str(v)) for inner, v in value.items()]
        elif value is not None:
            rows.append((key, str(value)))
    rows += [(f"exported with {name}", version) for name, version in manifest.versions.items()]
    return rows
