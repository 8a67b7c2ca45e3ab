from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pixloop.config_loop import PromotionConfig
from pixloop.evaluation.promotion import (
    compare_paired,
    no_champion,
    pictures_needed,
    tango_interval,
    weigh,
)

CONFIG = PromotionConfig()


def models(both: int, gained: int, lost: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    challenger = [1.0] * both + [1.0] * gained + [0.0] * lost
    champion = [1.0] * both + [0.0] * gained + [1.0] * lost
    return np.array(challenger), np.array(champion)


def verdict(
    both: int, gained: int, lost: int, meant: slice = slice(0), **config: float
) -> dict[str, Any]:
    challenger, champion = models(both, gained, lost)
    chosen = np.zeros(len(champion), bool)
    chosen[meant] = True
    return weigh(challenger, champion, chosen, PromotionConfig(**config))


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


def test_a_better_challenger_is_promoted_and_a_worse_one_refused() -> None:
    better, worse = verdict(300, 40, 5), verdict(300, 5, 40)
    assert (better["promote"], better["not_worse"], better["better"]) == (True, True, True)
    assert (worse["promote"], worse["not_worse"], worse["shown_worse"]) == (False, False, True)
    assert worse["best_difference"] < worse["allowed_difference"]
    assert "worse than the champion" in worse["reason"]


def test_the_same_model_is_neither_promoted_nor_refused() -> None:
    same = verdict(1000, 0, 0)
    assert (same["not_worse"], same["better"], same["promote"]) == (True, False, False)
    assert same["best_difference"] >= same["allowed_difference"]
    assert "not shown better" in same["reason"]


def test_a_gain_where_it_was_meant_to_be_promotes_what_is_equal_elsewhere() -> None:
    # 990 the same; of the ten meant, eight won.
    found = verdict(990, 8, 2, meant=slice(990, 1000))
    assert found["slice"]["pictures"] == 10
    assert found["better_where_meant"] is False  # 8 of 10 is p = 0.055
    found = verdict(990, 10, 0, meant=slice(990, 1000))
    assert (found["better_where_meant"], found["promote"]) == (True, True)


def test_a_loss_where_it_was_meant_to_be_stops_a_gain_elsewhere() -> None:
    found = verdict(300, 60, 12, meant=slice(360, 372))
    assert (found["better"], found["better_where_meant"]) == (True, False)
    assert found["promote"] is False


def test_few_pictures_say_how_many_more_are_needed() -> None:
    found = verdict(45, 3, 2)
    assert found["promote"] is False
    assert "more pictures would show it" in found["reason"]
    assert pictures_needed(np.zeros(50) - 0.1, 0.01, 0.95) is None
    needed = pictures_needed(np.array([1.0, 0.0, 0.0, -1.0, 1.0] * 10), 0.0, 0.95)
    assert needed is not None
    assert 30 < needed < 60


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


def test_without_a_champion_a_version_may_be_promoted() -> None:
    assert no_champion(CONFIG)["promote"] is True
    assert no_champion(CONFIG).keys() == verdict(10, 1, 1).keys()
