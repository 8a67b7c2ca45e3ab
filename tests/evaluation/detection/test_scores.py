import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.detection.cases import found, objects, simulate, worlds

from pixloop.bundle import BoxScores
from pixloop.data.dataset import Objects
from pixloop.evaluation.calibration import calibration_error, score_reliability
from pixloop.evaluation.detection.matching import match_boxes
from pixloop.evaluation.detection.scores import (
    DEFAULT_MINIMUM,
    LARGEST_MINIMUM,
    LEAST_BOXES,
    LEAST_MINIMUM,
    fit_box_scores,
    fit_platt,
)
from pixloop.serving.detector import Found, read_scores

A, FAR = (0, 0, 20, 20), (40, 40, 60, 60)


def draw(boxes: int, slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores, and outcomes as likely as slope and offset say."""
    rng = np.random.default_rng(0)
    raw = 1 / (1 + np.exp(-rng.normal(0, 2, boxes)))
    honest = read_scores(raw, BoxScores(slope=slope, offset=offset))
    return raw, rng.random(boxes) < honest


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0), (2.5, 0.7)])
def test_finds_the_scaling_that_made_the_outcomes(slope: float, offset: float) -> None:
    found_slope, found_offset = fit_platt(*draw(20_000, slope, offset))
    assert found_slope == pytest.approx(slope, rel=0.07)
    assert found_offset == pytest.approx(offset, abs=0.1)


def test_scaling_lowers_the_calibration_error() -> None:
    raw, right = draw(5_000, 0.5, -1.0)
    slope, offset = fit_platt(raw, right)
    scaled = read_scores(raw, BoxScores(slope=slope, offset=offset))
    assert calibration_error(score_reliability(raw, right)) > 0.1
    assert calibration_error(score_reliability(scaled, right)) < 0.03


def test_worse_scores_for_better_boxes_do_not_turn_the_order_round() -> None:
    raw, right = draw(500, 1.0, 0.0)
    assert fit_platt(raw, ~right)[0] > 0


def test_few_boxes_or_one_outcome_change_nothing() -> None:
    raw, right = draw(LEAST_BOXES, 0.5, -1.0)
    assert fit_platt(raw[1:], right[1:]) == (1.0, 0.0)
    assert fit_platt(raw, right) != (1.0, 0.0)
    assert fit_platt(raw, np.ones(LEAST_BOXES, bool)) == (1.0, 0.0)
    assert fit_platt(raw, np.zeros(LEAST_BOXES, bool)) == (1.0, 0.0)


def test_separable_and_extreme_scores_stay_finite() -> None:
    raw = np.repeat([0.0, 1.0], 40)
    slope, offset = fit_platt(raw, raw == 1)
    scores = read_scores(raw, BoxScores(slope=slope, offset=offset))
    assert np.isfinite([slope, offset]).all()
    assert 0 < scores[0] < 0.1
    assert 0.9 < scores[-1] < 1


def test_perfectly_separable_scores_stay_modest() -> None:
    raw = np.array([0.2] * 60 + [0.8] * 20)
    slope, offset = fit_platt(raw, raw > 0.5)
    scores = read_scores(np.array([0.2, 0.8]), BoxScores(slope=slope, offset=offset))
    # As sure as the rule of succession allows, and no surer.
    assert scores == pytest.approx([1 / 62, 21 / 22], rel=1e-3)


def test_the_minimum_lies_between_right_and_wrong() -> None:
    searched = [found((A, 0, 0.8), (FAR, 0, 0.4))]
    assert fit_box_scores(searched, [objects((A, 0))], 1).minimum == pytest.approx(0.6)


def test_the_minimum_takes_the_highest_of_equals() -> None:
    # Two true boxes. Of 1 shown, 1 right: F1 = 2/3. Of 4 shown, 2 right: F1 = 2/3.
    searched = [found((A, 0, 0.9), ((22, 0, 30, 8), 0, 0.5), ((22, 9, 30, 17), 0, 0.4))]
    searched.append(found((FAR, 0, 0.3)))
    truth = [objects((A, 0)), objects((FAR, 0))]
    assert fit_box_scores(searched, truth, 1).minimum == pytest.approx(0.7)


def test_the_minimum_weighs_classes_equally() -> None:
    many = [((x, y, x + 5, y + 5), 0) for x in range(0, 60, 6) for y in range(0, 30, 6)]
    # The rare class is right at 0.2 only, where one more box of the other class is wrong.
    searched = [found(*((b, k, 0.9) for b, k in many), (FAR, 1, 0.2), ((0, 50, 9, 59), 0, 0.22))]
    learnt = fit_box_scores(searched, [objects(*many, (FAR, 1))], 2)
    assert learnt.minimum < read_scores(np.array(0.2), learnt)


def test_the_minimum_is_kept_sensible() -> None:
    sure = [found((A, 0, 0.999), (FAR, 0, 0.99))]
    assert fit_box_scores(sure, [objects((A, 0))], 1).minimum == LARGEST_MINIMUM
    faint = [found((A, 0, 0.01))]
    assert fit_box_scores(faint, [objects((A, 0))], 1).minimum == LEAST_MINIMUM


@pytest.mark.parametrize("boxes", [(), ((FAR, 0, 0.9),)])
def test_without_a_right_box_nothing_is_learnt(boxes: tuple) -> None:
    learnt = fit_box_scores([found(*boxes)], [objects((A, 0))], 1)
    assert learnt == BoxScores(minimum=DEFAULT_MINIMUM)
    assert fit_box_scores([], [], 1) == BoxScores(minimum=DEFAULT_MINIMUM)


def test_boxes_in_crowd_regions_teach_nothing() -> None:
    region = ((30, 30, 64, 64), 0, True)
    searched = [found((A, 0, 0.8), (FAR, 0, 0.9))]
    assert fit_box_scores(searched, [objects((A, 0), region)], 1).minimum == pytest.approx(0.4)


@settings(max_examples=60, deadline=None)
@given(worlds(), st.floats(0.01, 0.99))
def test_no_other_minimum_does_better(
    world: tuple[list[Found], list[Objects]], other: float
) -> None:
    searched, truth = world
    matches = match_boxes(searched, truth, 3)
    if not matches.right.any():
        return
    chosen = fit_box_scores(searched, truth, 3)
    if LEAST_MINIMUM < chosen.minimum < LARGEST_MINIMUM:
        scores = read_scores(matches.score, chosen)

        def mean_f1(least: float) -> float:
            shown = (scores >= least) & ~matches.ignored
            answered = np.bincount(matches.label[shown], minlength=3)
            hits = np.bincount(matches.label[shown & matches.right], minlength=3)
            return float((2 * hits / np.maximum(answered + matches.true_boxes.sum(0), 1)).mean())

        assert mean_f1(chosen.minimum) >= mean_f1(other) - 1e-12


def test_a_realistic_detector_is_scaled_honestly() -> None:
    searched, truth = simulate(300, seed=0)
    learnt = fit_box_scores(searched, truth, 3)
    fresh = match_boxes(*simulate(300, seed=1), 3)
    scores = read_scores(fresh.score, learnt)
    before = calibration_error(score_reliability(fresh.score, fresh.right))
    assert calibration_error(score_reliability(scores, fresh.right)) < before / 2
    assert 0.1 < learnt.minimum < 0.9
