"""SageMaker's form of the metrics, as Model Monitor writes it and the model registry reads it.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.metrics import Counts, confusion_matrix, precision_recall_f

#: Like Model Monitor: deviations over five random draws of 80 %, from 200 pictures on.
DRAWS, DRAW_SHARE, DRAW_MINIMUM = 5, 0.8, 200


def model_quality(
    targets: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """``{"multiclass_classification_metrics": …}``, two classes included.

    Args:
        targets: shape (N,), the index of the true class.
        predicted: shape (N,), the index of the answer.
        classes: the names of the K classes.
    """
    counts = confusion_matrix(targets, predicted, len(classes))
    constant = np.full_like(targets, counts.sum(axis=1).argmax())
    values = _weighted(counts)
    deviations = _deviations(targets, predicted, len(classes))
    constants = _weighted(confusion_matrix(targets, constant, len(classes)))
    constant_deviations = _deviations(targets, constant, len(classes))
    return {
        "multiclass_classification_metrics": {
            "confusion_matrix": {
                name: dict(zip(classes, row, strict=True))
                for name, row in zip(classes, counts.tolist(), strict=True)
            },
            **{
                name: {"value": value, "standard_deviation": deviations.get(name, "NaN")}
                for name, value in values.items()
            },
            **{
                f"{name}_best_constant_classifier": {
                    "value": value,
                    "standard_deviation": constant_deviations.get(name, "NaN"),
                }
                for name, value in constants.items()
            },
        }
    }


def _weighted(counts: Counts) -> dict[str, float]:
    """Accuracy, and means over the classes, weighted by their pictures."""
    total = max(int(counts.sum()), 1)
    shares = counts.sum(axis=1) / total
    precision, recall, f1 = precision_recall_f(counts, 1.0)
    return {
        "accuracy": float(counts.trace() / total),
        "weighted_recall": float(recall @ shares),
        "weighted_precision": float(precision @ shares),
        "weighted_f0_5": float(precision_recall_f(counts, 0.5)[2] @ shares),
        "weighted_f1": float(f1 @ shares),
        "weighted_f2": float(precision_recall_f(counts, 2.0)[2] @ shares),
    }


def _deviations(
    targets: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> dict[str, float]:
    """Each metric's standard deviation over the draws; empty for too few pictures."""
    if len(targets) < DRAW_MINIMUM:
        return {}
    rng = np.random.default_rng(0)
    size = int(len(targets) * DRAW_SHARE)
    draws = []
    for _ in range(DRAWS):
        chosen = rng.choice(len(targets), size, replace=False)
        draws.append(_weighted(confusion_matrix(targets[chosen], predicted[chosen], classes)))
    return {name: float(np.std([draw[name] for draw in draws])) for name in draws[0]}
