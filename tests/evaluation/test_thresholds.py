import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.evaluation.thresholds import choose_threshold, selective_curve


def draw(rng: np.random.Generator, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores in 0..1, answers right with that probability: a perfectly calibrated model."""
    scores = rng.beta(6, 1, pictures)
    return scores, rng.random(pictures) < scores


@pytest.mark.parametrize(("pictures", "max_error"), [(60, 0.1), (200, 0.1), (1500, 0.05)])
def test_the_promise_holds_over_many_draws(pictures: int, max_error: float) -> None:
    # What is accepted from t on is wrong with the mean of 1 - s over Beta(6, 1) above t.
    fresh, _ = draw(np.random.default_rng(99), 400_000)
    fresh.sort()
    tail = np.cumsum(1 - fresh[::-1])[::-1] / np.arange(len(fresh), 0, -1)
    broken = accepted = 0
    for seed in range(400):
        score = choose_threshold(*draw(np.random.default_rng(seed), pictures), max_error, 0.9).score
        if score is not None:
            accepted += 1
            broken += tail[min(np.searchsorted(fresh, score), len(fresh) - 1)] > max_error
    # Were the promise kept in exactly 90 %, 56 or more of 400 would come about once in 200 times.
    assert broken < 56
    assert accepted > 20, "a threshold that never accepts keeps every promise"


@pytest.mark.parametrize("pictures", [200, 1000])
def test_the_promise_holds_where_the_score_says_nothing(pictures: int) -> None:
    broken = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        right = rng.random(pictures) >= 0.1001
        broken += choose_threshold(rng.random(pictures), right, 0.1, 0.9).score is not None
    assert broken < 56


def test_a_good_model_is_accepted_nearly_whole() -> None:
    rng = np.random.default_rng(0)
    scores = 1 - rng.random(3000) ** 4 * 0.5
    found = choose_threshold(scores, rng.random(3000) < 1 - (1 - scores) / 2, 0.1, 0.95)
    assert found.accepted_share > 0.95
    assert found.error is not None
    assert found.error <= 0.1


def test_too_few_pictures_can_promise_nothing() -> None:
    assert choose_threshold(np.ones(148), np.ones(148, bool), 0.02, 0.95).score is None
    found = choose_threshold(np.ones(149), np.ones(149, bool), 0.02, 0.95)
    assert (found.score, found.accepted_share, found.error) == (1.0, 1.0, 0.0)


def test_nothing_at_all() -> None:
    found = choose_threshold([], [], 0.02, 0.95)
    assert (found.score, found.accepted_share, found.error, found.pictures) == (None, 0, None, 0)


def test_a_model_that_is_always_wrong_accepts_nothing() -> None:
    found = choose_threshold(np.linspace(0, 1, 900), np.zeros(900, bool), 0.02, 0.95)
    assert (found.score, found.error) == (None, None)


@pytest.mark.parametrize(
    ("scores", "correct", "max_error"),
    [([0.5], [True, False], 0.1), ([1.5], [True], 0.1), ([np.nan], [True], 0.1), ([1], [True], 0)],
)
def test_refuses_what_cannot_be(scores: list[float], correct: list[bool], max_error: float) -> None:
    with pytest.raises(ValueError, match="must"):
        choose_threshold(scores, correct, max_error, 0.9)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), max_size=300))
def test_what_is_reported_is_what_the_threshold_does(pairs: list[tuple[float, bool]]) -> None:
    scores, correct = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=bool)
    found = choose_threshold(scores, correct, 0.3, 0.8)
    if found.score is not None:
        taken = scores >= found.score
        assert found.accepted_share == pytest.approx(taken.mean())
        assert found.error == pytest.approx((~correct[taken]).mean())
        assert found.error <= 0.3


def test_the_curve_takes_ties_together() -> None:
    curve = selective_curve([0.2, 0.8, 0.8, 0.5], [False, True, False, True])
    assert curve.scores.tolist() == [0.8, 0.5, 0.2]
    assert curve.accepted.tolist() == [2, 3, 4]
    assert curve.wrong.tolist() == [1, 1, 2]
