import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor
from torchvision.ops import box_iou

from pixloop.config import ExportConfig
from pixloop.export.box_matching import (
    Boxes,
    Tally,
    add_up,
    intersection_over_union,
    match_boxes,
)
from pixloop.export.limits import limits_of

LIMITS = limits_of(ExportConfig())


def boxes(*found: tuple[float, int, float], cut_off: float = 0.05) -> Boxes:
    """Squares of 100 pixels: (score, label, left edge)."""
    edges = [(x, 0.0, x + 100, 100.0) for _, _, x in found]
    return Boxes(
        np.array(edges).reshape(-1, 4),
        np.array([score for score, _, _ in found]),
        np.array([label for _, label, _ in found], np.int64),
        cut_off,
    )


def tally(expected: Boxes, answered: Boxes) -> Tally:
    result = Tally()
    result.add(expected, answered, LIMITS)
    return result


def test_equal_boxes_match() -> None:
    found = boxes((0.9, 0, 0), (0.8, 1, 0), (0.7, 0, 200))
    result = tally(found, found)
    assert (result.matched, result.unmatched, result.matched_share) == (3, 0, 1.0)
    assert result.smallest_iou == 1
    assert result.largest_difference == 0


@pytest.mark.parametrize(
    "other",
    [
        (0.9, 1, 0),  # another label
        (0.898, 0, 0),  # another score
        (0.9, 0, 0.6),  # elsewhere: overlaps by 0.988
    ],
)
def test_what_differs_by_more_than_the_limits_is_unmatched(other: tuple[float, int, float]) -> None:
    result = tally(boxes((0.9, 0, 0)), boxes(other))
    assert (result.matched, result.unmatched, result.matched_share) == (0, 2, 0.0)


def test_what_differs_by_less_matches_and_is_measured() -> None:
    result = tally(boxes((0.9, 0, 0)), boxes((0.9005, 0, 0.4)))
    assert (result.matched, result.unmatched) == (1, 0)
    assert result.largest_difference == pytest.approx(0.0005)
    assert result.smallest_iou == pytest.approx(99.6 / 100.4)


def test_a_box_matches_once() -> None:
    twice = boxes((0.9, 0, 0), (0.9, 0, 0))
    assert tally(boxes((0.9, 0, 0)), twice).unmatched == 1
    assert tally(twice, boxes((0.9, 0, 0))).unmatched == 1
    here, there, _ = match_boxes(twice, twice, LIMITS)
    assert sorted(here) == sorted(there) == [0, 1]


def test_the_nearest_of_several_is_taken() -> None:
    here, there, overlaps = match_boxes(
        boxes((0.9, 0, 0)), boxes((0.9, 0, 0.4), (0.9, 0, 0.1)), LIMITS
    )
    assert (here.tolist(), there.tolist()) == ([0], [1])
    assert overlaps == pytest.approx(99.9 / 100.1)


def test_a_missing_box_and_one_too_many_count() -> None:
    assert tally(boxes((0.9, 0, 0), (0.5, 0, 200)), boxes((0.9, 0, 0))).unmatched == 1
    assert tally(boxes((0.9, 0, 0)), boxes((0.9, 0, 0), (0.5, 0, 200))).unmatched == 1
    nothing = tally(boxes(), boxes((0.9, 0, 0)))
    assert (nothing.unmatched, nothing.matched_share, nothing.empty_pictures) == (1, 0.0, 1)


def test_cut_off_ties_do_not_count() -> None:
    near, clear = (0.0505, 0, 200), (0.06, 0, 200)
    sure = (0.9, 0, 0)
    for one, other in ((boxes(sure, near), boxes(sure)), (boxes(sure), boxes(sure, near))):
        result = tally(one, other)
        assert (result.unmatched, result.cut_off, result.matched_share) == (0, 1, 1.0)
    assert tally(boxes(sure, clear), boxes(sure)).unmatched == 1
    # A side whose places are full leaves out what is less sure than its last.
    full = boxes(sure, cut_off=0.9)
    assert tally(boxes(sure, clear), full).unmatched == 0
    assert tally(boxes(sure, clear, cut_off=0.06), boxes(sure, cut_off=0.05)).unmatched == 1


def test_nothing_agrees_with_nothing() -> None:
    result = tally(boxes(), boxes())
    assert (result.pictures, result.empty_pictures, result.matched_share) == (1, 1, 1.0)


def test_conditions_add_up() -> None:
    first = tally(boxes((0.9, 0, 0)), boxes((0.9005, 0, 0)))
    second = tally(boxes((0.9, 0, 0)), boxes())
    total = add_up([first, second])
    assert (total.pictures, total.expected, total.answered, total.matched) == (2, 2, 1, 1)
    assert total.largest_difference == first.largest_difference
    assert total.matched_share == pytest.approx(2 / 3)


corners = st.lists(st.tuples(*[st.integers(0, 30)] * 4), min_size=1, max_size=6)


@given(first=corners, second=corners)
def test_overlap_is_torchvisions(
    first: list[tuple[int, ...]], second: list[tuple[int, ...]]
) -> None:
    def spread(found: list[tuple[int, ...]]) -> Tensor:
        return tensor([(x, y, x + w + 1, y + h + 1) for x, y, w, h in found]).double()

    ours = intersection_over_union(spread(first).numpy(), spread(second).numpy())
    np.testing.assert_allclose(ours, box_iou(spread(first), spread(second)).numpy(), atol=1e-12)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[5.0, 5, 5, 9]])
    assert intersection_over_union(flat, flat).tolist() == [[0.0]]
