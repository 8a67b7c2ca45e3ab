from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from pixloop.evaluation.comparison.paired import compare_paired, tango_interval, two_sided_p


def models(both: int, gained: int, lost: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    challenger = [1.0] * both + [1.0] * gained + [0.0] * lost
    champion = [1.0] * both + [0.0] * gained + [1.0] * lost
    return np.array(challenger), np.array(champion)


@pytest.mark.parametrize("total", [10, 100, 1000])
def test_without_a_difference_the_bound_is_the_score_tests(total: int) -> None:
    # With none gained and none lost the score test can be solved by hand: z²/(n + z²).
    z2 = 1.6448536269514722**2
    expected = z2 / (total + z2)
    assert tango_interval(0, 0, total, 0.95) == pytest.approx((-expected, expected), rel=1e-6)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300))
def test_the_interval_holds_the_difference_and_turns_with_the_models(
    gained: int, lost: int, same: int
) -> None:
    total = gained + lost + same
    if not total:
        return
    low, high = tango_interval(gained, lost, total, 0.95)
    assert -1 <= low <= (gained - lost) / total <= high <= 1
    turned = tango_interval(lost, gained, total, 0.95)
    assert turned == pytest.approx((-high, -low), abs=1e-6)


@pytest.mark.slow
def test_the_lower_bound_fails_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for better, worse in ((0.05, 0.05), (0.02, 0.06), (0.2, 0.1)):
        draws = rng.multinomial(200, (better, worse, 1 - better - worse), 2000)
        missed = np.mean([tango_interval(b, c, 200, 0.95)[0] > better - worse for b, c, _ in draws])
        assert missed < 0.07


@given(st.integers(0, 25), st.integers(0, 25))
def test_the_p_value_is_mcnemars_exact_one(gained: int, lost: int) -> None:
    found = compare_paired(*models(10, gained, lost), 0.95)
    total = gained + lost
    exact = sum(Fraction(comb(total, k), 2**total) for k in range(gained, total + 1))
    assert found.p == pytest.approx(float(exact))


def test_detections_are_compared_by_their_pictures_f1() -> None:
    rng = np.random.default_rng(0)
    champion = rng.random(200) * 0.8
    better = compare_paired(np.clip(champion + rng.normal(0.05, 0.1, 200), 0, 1), champion, 0.95)
    assert better.low > 0
    assert better.p < 0.01
    same = compare_paired(champion, champion, 0.95)
    assert (same.p, same.difference) == (1.0, 0.0)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_what_is_said_does_not_depend_on_the_order_of_pictures(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(120)
    challenger, champion = models(100, 12, 8)
    given_, turned = (
        compare_paired(challenger[i], champion[i], 0.95) for i in (slice(None), order)
    )
    assert given_ == turned


@given(st.integers(0, 25), st.integers(0, 25))
def test_both_directions_together_are_the_two_sided_exact_test(gained: int, lost: int) -> None:
    challenger, champion = models(10, gained, lost)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert two_sided_p(challenger, champion) == pytest.approx(expected)
    assert two_sided_p(champion, challenger) == two_sided_p(challenger, champion)


def test_without_shares_the_sign_flips_see_a_loss_as_well_as_a_gain() -> None:
    rng = np.random.default_rng(1)
    champion = rng.random(200)
    worse = np.clip(champion + rng.normal(-0.05, 0.1, 200), 0, 1)
    assert two_sided_p(worse, champion) < 0.01
    assert two_sided_p(champion, worse) < 0.01
    assert two_sided_p(champion, np.roll(champion, 100)) > 0.05
