"""What a model card says, part by part: the same for HTML and Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixloop.config_evaluation import CardConfig
from pixloop.data.annotation_lineage import LINEAGE
from pixloop.evaluation.formats import count, percent, target
from pixloop.evaluation.limits import name_limits
from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.page import Answers, Evidence, count_pictures, data_findings

#: With more classes than this, only the weakest are listed.
_MOST_ROWS = 12


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the card: texts, then a table, then points. ``key`` is what fills it if empty."""

    title: str
    texts: Sequence[str] = ()
    head: Sequence[str] = ()  #: of the table
    rows: Sequence[Sequence[str]] = ()
    points: Sequence[str] = ()
    key: str = ""


def describe(
    summary: Mapping[str, Any], evidence: Evidence[Answers], card: CardConfig
) -> list[Part]:
    """The parts of the card, in order."""
    detects = summary.get("task") == "detection"
    return [
        _said("Intended use", card.intended_use, "card.intended_use"),
        _said("Not for", card.not_for, "card.not_for"),
        _box_quality(summary) if detects else _quality(summary),
        _box_classes(summary) if detects else _classes(summary),
        _decisions(summary),
        _studies(evidence),
        Part("Limits", points=name_limits(summary, evidence)),
        _data(evidence, card),
        _lineage(evidence),
        _said("Licence", card.license, "card.license"),
        _said("Contact", card.contact, "card.contact"),
    ]


def _said(title: str, text: str, key: str) -> Part:
    return Part(title, texts=[text.strip()]) if text.strip() else Part(title, key=key)


def _quality(summary: Mapping[str, Any]) -> Part:
    metrics, intervals = summary["metrics"], summary["intervals"]
    rows = [
        ("accuracy", percent(metrics["accuracy"]), _range(intervals["accuracy"])),
        ("macro F1", f"{metrics['f1_macro']:.3f}", "–"),
        ("macro precision", f"{metrics['precision_macro']:.3f}", "–"),
        ("macro recall", f"{metrics['recall_macro']:.3f}", "–"),
        ("calibration error", percent(metrics["ece_after"]), "–"),
    ]
    said = f"On {count(summary['pictures'])} test pictures that took no part in training."
    return Part("Metrics", [said], ("metric", "value", "95 % interval"), rows)


def _box_quality(summary: Mapping[str, Any]) -> Part:
    metrics, interval = summary["metrics"], summary["intervals"]["map_50"]
    low_high = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
    names = {"map": "mean AP (IoU 0.50 to 0.95)", "map_75": "mean AP75", "mean_iou": "mean IoU"}
    rows = [("mean AP50", _number(metrics["map_50"]), low_high)]
    rows += [(name, _number(metrics[key]), "–") for key, name in names.items()]
    rows += [
        ("macro precision", _number(metrics["precision_macro"]), "–"),
        ("macro recall", _number(metrics["recall_macro"]), "–"),
        ("calibration error", percent(metrics["ece_after"]), "–"),
    ]
    said = (
        f"On {count(summary['pictures'])} test pictures with {count(summary['boxes']['true'])} "
        "true boxes, which took no part in training."
    )
    return Part("Metrics", [said], ("metric", "value", "95 % interval"), rows)


def _classes(summary: Mapping[str, Any]) -> Part:
    ordered = sorted(summary["classes"].items(), key=lambda e: (not e[1]["pictures"], e[1]["f1"]))
    rows = []
    for name, row in ordered[:_MOST_ROWS]:
        tested = row["pictures"]
        right = round(row["recall"] * tested)
        interval = _range(wilson_interval(right, tested)) if tested else "–"
        rows.append((name, f"{row['f1']:.3f}", percent(row["recall"]), interval, count(tested)))
    head = ("class", "F1", "recall", "95 % interval of recall", "test pictures")
    return Part(_of_classes(len(ordered)), (), head, rows)


def _box_classes(summary: Mapping[str, Any]) -> Part:
    ordered = sorted(
        summary["classes"].items(), key=lambda e: (e[1]["ap_50"] is None, e[1]["ap_50"] or 0.0)
    )
    rows = [
        (
            name,
            _number(row["ap_50"]),
            _number(row["ap"]),
            percent(row["precision"]),
            percent(row["recall"]),
            count(row["boxes"]),
        )
        for name, row in ordered[:_MOST_ROWS]
    ]
    head = ("class", "AP50", "AP", "precision", "recall", "test boxes")
    return Part(_of_classes(len(ordered)), (), head, rows)


def _of_classes(number: int) -> str:
    shown = (
        f"the weakest {_MOST_ROWS} of {count(number)}" if number > _MOST_ROWS else "weakest first"
    )
    return f"Classes, {shown}"


def _decisions(summary: Mapping[str, Any]) -> Part:
    threshold = summary["threshold"]
    promise = (
        f"at most {target(threshold['max_error'])} wrong among what is accepted, with "
        f"{target(threshold['confidence'])} confidence"
    )
    pictures = f"{count(threshold['calibration_pictures'])} calibration pictures"
    if not threshold["accepted"]:
        said = f"It accepts nothing by itself; asked for was {promise}, on {pictures}."
        return Part("Decisions", [said])
    return Part(
        "Decisions",
        [
            f"Promised: {promise}, from {pictures}, for pictures that come as those did.",
            f"Measured on the test pictures: it accepts {percent(threshold['accepted_share'])}, of "
            f"which {percent(threshold['error'], 2)} are wrong "
            f"(95 % interval {_range(threshold['error_interval'], 2)}); "
            "a person decides about the rest.",
        ],
    )


def _studies(evidence: Evidence[Answers]) -> Part:
    rows = [(section.title, section.verdict) for section in evidence.sections]
    if not rows:
        return Part("What else was looked into", ["Nothing: no study was made."])
    return Part("What else was looked into", (), ("study", "what it found"), rows)


def _data(evidence: Evidence[Answers], card: CardConfig) -> Part:
    info = evidence.dataset.info
    pictures = ", ".join(
        f"{count(n)} {split}" for split, n in count_pictures(evidence.dataset).items()
    )
    texts = [card.data.strip()] if card.data.strip() else []
    texts.append(f"Pictures: {pictures}. {_annotators(evidence)}")
    findings = [
        f"{count(f['count'])} {f['text']}" for f in data_findings(evidence.data_report) or []
    ]
    if findings:
        texts.append(f"Found while it was prepared: {'; '.join(findings)}.")
    classes = sorted({name for split in info.counts.values() for name in split})
    what = "boxes" if info.task == "detection" else "pictures"
    head = (f"{what} of class", *info.counts)
    rows = [
        (name, *(count(split.get(name, 0)) for split in info.counts.values()))
        for name in classes[:_MOST_ROWS]
    ]
    if len(classes) > _MOST_ROWS:
        rows.append((f"{len(classes) - _MOST_ROWS} more", *("" for _ in info.counts)))
    return Part("Data", texts, head, rows, key="" if card.data.strip() else "card.data")


def _annotators(evidence: Evidence[Answers]) -> str:
    """How many people labelled how much of it through pixloop."""
    annotations = evidence.dataset.info.annotations
    if annotations is None:
        return "The labels are the source’s own."
    lines = (evidence.dataset.folder / LINEAGE).read_text(encoding="utf-8").splitlines()
    people = len({json.loads(line)["annotator"] for line in lines})
    return (
        f"{count(people)} {'person' if people == 1 else 'people'} labelled "
        f"{count(annotations.pictures)} of them; the other labels are the source’s own."
    )


def _lineage(evidence: Evidence[Answers]) -> Part:
    manifest = evidence.manifest
    lineage = manifest.lineage
    known = {
        "network": lineage.get("model"),
        "started from": lineage.get("weights"),
        "data set, SHA-256": evidence.dataset.info.sha256,
        "commit": lineage.get("commit"),
        "seed": lineage.get("seed"),
        "served graph": manifest.chosen_graph,
        "bundle made": manifest.created,
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    rows = [(name, str(value)) for name, value in known.items() if value not in (None, "")]
    return Part("Lineage", (), ("", ""), rows)


def _range(interval: Sequence[float], digits: int = 1) -> str:
    return f"{percent(interval[0], digits)} to {percent(interval[1], digits)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
