"""A detector's metrics in the style of SageMaker's model-quality file.

Model Monitor knows regression and classification only, so ``object_detection_metrics`` is
pixloop's own name. What is inside is written as in ``evaluation/model_quality.py``: a value and a
standard deviation each, and the confusion matrix by name.
"""

from typing import Any

import numpy as np

from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.precision import rank_classes, weighted_averages
from pixloop.evaluation.model_quality import DRAW_MINIMUM, DRAW_SHARE, DRAWS

#: What the last row and column of the confusion matrix are called.
BACKGROUND = "(background)"


def detection_quality(detections: Detections, summary: dict[str, Any]) -> dict[str, Any]:
    """``{"object_detection_metrics": …}``; ``summary`` is the section "pixloop"."""
    metrics = summary["metrics"]
    names = (*detections.classes, BACKGROUND)
    values = {
        "mean_average_precision": metrics["map"],
        "mean_average_precision_50": metrics["map_50"],
        "mean_average_precision_75": metrics["map_75"],
        "macro_precision": metrics["precision_macro"],
        "macro_recall": metrics["recall_macro"],
        "macro_f1": metrics["f1_macro"],
    }
    deviations = {"mean_average_precision_50": _deviation(detections)}
    return {
        "object_detection_metrics": {
            "confusion_matrix": {
                name: dict(zip(names, row, strict=True))
                for name, row in zip(names, summary["confusion_matrix"], strict=True)
            },
            **{
                name: {"value": value, "standard_deviation": deviations.get(name) or "NaN"}
                for name, value in values.items()
            },
        }
    }


def _deviation(detections: Detections) -> float | None:
    """AP50's standard deviation over draws of the pictures; None for too few of them."""
    pictures = len(detections)
    if pictures < DRAW_MINIMUM:
        return None
    rng, ranked = np.random.default_rng(0), rank_classes(detections.matches)
    values = []
    for _ in range(DRAWS):
        weights = np.zeros(pictures, np.int64)
        weights[rng.choice(pictures, int(pictures * DRAW_SHARE), replace=False)] = 1
        values.append(np.mean(weighted_averages(detections.matches, ranked, weights) or [0.0]))
    return float(np.std(values))
