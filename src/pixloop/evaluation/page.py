"""What the reports of both tasks share: one file, no outside resource, no script.

Every text that came from outside (class names, paths, lineage) is escaped by the templates; a
content security policy forbids the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from pixloop import __version__
from pixloop.bundle import Manifest, graph_name
from pixloop.data.dataset import Dataset
from pixloop.data.findings import KINDS
from pixloop.evaluation.metrics import Counts
from pixloop.evaluation.odds import describe_odds
from pixloop.evaluation.plots import history_plot, interval_plot
from pixloop.evaluation.section import Section
from pixloop.monitoring.odds import Odds

#: With more classes than this, lists of the worst take the place of the full matrix and table.
MAX_CLASSES = 25

_WORST_CLASSES = 15
_METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "map": "mean AP",
    "map_50": "mean AP50",
    "map_75": "mean AP75",
}
Answers = TypeVar("Answers")


@dataclass(frozen=True, slots=True)
class Evidence(Generic[Answers]):
    """What a report shows beside the numbers of evaluation.json.

    The four after the answers are the content of files that may be missing, which takes their
    part from the report: the parity certificate, data_report.json, training.json, and the bundle's
    odds.json.
    """

    manifest: Manifest
    dataset: Dataset
    answers: Answers  #: to the test pictures
    certificate: Mapping[str, Any] | None = None
    data_report: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    odds: Odds | None = None
    sections: Sequence[Section] = ()  #: what the studies found


def render_page(
    template: str,
    summary: Mapping[str, Any],
    evidence: Evidence[Answers],
    learned: tuple[str, str],
    **more: Any,
) -> str:
    """A report as HTML.

    Args:
        template: its file in ``templates/``, built on ``base.html``.
        summary: the ``pixloop`` section of evaluation.json.
        evidence: what else is shown.
        learned: the validation metric of training.json that is plotted, and its name.
        more: what only this template knows.
    """
    info = evidence.dataset.info
    return (
        _environment()
        .get_template(template)
        .render(
            s=summary,
            manifest=evidence.manifest,
            metric=_METRIC_NAMES[summary["gate"]["metric"]],
            table_rows=_WORST_CLASSES if len(summary["classes"]) > MAX_CLASSES else MAX_CLASSES,
            graphs=_named_graphs(evidence.certificate or {}),
            certificate=evidence.certificate or {},
            training=_training(evidence.training, *learned),
            pictures=info.pictures or {k: sum(n.values()) for k, n in info.counts.items()},
            drift=describe_odds(evidence.odds),
            findings=_findings(evidence.data_report),
            promotion=_promotion(summary.get("promotion")),
            lineage=_lineage(evidence.manifest),
            sections=evidence.sections,
            version=__version__,
            **more,
        )
    )


def _named_graphs(certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of every graph, with its name; older certificates know one precision."""
    return [
        {**graph, "name": graph_name(graph["format"], graph.get("precision", "float32"))}
        for graph in certificate.get("graphs", [])
    ]


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


def matrix_rows(counts: Counts, classes: Sequence[str]) -> list[dict[str, Any]] | None:
    """A confusion matrix with each row's shares, or None where it would be too large."""
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


def _training(training: Mapping[str, Any] | None, metric: str, name: str) -> dict[str, Any] | None:
    """Both plots of the training history, and what was kept."""
    history = (training or {}).get("history") or []
    if training is None or not history:
        return None
    validated = _series((e["epoch"], e.get("validation", {}).get("loss")) for e in history)
    learnt = _series((e["epoch"], e.get("validation", {}).get(metric)) for e in history)
    trained = _series((e["epoch"], e.get("train_loss")) for e in history)
    return {
        **training,
        "loss": history_plot({"training": trained, "validation": validated}, "loss"),
        "validated": bool(validated),
        "learned": history_plot({name: learnt}, name, from_zero=False),
        "learned_name": name,
    }


def _promotion(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the paired test says, with a plot of it; None without a champion."""
    if not found or not found["champion"]:
        return None
    parts = {"all": found["overall"], "annotated since": found["slice"]}
    rows = {f"{name} ({_count(part['pictures'])})": part for name, part in parts.items() if part}
    lines = [(name, p["low"], p["difference"], p["high"]) for name, p in rows.items()]
    return {**found, "rows": rows, "plot": interval_plot(lines, found["margin"])}


def _series(points: Iterable[tuple[int, float | None]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if y is not None]


def _findings(data_report: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The data report's findings with their words, the gravest first; None without a report."""
    if data_report is None:
        return None
    order = ("error", "warning", "info")
    findings = sorted(data_report["findings"], key=lambda f: order.index(f["severity"]))
    return [{**found, "text": KINDS[found["kind"]].text(found["count"])} for found in findings]


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
