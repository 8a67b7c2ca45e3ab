import numpy as np
import pytest
from tests.evaluation.slices.cases import by_chance, slice_of

from pixloop.evaluation.comparison.by_slice import compare_slices


def test_a_planted_loss_is_found_and_stands_first() -> None:
    rng = np.random.default_rng(0)
    dark = slice_of(np.arange(300) < 50, "dark")
    champion = (rng.random(300) < 0.9).astype(np.float64)
    challenger = np.where(dark.inside & (rng.random(300) < 0.5), 0.0, champion)
    # Where it is bright, both err on some, each on its own.
    challenger[60:64], champion[70:75] = 0.0, 0.0
    found = compare_slices(challenger, champion, [*by_chance(rng, 300, 15), dark], 0.95)
    assert found[0].slice is dark
    assert found[0].better is False
    assert found[0].paired.high < 0
    turned = compare_slices(champion, challenger, [dark], 0.95)
    assert turned[0].better is True


def test_bounds_are_wider_for_many_slices() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = ((rng.random(200) < 0.8).astype(np.float64) for _ in range(2))
    part = slice_of(rng.random(200) < 0.5, "part")
    one = compare_slices(ours, theirs, [part], 0.95)[0].paired
    many = compare_slices(ours, theirs, [part, *by_chance(rng, 200, 30)], 0.95)
    same = next(row for row in many if row.slice is part).paired
    assert same.low < one.low < one.high < same.high


@pytest.mark.slow
@pytest.mark.parametrize("boxes", [False, True])
def test_equal_models_differ_on_some_slice_as_seldom_as_promised(boxes: bool) -> None:
    rng, wrongly, runs = np.random.default_rng(5), 0, 60 if boxes else 300
    for _ in range(runs):
        slices = by_chance(rng, 160, 12)
        ours, theirs = rng.random((2, 160)) if boxes else (rng.random((2, 160)) < 0.8).astype(float)
        found = compare_slices(ours, theirs, slices, 0.95)
        wrongly += any(row.better is not None for row in found)
    # 5 % are promised; three standard deviations above that.
    assert wrongly / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
