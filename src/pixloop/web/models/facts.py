"""What a version's page says of it, in words and rows, from its evaluation and its lineage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixloop.config import Config
from pixloop.evaluation.formats import percent, target
from pixloop.evaluation.verdict import METRIC_NAMES
from pixloop.model_versions import ModelVersion
from pixloop.web.rendering import moment

Json = Mapping[str, Any]

#: The metrics that stand in lists, by task.
MAIN: Mapping[str, Sequence[str]] = {
    "classification": ("accuracy", "f1_macro"),
    "detection": ("map_50", "map", "f1_macro"),
}
_NAMES = {
    **METRIC_NAMES,
    "map": "AP50:95",
    "map_50": "AP50",
    "map_75": "AP75",
    "map_small": "AP, small objects",
    "map_medium": "AP, medium objects",
    "map_large": "AP, large objects",
    "mean_iou": "mean overlap (IoU)",
    "ece_before": "calibration error before scaling",
    "ece_after": "calibration error",
    "log_loss": "log loss",
}
_LESS_IS_BETTER = ("ece_before", "ece_after", "log_loss")
_VERDICTS = {"yes": ("good", "Ship it"), "with care": ("warn", "Ship it with care")}
_SHOWN_SHA = 12


@dataclass(frozen=True, slots=True)
class Standing:
    """What a version is: the words, and the kind of the pill that says them."""

    kind: str
    words: str


def standing(version: ModelVersion, newest: str, config: Config) -> Standing:
    """What a version is.

    Args:
        version: which.
        newest: the number of the newest one, which answers in the champion's shadow where
            ``promotion.shadow`` is set.
        config: the project's.
    """
    if version.champion:
        return Standing("good", "champion")
    if version.status == "rejected":
        return Standing("bad", "rejected")
    if config.promotion.shadow and version.version == newest:
        return Standing("busy", "challenger")
    kind = "calm" if version.status == "approved" else "warn"
    return Standing(kind, version.status)


def metric_name(metric: str) -> str:
    """A metric as people call it.

    >>> metric_name("f1_macro"), metric_name("of_my_own")
    ('macro F1', 'of my own')
    """
    return _NAMES.get(metric, metric.replace("_", " "))


def less_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one."""
    return metric in _LESS_IS_BETTER


def verdict(evaluation: Json) -> tuple[str, str] | None:
    """Whether to ship it: the kind of pill and the words; None where nothing says so."""
    ship = (evaluation.get("verdict") or {}).get("ship")
    return _VERDICTS.get(ship, ("bad", "Do not ship it")) if ship else None


def promise(evaluation: Json) -> Sequence[str]:
    """What the threshold is and promises, a sentence each."""
    found = evaluation.get("threshold") or {}
    if "max_error" not in found:
        return []
    what = "box" if evaluation.get("task") == "detection" else "prediction"
    many = "boxes" if what == "box" else "predictions"
    most = (
        f"at most {target(found['max_error'])} wrong, with {target(found['confidence'])} confidence"
    )
    groups = found.get("groups") or []
    if found.get("score") is not None:
        first = f"A {what} is accepted from a score of {found['score']:.3f} on."
    elif found.get("met"):
        scores = [each["score"] for each in groups if each.get("score") is not None]
        low, high = min(scores, default=0.0), max(scores, default=1.0)
        first = (
            f"A {what} is accepted by the threshold of its class: from {low:.3f} to {high:.3f}, in "
            f"{len(groups)} groups."
        )
    else:
        return [
            f"Every {what} goes to a person: no threshold keeps the promise of {most}.",
            f"{found.get('calibration_pictures', 0)} calibration pictures were there"
            + (f"; {found['least_pictures']} is the least." if "least_pictures" in found else "."),
        ]
    said = [first, f"The promise: of what is accepted, {most}."]
    if found.get("accepted"):
        said.append(
            f"On the test pictures, {percent(found['accepted_share'])} of the {many} were "
            f"accepted, of which {percent(found['error'], 2)} were wrong."
        )
    return said


@dataclass(frozen=True, slots=True)
class Parity:
    """A row of the parity certificate."""

    graph: str
    chosen: bool
    agrees: bool
    difference: float | None  #: the largest of a probability, in detection of a score
    alike: float | None  #: the share of pictures with the same top class, or of boxes found again
    overlap: float | None  #: the smallest of a box, in detection
    latency_ms: float | None
    pictures_per_s: float | None
    reason: str


def parity(evaluation: Json) -> Sequence[Parity]:
    """The parity certificate: how each graph compares with the trained model."""
    found = evaluation.get("certificate") or {}
    rows = []
    for each in found.get("graphs", ()):
        precision = each.get("precision", "float32")
        name = each["format"] if precision == "float32" else f"{each['format']}-{precision}"
        first = each.get("largest_probability_difference")
        alike = each.get("top1_agreement")
        rows.append(
            Parity(
                graph=name,
                chosen=name == found.get("chosen_graph"),
                agrees=each["verdict"] == "agrees",
                difference=each.get("largest_score_difference") if first is None else first,
                alike=each.get("matched_share") if alike is None else alike,
                overlap=each.get("smallest_iou"),
                latency_ms=each.get("latency_ms"),
                pictures_per_s=each.get("pictures_per_s"),
                reason=each["reason"],
            )
        )
    return rows


def lineage(version: ModelVersion) -> Sequence[tuple[str, str]]:
    """What a version was made from: names and values, the most asked for first."""
    known = dict(version.lineage)
    annotations = known.pop("annotations", None)
    digest = str(known.pop("dataset_sha256", "") or "")
    rows = [
        ("network", str(known.pop("model", "") or "unknown")),
        ("base weights", str(known.pop("weights", "") or "unknown")),
        ("data set", digest[:_SHOWN_SHA] or "unknown"),
        ("annotations", _annotations(annotations)),
        ("commit", str(known.pop("commit", None) or "none: the project is in no git repository")),
        ("registered", moment(version.created)),
    ]
    known.pop("config", None)
    for name, value in known.items():
        if isinstance(value, Mapping):
            rows.append((name, ", ".join(f"{key} {each}" for key, each in value.items())))
        elif value is not None:
            rows.append((name.replace("_", " "), str(value)))
    rows.append(("bundle", version.bundle_sha256[:_SHOWN_SHA]))
    return rows


def settings(version: ModelVersion) -> Sequence[tuple[str, str]]:
    """The settings that it was made with."""
    found = version.lineage.get("config")
    if not isinstance(found, Mapping):
        return []
    return [(str(key), _setting(value)) for key, value in found.items()]


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _annotations(found: object) -> str:
    if not isinstance(found, Mapping):
        return "none"
    return f"{found.get('count', 0)} by people, of {found.get('pictures', 0)} pictures"
