"""The numbers: by hand, and against what they must be equal to."""

import numpy as np
import pytest
from tests.evaluation.detection.cases import objects

from pixloop.evaluation.detection.precision import measure_precision
from pixloop.evaluation.robustness.figures import (
    Figures,
    compare_corruptions,
    draw_weights,
    worst_trial,
)
from pixloop.evaluation.robustness.outcomes import BoxOutcome, LabelOutcome
from pixloop.evaluation.robustness.trials import Trial
from pixloop.serving.detector import Found


def outcome(right: str) -> LabelOutcome:
    """Of pictures that are answered right where there is a 1."""
    answers = tuple("a" if each == "1" else "b" for each in right)
    return LabelOutcome(("a",) * len(right), answers, np.full(len(right), 0.9))


def trials() -> list[Trial]:
    """Two corruptions at two severities, of ten pictures of which eight are right without."""
    rows = {("fog", 1): "1111110000", ("fog", 2): "1100000000"}
    rows |= {("snow", 1): "1111111100", ("snow", 2): "1111000000"}
    return [Trial(kind, severity, (outcome(right),)) for (kind, severity), right in rows.items()]


CLEAN = outcome("1111111100")


def test_error_and_kept_share_are_means_over_corruptions_and_severities() -> None:
    found = Figures(CLEAN, 10).corruptions(trials())
    assert found["mce"] == pytest.approx(1 - (0.6 + 0.2 + 0.8 + 0.4) / 4)
    assert found["kept_share"] == pytest.approx(0.5 / 0.8)
    fog = found["corruptions"]["fog"]
    assert fog["error"] == pytest.approx(0.6)
    assert fog["kept_share"] == pytest.approx(0.4 / 0.8)
    assert fog["severities"]["2"]["accuracy"] == pytest.approx(0.2)
    for low, high in (found["mce_interval"], found["kept_interval"], fog["kept_interval"]):
        assert low < high
    assert found["mce_interval"][0] < found["mce"] < found["mce_interval"][1]
    assert found["kept_interval"][0] < found["kept_share"] < found["kept_interval"][1]


def test_what_is_lost_with_the_clean_answers_costs_no_kept_share() -> None:
    # The pictures decide together whether they are right clean and corrupted: no spread remains.
    same = [Trial("fog", 1, (CLEAN,))]
    found = Figures(CLEAN, 10).corruptions(same)
    assert found["kept_share"] == 1
    assert found["kept_interval"] == [1, 1]


def test_nothing_right_keeps_nothing() -> None:
    none = outcome("0000")
    found = Figures(none, 4).corruptions([Trial("fog", 1, (none,))])
    assert (found["kept_share"], found["kept_interval"], found["mce"]) == (0, [0, 0], 1)


def test_curves_are_point_by_point() -> None:
    points = [Trial("crop", 90, (CLEAN,)), Trial("crop", 50, (outcome("1111000000"),))]
    (curve,) = Figures(CLEAN, 10).curves(points).values()
    assert [p["strength"] for p in curve] == [90, 50]
    assert [p["kept_share"] for p in curve] == pytest.approx([1, 0.5])


def test_beside_a_champion_errors_are_divided_by_its() -> None:
    pairs = [
        Trial("fog", 1, (outcome("1100"), outcome("1000"))),
        Trial("fog", 2, (outcome("1000"), outcome("0000"))),
        Trial("snow", 1, (outcome("1110"), outcome("1111"))),
        Trial("snow", 2, (outcome("1110"), outcome("1111"))),
    ]
    found = compare_corruptions(pairs, [outcome("1111"), outcome("1110")])
    assert found is not None
    # (0.5 + 0.75) / (0.75 + 1); without an error of the champion's there is no ratio.
    assert found["corruptions"] == {"fog": pytest.approx(1.25 / 1.75), "snow": None}
    assert found["relative_mce"] == pytest.approx(1.25 / 1.75)
    assert found["mce"] == pytest.approx((0.75 + 1) / 4)
    assert found["kept_share"] == pytest.approx((0.25 + 2) / 4 / 0.75)
    assert compare_corruptions(trials(), [CLEAN]) is None


def test_the_worst_is_where_least_is_right() -> None:
    worst = worst_trial(trials())
    assert (worst.kind, worst.strength) == ("fog", 2)


def test_resamples_draw_as_many_pictures_with_replacement() -> None:
    weights = draw_weights(20, 300)
    assert weights.shape == (300, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert weights.std() == pytest.approx(1, abs=0.1)


def test_a_detectors_value_is_cocos_ap50() -> None:
    random = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(30):
        boxes = random.uniform(0, 60, (3, 2))
        edges = np.column_stack([boxes, boxes + random.uniform(15, 40, (3, 2))])
        labels = random.integers(0, 2, 3)
        truth.append(objects(*((tuple(e), int(k)) for e, k in zip(edges, labels, strict=True))))
        moved = edges + random.normal(0, 5, edges.shape)
        found.append(Found(moved, np.sort(random.uniform(0.1, 1, 3))[::-1], labels, 100, 100))
    outcome = BoxOutcome(("a", "b"), tuple(found), tuple(truth))
    expected = measure_precision(found, truth, 2)
    # A recall that is just a step of the curve may fall to either side of it.
    assert outcome.value == pytest.approx(expected.map_50, abs=1.01 / 101)
    assert outcome.more["map"] == pytest.approx(expected.map)
    values = outcome.resampled(draw_weights(30, 50))
    assert values.std() > 0.01
    assert abs(values.mean() - outcome.value) < 0.1


def test_a_detector_with_nothing_to_find_has_0() -> None:
    nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), 9, 9)
    assert BoxOutcome(("a",), (nothing,), (objects(),)).value == 0


def test_the_interval_of_all_right_is_a_bound_all_the_same() -> None:
    low, high = Figures(outcome("1" * 50), 50).clean()["interval"]
    assert 0.9 < low < 0.95
    assert high == 1
