from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest, spearmanr

from pixloop.monitoring.conformal import BLOCK, Ranks, to_levels

# Few numbers, so that many are equal; all of them exact in half precision.
VALUES = st.integers(-20, 20).map(float)


def streams(most: int = 60) -> st.SearchStrategy[np.ndarray]:
    return st.lists(VALUES, max_size=most).map(lambda values: np.array(values, np.float32))


def p_values(reference: np.ndarray, stream: np.ndarray, seed: int = 3, of: int = 1) -> np.ndarray:
    return Ranks(reference, seed, of).p_values(stream)


@given(arrays(np.float16, 30, elements=st.floats(width=16, allow_nan=False)))
def test_levels_are_in_the_order_of_the_values(values: np.ndarray) -> None:
    levels = to_levels(values)
    assert ((levels[:, None] < levels) == (values[:, None] < values)).all()
    assert ((levels[:, None] == levels) == (values[:, None] == values)).all()


@given(arrays(np.float64, 5, elements=st.floats(allow_nan=False, width=32)))
def test_levels_exist_for_every_number(values: np.ndarray) -> None:
    assert ((to_levels(values) >= 0) & (to_levels(values) < 65_536)).all()


@given(streams(), streams())
def test_is_the_rank_by_definition(reference: np.ndarray, stream: np.ndarray) -> None:
    found = p_values(reference, stream)
    for t, value in enumerate(stream):
        seen = np.concatenate([reference, stream[: t + 1]])
        higher, equal = (seen > value).sum(), (seen == value).sum()
        tie_breaker = (found[t] * len(seen) - higher) / equal
        assert -1e-9 < tie_breaker < 1 + 1e-9


@given(streams(), streams())
def test_ties_are_broken_by_seed_signal_and_place_alone(
    reference: np.ndarray, stream: np.ndarray
) -> None:
    alone = p_values(np.empty(0), np.zeros(len(stream)))
    found = p_values(reference, stream)
    for t, value in enumerate(stream):
        seen = np.concatenate([reference, stream[: t + 1]])
        higher, equal = (seen > value).sum(), (seen == value).sum()
        # Among equal values alone, the p-value is the tie breaker.
        assert found[t] == pytest.approx((higher + alone[t] * equal) / len(seen))


def test_seeds_and_signals_break_ties_differently() -> None:
    equal = np.zeros(100)
    drawn = [p_values(np.empty(0), equal, seed, of) for seed in (0, 1) for of in (0, 1)]
    assert len(np.unique(np.concatenate(drawn))) == 400


def test_ranks_of_all_orders_are_equally_frequent() -> None:
    # Of the 5! orders of five pictures, two of them the reference.
    joint = Counter(
        tuple(np.ceil(p_values(np.array(o[:2]), np.array(o[2:])) * [3, 4, 5] - 1e-9).astype(int))
        for o in permutations([0.0, 1.0, 2.5, 7.0, 9.0])
    )
    assert len(joint) == 3 * 4 * 5
    assert set(joint.values()) == {2}


@pytest.mark.parametrize("classes", [2, 5, 1000])
@pytest.mark.parametrize("reference", [0, 7, 300])
def test_are_uniform_and_independent(classes: int, reference: int) -> None:
    drawn = np.random.default_rng(classes).integers(0, classes, reference + 4000)
    found = p_values(drawn[:reference], drawn[reference:], of=classes)
    assert kstest(found, "uniform").pvalue > 0.001
    assert spearmanr(found[:-1], found[1:]).pvalue > 0.001


def test_ranks_with_the_stream_itself() -> None:
    # After as many as the reference has, what is new is half of what is known.
    found = p_values(np.zeros(500), np.ones(500))
    assert found[:10].max() < 0.03
    assert found[-100:].mean() == pytest.approx(0.25, abs=0.05)


@given(streams(), streams(), st.integers(0, 60))
def test_cutting_a_stream_changes_nothing(
    reference: np.ndarray, stream: np.ndarray, cut: int
) -> None:
    ranks = Ranks(reference, 3, 1)
    parts = [ranks.p_values(stream[:cut])]
    parts.append(Ranks.restore(3, 1, ranks.state()).p_values(stream[cut:]))
    assert (np.concatenate(parts) == p_values(reference, stream)).all()


def test_cutting_a_long_stream_changes_nothing() -> None:
    stream = np.random.default_rng(0).normal(size=3 * BLOCK)
    for size in (1, 100, BLOCK, BLOCK + 1):
        ranks = Ranks(stream[:50], 3, 1)
        cuts = range(0, len(stream), size)
        parts = [ranks.p_values(stream[start : start + size]) for start in cuts]
        assert (np.concatenate(parts) == p_values(stream[:50], stream)).all()


@given(streams(), streams(), st.integers(1, 16), st.integers(-50, 50))
def test_units_do_not_matter(
    reference: np.ndarray, stream: np.ndarray, scale: int, offset: int
) -> None:
    expected = p_values(reference, stream)
    for change in (lambda x: x * scale + offset, lambda x: x**3 / 8, np.arctan):
        assert (p_values(change(reference), change(stream)) == expected).all()


def test_values_that_are_missing_in_the_reference_do_not_count() -> None:
    reference, stream = np.array([1.0, 2.0, np.nan]), np.array([0.5, 3.0])
    assert (p_values(reference, stream) == p_values(reference[:2], stream)).all()


def test_infinite_values_are_the_highest_and_lowest() -> None:
    low, high = p_values(np.arange(98.0), np.array([-np.inf, np.inf]))
    assert low > 0.98
    assert high < 0.02
