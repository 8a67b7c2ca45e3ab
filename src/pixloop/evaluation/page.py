"""What the reports of both tasks share: one file, no outside resource.

Every text that came from outside (class names, paths, lineage) is escaped by the templates; a
content security policy forbids the rest, and any script but the one that shows what a mark says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from markupsafe import Markup

from pixloop import __version__
from pixloop.bundle import Manifest, graph_name
from pixloop.data.dataset import Dataset
from pixloop.data.findings import KINDS
from pixloop.evaluation.calibration import ReliabilityBin
from pixloop.evaluation.formats import count
from pixloop.evaluation.metrics import Counts
from pixloop.evaluation.odds import describe_odds
from pixloop.evaluation.plots import history_plot, interval_plot, reliability_diagram
from pixloop.evaluation.rendering import render
from pixloop.evaluation.section import Section
from pixloop.evaluation.verdict import METRIC_NAMES, conclude
from pixloop.monitoring.odds import Odds

#: With more classes than this, lists of the worst take the place of the full matrix and table.
MAX_CLASSES = 25

_WORST_CLASSES = 15
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
    return render(
        template,
        s=summary,
        verdict=conclude(summary, evidence.sections),
        manifest=evidence.manifest,
        metric=METRIC_NAMES[summary["gate"]["metric"]],
        table_rows=_WORST_CLASSES if len(summary["classes"]) > MAX_CLASSES else MAX_CLASSES,
        graphs=named_graphs(evidence.certificate),
        certificate=evidence.certificate or {},
        training=_training(evidence.training, *learned),
        pictures=count_pictures(evidence.dataset),
        drift=describe_odds(evidence.odds),
        findings=data_findings(evidence.data_report),
        promotion=_promotion(summary.get("promotion")),
        lineage=lineage_rows(evidence.manifest),
        sections=evidence.sections,
        version=__version__,
        **more,
    )


def count_pictures(dataset: Dataset) -> dict[str, int]:
    """Pictures of each split; of format 1, the sum over the classes."""
    info = dataset.info
    pictures = info.pictures or {name: sum(own.values()) for name, own in info.counts.items()}
    return {str(name): number for name, number in pictures.items()}


def named_graphs(certificate: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The results of every graph, with its name; older certificates know one precision."""
    return [
        {**graph, "name": graph_name(graph["format"], graph.get("precision", "float32"))}
        for graph in (certificate or {}).get("graphs", [])
    ]


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


def reliability_plot(found: Mapping[str, Any], what: str = "pictures") -> Markup:
    """The reliability diagram of evaluation.json's ``reliability``; ``what`` is counted."""
    before, after = ([ReliabilityBin(**bin_) for bin_ in found[k]] for k in ("before", "after"))
    return reliability_diagram(before, after, what)


def _training(training: Mapping[str, Any] | None, metric: str, name: str) -> dict[str, Any] | None:
    """Both plots of the training history, what was kept, and how far the last layers came."""
    history = (training or {}).get("history") or []
    if training is None or not history:
        return None
    validated = _series((e["epoch"], e.get("validation", {}).get("loss")) for e in history)
    learnt = _series((e["epoch"], e.get("validation", {}).get(metric)) for e in history)
    trained = _series((e["epoch"], e.get("train_loss")) for e in history)
    head = (training.get("head_only") or {}).get(metric)
    return {
        **training,
        "first_score": None if head is None else (head, history[0]["validation"][metric]),
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
    rows = {f"{name} ({count(part['pictures'])})": part for name, part in parts.items() if part}
    lines = [(name, p["low"], p["difference"], p["high"]) for name, p in rows.items()]
    return {**found, "rows": rows, "plot": interval_plot(lines, found["margin"])}


def _series(points: Iterable[tuple[int, float | None]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if y is not None]


def data_findings(data_report: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The data report's findings with their words, the gravest first; None without a report."""
    if data_report is None:
        return None
    order = ("error", "warning", "info")
    findings = sorted(data_report["findings"], key=lambda f: order.index(f["severity"]))
    return [{**found, "text": KINDS[found["kind"]].text(found["count"])} for found in findings]


def lineage_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Names and values in one flat list, the configuration's keys last."""
    rows: list[tuple[str, str]] = [("bundle made", manifest.created)]
    for key, value in manifest.lineage.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}: {inner}", str(v)) for inner, v in value.items()]
        elif value is not None:
            rows.append((key, str(value)))
    rows += [(f"exported with {name}", version) for name, version in manifest.versions.items()]
    return rows
