import json

import numpy as np
import pytest
from sklearn import metrics as reference

from pixloop.evaluation.model_quality import model_quality

CLASSES = ("bus", "<car>", "tram")


def quality(pictures: int) -> tuple[dict, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    targets = rng.choice(3, pictures, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.random(pictures) < 0.8, targets, rng.integers(0, 3, pictures))
    found = model_quality(targets, predicted, CLASSES)
    return found["multiclass_classification_metrics"], targets, predicted


def test_weighted_metrics_are_scikit_learns() -> None:
    found, targets, predicted = quality(400)
    weighted = {"average": "weighted", "zero_division": 0}
    for beta, name in [(0.5, "weighted_f0_5"), (1, "weighted_f1"), (2, "weighted_f2")]:
        expected = reference.fbeta_score(targets, predicted, beta=beta, **weighted)
        assert found[name]["value"] == pytest.approx(expected)
    expected = reference.precision_score(targets, predicted, **weighted)
    assert found["weighted_precision"]["value"] == pytest.approx(expected)
    expected = reference.recall_score(targets, predicted, **weighted)
    assert found["weighted_recall"]["value"] == pytest.approx(expected)


def test_the_constant_classifier_always_answers_the_largest_class() -> None:
    found, targets, _ = quality(400)
    share = found["accuracy_best_constant_classifier"]["value"]
    assert share == pytest.approx((targets == 0).mean())


def test_the_confusion_matrix_is_keyed_by_name_true_class_first() -> None:
    found, targets, predicted = quality(50)
    counted = int(((targets == 1) & (predicted == 0)).sum())
    assert found["confusion_matrix"]["<car>"]["bus"] == counted


def test_deviations_need_two_hundred_pictures() -> None:
    assert quality(199)[0]["accuracy"]["standard_deviation"] == "NaN"
    assert 0 < quality(200)[0]["accuracy"]["standard_deviation"] < 0.1


def test_is_strict_json() -> None:
    json.dumps(quality(10)[0], allow_nan=False)
