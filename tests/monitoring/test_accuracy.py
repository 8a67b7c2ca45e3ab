"""Accuracy without labels: simulated models of which the truth is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixloop.data.corruptions import CORRUPTIONS
from pixloop.monitoring.accuracy import (
    corrupted_sets,
    estimate_accuracy,
    left_out_drops,
    mix_shift,
)
from pixloop.monitoring.odds import CorruptionOdds, Odds
from pixloop.monitoring.signals import Signal

SIGNALS = (
    Signal("confidence", "outputs", "probability of the answer"),
    *(Signal(f"class:{c}", "classes", f"answers that say {c}") for c in "abcd"),
)


@dataclass
class Answers:
    """What a simulated model says; ``Judged``."""

    signals: tuple[Signal, ...]
    values: np.ndarray
    scores: np.ndarray
    correct: np.ndarray


def simulate(count: int, doubt: float, collapse: float, seed: int = 0) -> Answers:
    """Four classes; calibrated doubt, and a share of answers that confidently say the first."""
    random = np.random.default_rng(seed)
    truth = random.integers(4, size=count)
    scores = np.clip(1 - random.exponential(doubt, count), 0.25, 1)
    right = random.random(count) < scores
    said = np.where(right, truth, (truth + random.integers(1, 4, count)) % 4)
    collapsed = random.random(count) < collapse
    said, scores = np.where(collapsed, 0, said), np.where(collapsed, 0.97, scores)
    values = np.column_stack([scores, said[:, None] == np.arange(4)]).astype(np.float32)
    return Answers(SIGNALS, values, scores.astype(np.float32), (said == truth).astype(np.float32))


def shift_of(before: Answers, after: Answers) -> float:
    mixes = (answers.values[:, 1:].mean(axis=0) for answers in (before, after))
    return float(np.abs(np.subtract(*mixes)).sum() / 2)


@pytest.fixture(scope="module")
def odds() -> Odds:
    return make_odds(0)


def make_odds(seed: int) -> Odds:
    """75 corrupted sets of 40 pictures, all of the same ones."""
    plain = simulate(40, 0.1, 0, seed)
    cases = []
    for number, name in enumerate(CORRUPTIONS):
        for severity in range(1, 6):
            doubt, collapse = (0.1, 0.15 * severity) if number % 3 == 0 else (0.1 * severity, 0.0)
            set_ = simulate(40, doubt, collapse, seed)
            cases.append(
                CorruptionOdds(
                    corruption=name,
                    severity=severity,
                    pictures=None,
                    noticed=0,
                    signal=None,
                    accuracy=float(set_.correct.mean()),
                    score=float(set_.scores.mean()),
                    mix_shift=shift_of(plain, set_),
                )
            )
    return Odds(
        false_alarm=0.01,
        most_pictures=2000,
        pictures=40,
        accuracy=float(plain.correct.mean()),
        score=float(plain.scores.mean()),
        clean=None,
        corruptions=tuple(cases),
    )


REFERENCE = simulate(500, 0.1, 0, seed=1)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = []
    measured = [make_odds(seed) for seed in range(20)]
    for doubt, collapse in [(0.1, 0), (0.2, 0), (0.4, 0), (0.1, 0.3), (0.1, 0.7)]:
        for seed, odds in enumerate(measured):
            stream = simulate(400, doubt, collapse, seed=100 + seed)
            estimate = estimate_accuracy(REFERENCE, stream.scores, odds, stream.values)
            assert estimate is not None
            held.append(estimate.low <= stream.correct.mean() <= estimate.high)
    assert 0.85 <= np.mean(held) < 1


@pytest.mark.parametrize(
    ("doubt", "collapse", "matters"), [(0.1, 0, False), (0.5, 0, True), (0.1, 0.6, True)]
)
@pytest.mark.parametrize("with_odds", [True, False])
def test_what_matters_is_told_from_what_does_not(odds, doubt, collapse, matters, with_odds):
    stream = simulate(600, doubt, collapse, seed=3)
    estimate = estimate_accuracy(
        REFERENCE, stream.scores, odds if with_odds else None, stream.values
    )
    assert estimate is not None
    assert estimate.matters == matters
    assert estimate.pictures == 600


def test_scores_alone_do_not_see_a_collapse(odds):
    stream = simulate(600, 0.1, 0.7, seed=3)
    estimate = estimate_accuracy(REFERENCE, stream.scores, odds, stream.values)
    alone = estimate_accuracy(REFERENCE, stream.scores, odds)
    assert estimate is not None
    assert alone is not None
    assert estimate.from_scores == alone.accuracy
    assert alone.accuracy > estimate.accuracy + 0.3
    assert stream.correct.mean() == pytest.approx(estimate.accuracy, abs=0.12)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(0.01, 0.6),
    st.floats(0, 1),
    st.integers(0, 999),
)
@settings(max_examples=60)
def test_shares_stay_shares(known, count, doubt, collapse, seed):
    stream = simulate(count, doubt, collapse, seed)
    estimate = estimate_accuracy(simulate(known, 0.1, 0, 1), stream.scores, None, stream.values)
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.accuracy <= estimate.high <= 1
    assert not (estimate.matters and estimate.low >= estimate.reference_accuracy)


def test_more_pictures_narrow_it(odds):
    widths = []
    for count in (20, 2000):
        stream = simulate(count, 0.1, 0, seed=5)
        estimate = estimate_accuracy(REFERENCE, stream.scores, odds, stream.values)
        assert estimate is not None
        widths.append(estimate.high - estimate.low)
    assert widths[1] < widths[0]


def test_without_scores_there_is_no_estimate():
    assert estimate_accuracy(REFERENCE, np.array([]), None) is None
    assert estimate_accuracy(REFERENCE, np.full(3, np.nan), None) is None


def test_answers_without_a_score_are_left_out():
    stream = simulate(300, 0.1, 0, seed=2)
    scores = np.concatenate([stream.scores, np.full(50, np.nan)])
    one, other = (estimate_accuracy(REFERENCE, s, None) for s in (stream.scores, scores))
    assert one is not None
    assert other is not None
    assert one.accuracy == pytest.approx(other.accuracy)


def test_a_mix_that_stays_has_hardly_a_shift():
    shifts = [
        mix_shift(
            simulate(300, 0.1, 0, s).values[:, 1:], simulate(300, 0.1, 0, s + 50).values[:, 1:]
        )[0]
        for s in range(20)
    ]
    assert np.mean(shifts) < 0.02


def test_a_mix_that_moves_has_its_total_variation():
    before, after = simulate(2000, 0.1, 0), simulate(2000, 0.1, 0.8)
    shift, error = mix_shift(before.values[:, 1:], after.values[:, 1:])
    assert shift == pytest.approx(shift_of(before, after), abs=0.03)
    assert 0 < error < 0.05


def test_counts_of_boxes_are_a_mix_as_well():
    before = np.tile([[2.0, 2.0]], (50, 1))
    assert mix_shift(before, np.tile([[4.0, 0.0]], (50, 1)))[0] == pytest.approx(0.5)
    assert mix_shift(before, np.tile([[1.0, 1.0]], (50, 1)))[0] == pytest.approx(0)
    assert mix_shift(before, np.zeros((50, 2)))[0] == pytest.approx(1)  # nothing is found
    assert mix_shift(before[:, :0], before[:, :0]) == (0, 0)


def test_left_out_corruptions_are_estimated_from_others(odds):
    names, causes, drops = corrupted_sets(odds)
    estimated = left_out_drops(names, causes, drops)
    assert len(names) == 75
    assert np.abs(estimated - drops).mean() < 0.05
    assert np.abs(causes[:, 0] - drops).mean() > 0.1  # scores alone


def test_a_corruption_does_not_teach_its_own_estimate():
    causes = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert left_out_drops(["fog", "snow"], causes, np.array([0.1, 0.3])) == pytest.approx(
        [0.3, 0.1]
    )


def test_scores_alone_have_a_weight_of_their_own(odds):
    # Accuracy falls as the mix moves, and scores fall by half of that.
    cases = [
        case.model_copy(
            update={
                "accuracy": 0.9 - 0.1 * case.severity,
                "score": 0.9 - 0.05 * case.severity,
                "mix_shift": 0.1 * case.severity,
            }
        )
        for case in odds.corruptions
    ]
    exact = odds.model_copy(update={"accuracy": 0.9, "score": 0.9, "corruptions": tuple(cases)})
    fallen = REFERENCE.scores - np.float32(0.1)
    estimate = estimate_accuracy(REFERENCE, fallen, exact)
    assert estimate is not None
    assert estimate.accuracy == pytest.approx(estimate.reference_accuracy - 0.2, abs=1e-3)
    both = estimate_accuracy(REFERENCE, fallen, exact, REFERENCE.values)
    assert both is not None
    assert both.accuracy > estimate.accuracy + 0.05  # the mix is as it was
    assert both.from_scores == pytest.approx(estimate.accuracy)
