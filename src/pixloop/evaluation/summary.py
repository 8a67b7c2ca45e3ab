"""The ``pixloop`` section of evaluation.json: every number of the report."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pixloop.bundle import Manifest, Threshold, now
from pixloop.config import GateConfig
from pixloop.evaluation.calibration import expected_calibration_error, reliability
from pixloop.evaluation.decisions import describe_threshold
from pixloop.evaluation.examples import describe_examples
from pixloop.evaluation.metrics import Metrics, confusion_matrix, measure, wilson_interval
from pixloop.evaluation.predictions import Predictions
from pixloop.evaluation.risk import risk_points
from pixloop.evaluation.thresholds import selective_curve

Json = dict[str, Any]

# No test picture can show that a probability is exactly 0; the loss would be infinite.
_LEAST_PROBABILITY = 1e-12


def summarise(
    manifest: Manifest,
    predictions: Predictions,
    gate: GateConfig,
    champion: Predictions | None,
    promotion: Json | None = None,
) -> Json:
    """The section, as JSON values without NaN.

    Args:
        manifest: of the bundle that was scored.
        predictions: its answers to the test pictures.
        gate: the conditions to judge by.
        champion: the champion's answers to the same pictures, where there is one.
        promotion: what ``promotion.weigh`` says of the two.
    """
    metrics = metrics_of(predictions)
    right, total = int(predictions.correct.sum()), len(predictions)
    comparison = _compare(gate.metric, predictions, metrics, champion)
    return {
        "name": manifest.name,
        "created": now(),
        "pictures": total,
        "graph": manifest.chosen_graph,
        "temperature": manifest.temperature,
        "metrics": {
            **{name: getattr(metrics, name) for name in _OVERALL},
            "ece_before": expected_calibration_error(predictions.uncalibrated, predictions.targets),
            "ece_after": expected_calibration_error(predictions.probabilities, predictions.targets),
            "log_loss": _log_loss(predictions),
        },
        "intervals": {"accuracy": list(wilson_interval(right, total))},
        "classes": _classes(predictions, metrics),
        "threshold": _threshold(manifest.threshold, predictions),
        "reliability": _reliability(predictions),
        "risk_curve": _risk_curve(predictions),
        "examples": describe_examples(predictions),
        "comparison": comparison,
        "promotion": promotion,
        "gate": judge(gate, comparison, promotion),
    }


_OVERALL = ("accuracy", "f1_macro", "precision_macro", "recall_macro")


def metrics_of(predictions: Predictions) -> Metrics:
    """Accuracy, precision, recall and F1 of a model's answers."""
    classes = len(predictions.classes)
    return measure(confusion_matrix(predictions.targets, predictions.predicted, classes))


def _log_loss(predictions: Predictions) -> float:
    chosen = predictions.probabilities[np.arange(len(predictions)), predictions.targets]
    return float(-np.log(np.maximum(chosen, _LEAST_PROBABILITY)).mean())


def _reliability(predictions: Predictions) -> Json:
    """The bins before and after scaling."""
    tables = {"before": predictions.uncalibrated, "after": predictions.probabilities}
    return {
        when: [asdict(bin_) for bin_ in reliability(table, predictions.targets)]
        for when, table in tables.items()
    }


def _risk_curve(predictions: Predictions) -> list[Json]:
    curve = selective_curve(predictions.scores, predictions.correct)
    return [asdict(point) for point in risk_points(curve, len(predictions))]


def _classes(predictions: Predictions, metrics: Metrics) -> Json:
    return {
        name: {
            "pictures": found.pictures,
            "precision": found.precision,
            "recall": found.recall,
            "f1": found.f1,
        }
        for name, found in zip(predictions.classes, metrics.classes, strict=True)
    }


def _threshold(threshold: Threshold, predictions: Predictions) -> Json:
    """The bundle's thresholds, and what they do on the test pictures."""
    labels = np.array(predictions.classes, dtype=object)[predictions.predicted]

    def measure(classes: Sequence[str]) -> Json:
        of = np.array([label in classes for label in labels], np.bool_)
        accepted = int((predictions.accepted & of).sum())
        wrong = int((predictions.accepted & of & ~predictions.correct).sum())
        return {
            "answered": int(of.sum()),
            "accepted": accepted,
            "wrong": wrong,
            "accepted_share": accepted / max(int(of.sum()), 1),
            "error": wrong / accepted if accepted else None,
            "error_interval": list(wilson_interval(wrong, accepted)) if accepted else None,
        }

    return describe_threshold(threshold, predictions.classes, measure)


def _compare(
    metric: str, challenger: Predictions, metrics: Metrics, champion: Predictions | None
) -> Json:
    value = float(getattr(metrics, metric))
    if champion is None:
        return compare_values(metric, value)
    return {
        **compare_values(metric, value, float(getattr(metrics_of(champion), metric))),
        "gained": int((challenger.correct & ~champion.correct).sum()),
        "lost": int((champion.correct & ~challenger.correct).sum()),
    }


def compare_values(metric: str, value: float, champion: float | None = None) -> Json:
    """Both models on the same pictures.

    Without a champion (``champion`` is false) its value is 0: no metric is below it, so that a
    pipeline's condition on it always holds.
    """
    if champion is None:
        return {
            "champion": False,
            "metric": metric,
            "value": value,
            "champion_value": 0.0,
            "difference": value,
        }
    return {
        "champion": True,
        "metric": metric,
        "value": value,
        "champion_value": champion,
        "difference": value - champion,
    }


def judge(gate: GateConfig, comparison: Json, promotion: Json | None = None) -> Json:
    """Whether the gate holds, and each condition that fails, in words.

    With ``better_than_champion`` it refuses what the paired test shows to be worse; without such a
    test, what measures less.
    """
    value, difference = comparison["value"], comparison["difference"]
    worse = difference < 0 if promotion is None else promotion["shown_worse"]
    failures = []
    if value < gate.minimum:
        failures.append(
            f"{gate.metric} is {value:.4f}, {gate.minimum - value:.4f} below {gate.minimum:g}"
        )
    if gate.better_than_champion and comparison["champion"] and worse:
        failures.append(
            promotion["words"][0]
            if promotion
            else f"{gate.metric} is {-difference:.4f} below the champion's "
            f"{comparison['champion_value']:.4f}"
        )
    return {
        "metric": gate.metric,
        "value": value,
        "minimum": gate.minimum,
        "better_than_champion": gate.better_than_champion,
        "passes": not failures,
        "failures": failures,
    }


def judge_kept(judged: Json, gate: GateConfig, kept_share: float | None) -> Json:
    """What ``judge`` says, and whether enough of the accuracy is kept under corruptions.

    Args:
        judged: by the other conditions.
        gate: ``min_kept_accuracy`` is what is asked; 0 asks for nothing.
        kept_share: as the study of robustness has it, where there is one.
    """
    least = gate.min_kept_accuracy
    if not least:
        return judged
    if kept_share is None:
        failure = f"what is kept under corruptions was not measured, and {least:g} is asked for"
    elif kept_share < least:
        failure = (
            f"the share of its accuracy that is kept under corruptions is {kept_share:.4f}, "
            f"{least - kept_share:.4f} below {least:g}"
        )
    else:
        return {**judged, "min_kept_accuracy": least}
    return {
        **judged,
        "min_kept_accuracy": least,
        "passes": False,
        "failures": [*judged["failures"], failure],
    }
