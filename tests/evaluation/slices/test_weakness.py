import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from scipy.stats import permutation_test as scipy_permutation_test
from tests.evaluation.slices.cases import by_chance, slice_of

from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.slices.slices import Slice
from pixloop.evaluation.slices.weakness import correct_for_many, mean_interval, rank_slices

Floats = NDArray[np.float64]


def test_a_planted_weak_slice_is_found_and_stands_first() -> None:
    rng = np.random.default_rng(0)
    slices = by_chance(rng, 400, 30)
    dark = slice_of(np.arange(400) < 60, "dark")
    worth = (rng.random(400) < np.where(dark.inside, 0.6, 0.92)).astype(np.float64)
    ranked = rank_slices(worth, [*slices, dark], 0.95)
    assert [row.slice.name for row in ranked if row.weak] == ["dark"]
    assert ranked[0].slice is dark
    assert ranked[0].difference < -0.2
    assert ranked[0].low < ranked[0].worth < ranked[0].high < ranked[0].elsewhere


def test_a_planted_weak_slice_of_boxes_is_found() -> None:
    rng = np.random.default_rng(0)
    dark = slice_of(np.arange(200) < 40, "dark")
    f1 = np.clip(rng.normal(np.where(dark.inside, 0.55, 0.8), 0.2), 0, 1)
    ranked = rank_slices(f1, [*by_chance(rng, 200, 12), dark], 0.95)
    assert [row.slice.name for row in ranked if row.weak] == ["dark"]


def test_a_strong_slice_is_not_weak() -> None:
    rng = np.random.default_rng(0)
    bright = slice_of(np.arange(400) < 100, "bright")
    worth = (rng.random(400) < np.where(bright.inside, 0.99, 0.7)).astype(np.float64)
    (row,) = rank_slices(worth, [bright], 0.95)
    assert not row.weak
    assert row.p > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("boxes", [False, True])
def test_where_no_slice_is_weak_one_is_called_weak_as_seldom_as_promised(boxes: bool) -> None:
    rng, wrongly, runs = np.random.default_rng(7), 0, 60 if boxes else 300
    for _ in range(runs):
        slices = by_chance(rng, 240, 20)
        right = (rng.random(240) < 0.85).astype(np.float64)
        worth = np.where(rng.random(240) < 0.5, right, rng.random(240)) if boxes else right
        wrongly += any(row.weak for row in rank_slices(worth, slices, 0.95))
    # 5 % are promised; three standard deviations above that.
    assert wrongly / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("boxes", [False, True])
def test_the_interval_holds_the_mean_as_often_as_it_says(share: float, boxes: bool) -> None:
    rng, held, runs = np.random.default_rng(3), 0, 2000
    for _ in range(runs):
        worth = (rng.random(60) < share).astype(np.float64)
        if boxes:
            worth = rng.beta(4 * share, 4 * (1 - share), 60)
        low, high = mean_interval(worth, 0.95)
        held += low <= share <= high
    assert held / runs > 0.93


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_corrected_p_values_are_holms(p: list[float]) -> None:
    corrected = correct_for_many(p)
    order = np.argsort(p, kind="stable")
    steps = [min(1.0, (len(p) - i) * p[j]) for i, j in enumerate(order)]
    expected = np.maximum.accumulate(steps)
    assert corrected[order] == pytest.approx(expected)
    assert (corrected >= np.array(p) - 1e-12).all()


def test_one_slice_is_tested_by_fishers_exact_test() -> None:
    worth = np.array([1.0] * 15 + [0.0] * 5 + [1.0] * 70 + [0.0] * 10)
    part = slice_of(np.arange(100) < 20, "part")
    (row,) = rank_slices(worth, [part], 0.95)
    expected = fisher_exact([[15, 5], [70, 10]], alternative="less").pvalue
    assert row.p == pytest.approx(expected)


def test_f1_is_tested_by_permutations() -> None:
    rng = np.random.default_rng(2)
    worth, part = rng.random(40), slice_of(np.arange(40) < 12, "part")
    worth[:12] *= 0.8
    (row,) = rank_slices(worth, [part], 0.95)
    expected = scipy_permutation_test(
        (worth[:12], worth[12:]),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        alternative="less",
        vectorized=True,
        rng=0,
    ).pvalue
    assert row.p == pytest.approx(expected, abs=0.02)


def test_the_interval_of_right_and_wrong_answers_is_wilsons() -> None:
    worth = np.array([1.0] * 37 + [0.0] * 3)
    assert mean_interval(worth, 0.95) == pytest.approx(wilson_interval(37, 40), abs=1e-6)


@pytest.mark.parametrize("worth", [np.ones(30), np.zeros(30), np.full(30, 0.5), np.ones(1)])
def test_equal_values_still_have_an_interval(worth: Floats) -> None:
    low, high = mean_interval(worth, 0.95)
    assert 0 <= low < high <= 1
    assert high - low > 0.1


def test_more_slices_make_each_interval_wider() -> None:
    worth, rng = np.r_[np.ones(90), np.zeros(10)], np.random.default_rng(0)
    part = slice_of(rng.permutation(100) < 50, "part")
    one = rank_slices(worth, [part], 0.95)[0]
    of_many = rank_slices(worth, [part, *by_chance(rng, 100, 39)], 0.95)
    same = next(row for row in of_many if row.slice is part)
    assert same.high - same.low > (one.high - one.low) * 1.3


def test_without_slices_there_is_nothing_to_rank() -> None:
    nothing: list[Slice] = []
    assert rank_slices(np.ones(3), nothing, 0.95) == []
