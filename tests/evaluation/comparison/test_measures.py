from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, f1_score, log_loss
from tests.evaluation.detection.cases import found as found_boxes
from tests.evaluation.detection.cases import objects

from pixloop.bundle import BoxScores, Threshold
from pixloop.evaluation.calibration import calibration_error, score_reliability
from pixloop.evaluation.comparison.measures import Difference, compare_measures, measures_of
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.detection.precision import measure_precision
from pixloop.evaluation.detection.summary import operating_point
from pixloop.evaluation.predictions import Predictions

Floats = NDArray[np.float64]


def answers(pictures: int, skill: float, seed: int, targets_seed: int = 0) -> Predictions:
    """Answers about three classes, the better the more skill; targets do not depend on ``seed``."""
    targets = np.random.default_rng(targets_seed).integers(0, 3, pictures)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(pictures, 3)) + skill * np.eye(3)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(str(i) for i in range(pictures))
    return Predictions(
        classes=("a", "b", "c"),
        paths=names,
        sha256=names,
        targets=targets,
        probabilities=probabilities,
        uncalibrated=probabilities,
        accepted=probabilities.max(axis=1) > 0.7,
    )


def once(given: object, pictures: int) -> dict[str, float]:
    ones = np.ones((1, pictures), np.int64)
    return {each.name: float(each.value(ones)[0]) for each in measures_of(given)}


def test_each_measure_is_what_its_name_says() -> None:
    given = answers(80, 1.5, 1)
    found = once(given, 80)
    targets, table = given.targets, given.probabilities
    assert found["accuracy"] == pytest.approx(given.correct.mean())
    assert found["f1_macro"] == pytest.approx(f1_score(targets, given.predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(targets, table))
    assert found["brier"] == pytest.approx(brier_score_loss(targets, table, scale_by_half=False))
    assert found["ece"] == pytest.approx(
        calibration_error(score_reliability(given.scores, given.correct))
    )
    assert found["accepted_share"] == pytest.approx(given.accepted.mean())
    assert found["accepted_error"] == pytest.approx(1 - given.correct[given.accepted].mean())


def test_a_picture_that_is_drawn_twice_counts_twice() -> None:
    given = answers(30, 1.0, 2)
    times = np.random.default_rng(0).integers(0, 4, 30)
    rows = np.repeat(np.arange(30), times)
    repeated = replace(
        given,
        targets=given.targets[rows],
        probabilities=given.probabilities[rows],
        accepted=given.accepted[rows],
    )
    weighted = {each.name: float(each.value(times[None])[0]) for each in measures_of(given)}
    assert weighted == pytest.approx(once(repeated, len(rows)))


def test_the_better_model_is_shown_better_and_the_same_is_not() -> None:
    good, bad = answers(300, 2.5, 1), answers(300, 1.0, 2)
    by_name = {row.measure.name: row for row in compare_measures(good, bad)}
    assert by_name["accuracy"].better is True
    assert by_name["log_loss"].better is True
    assert by_name["accepted_share"].better is None
    turned = {row.measure.name: row for row in compare_measures(bad, good)}
    assert turned["log_loss"].better is False
    assert turned["log_loss"].difference == pytest.approx(-(by_name["log_loss"].difference or 0))
    for row in compare_measures(good, good):
        assert (row.difference, row.low, row.high, row.better) == (0, None, None, None)


def test_where_nothing_is_accepted_there_is_no_error() -> None:
    given = answers(50, 1.0, 1)
    nothing = replace(given, accepted=np.zeros(50, np.bool_))
    row = next(r for r in compare_measures(given, nothing) if r.measure.name == "accepted_error")
    assert (row.champion, row.difference, row.low) == (None, None, None)
    assert row.challenger is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "log_loss", "brier"])
def test_the_interval_holds_the_difference_as_often_as_it_says(name: str) -> None:
    def rows(seed: int, pictures: int) -> Difference:
        ours = answers(pictures, 1.6, 2 * seed + 1, targets_seed=seed)
        theirs = answers(pictures, 1.3, 2 * seed + 2, targets_seed=seed)
        return next(r for r in compare_measures(ours, theirs) if r.measure.name == name)

    true = rows(10_000, 60_000).difference
    assert true is not None
    held, runs = 0, 200
    for seed in range(runs):
        row = rows(seed, 150)
        assert row.low is not None
        assert row.high is not None
        held += row.low <= true <= row.high
    # 95 % are promised; three standard deviations below that are 90.4 % of 200.
    assert held / runs > 0.904


# ---- detection


def detections(hits: list[bool]) -> Detections:
    """A picture a hit: one true box of class 0, found where it is or beside it; scores vary."""
    truth = tuple(objects(((10, 10, 20, 20), 0)) for _ in hits)
    names = tuple(str(i) for i in range(len(hits)))
    boxes = tuple(
        found_boxes(((10, 10, 20, 20) if hit else (40, 40, 50, 50), 0, 0.4 + 0.5 * (i % 2)))
        for i, hit in enumerate(hits)
    )
    threshold = Threshold(
        score=0.8, max_error=0.1, confidence=0.9, accepted_share=0.5, error=0.05, pictures=200
    )
    return Detections(
        classes=("thing",),
        paths=names,
        sha256=names,
        found=boxes,
        truth=truth,
        box_scores=BoxScores(minimum=0.3),
        threshold=threshold,
    )


def test_a_detectors_measures_are_those_of_its_report() -> None:
    given = detections([True, False, True, True, False, True, True, True])
    found = once(given, 8)
    assert found["f1"] == pytest.approx(given.picture_f1.mean())
    precision = measure_precision(given.found, given.truth, 1)
    assert found["map_50"] == pytest.approx(precision.map_50)
    assert found["f1_macro"] == pytest.approx(operating_point(given).f1.mean())
    assert found["accepted_share"] == pytest.approx(0.5)
    assert found["accepted_error"] == pytest.approx(0.25)
    reliability = score_reliability(given.scores, given.matches.right)
    assert found["ece"] == pytest.approx(calibration_error(reliability))


def test_detectors_are_compared_picture_by_picture() -> None:
    good, bad = detections([True] * 40), detections([True, False] * 20)
    by_name = {row.measure.name: row for row in compare_measures(good, bad)}
    assert by_name["f1"].better is True
    assert by_name["map_50"].better is True
    assert by_name["f1"].difference == pytest.approx(0.5)
