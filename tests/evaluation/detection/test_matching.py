import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from tests.evaluation.detection.cases import boxes, found, objects, shift, worlds

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import box_overlap, match_boxes
from pixloop.serving.detector import Found


@given(st.lists(boxes(), max_size=5), st.lists(st.tuples(boxes(), st.booleans()), max_size=5))
def test_overlap_is_pycocotools(some: list, others: list) -> None:
    a = np.array(some, float).reshape(-1, 4)
    b = np.array([box for box, _ in others], float).reshape(-1, 4)
    crowd = np.array([c for _, c in others], bool)
    ours = box_overlap(a, b, crowd)
    assert ours.shape == (len(a), len(b))
    if a.size and b.size:
        xywh = [np.column_stack([c[:, :2], c[:, 2:] - c[:, :2]]) for c in (a, b)]
        theirs = mask.iou(*xywh, crowd.astype(np.uint8).tolist())
        assert ours == pytest.approx(np.asarray(theirs), abs=1e-12)


@given(boxes(), boxes(), st.integers(-30, 30))
def test_overlap_is_symmetric_and_moves_along(a: tuple, b: tuple, by: int) -> None:
    def iou(x: tuple, y: tuple) -> float:
        return float(box_overlap(np.array([x], float), np.array([y], float))[0, 0])

    assert iou(a, b) == pytest.approx(iou(b, a))
    assert iou(shift(a, by), shift(b, by)) == pytest.approx(iou(a, b))
    assert 0 <= iou(a, b) <= 1
    assert iou(a, a) == 1


def test_boxes_that_touch_or_have_no_area_share_nothing() -> None:
    a = np.array([[0.0, 0, 4, 4], [2, 2, 2, 2]])
    assert box_overlap(a, np.array([[4.0, 0, 8, 4], [2, 2, 2, 2]])).tolist() == [[0, 0], [0, 0]]


A, B, FAR = (0, 0, 20, 20), (30, 0, 50, 20), (0, 40, 20, 60)


def test_each_true_box_is_taken_once_by_the_surest() -> None:
    matches = match_boxes([found((A, 0, 0.5), (A, 0, 0.9))], [objects((A, 0))], 1)
    assert matches.score.tolist() == [0.9, 0.5]
    assert matches.right.tolist() == [True, False]
    assert matches.rank.tolist() == [0, 1]
    assert matches.iou.tolist() == [1.0, 0.0]


def test_the_class_must_be_right() -> None:
    matches = match_boxes([found((A, 1, 0.9))], [objects((A, 0))], 2)
    assert matches.right.tolist() == [False]
    assert matches.true_boxes.tolist() == [[1, 0]]


def test_a_box_takes_what_it_overlaps_most() -> None:
    near = shift(A, 4)
    matches = match_boxes([found((near, 0, 0.9))], [objects((A, 0), (shift(A, 3), 0))], 1)
    assert matches.truth.tolist() == [1]


def test_half_the_union_is_enough_and_less_is_not() -> None:
    half, less = (0, 0, 20, 10), (0, 0, 20, 9)
    for box, right in ((half, True), (less, False)):
        assert match_boxes([found((box, 0, 0.9))], [objects((A, 0))], 1).right.tolist() == [right]


def test_crowd_regions_absorb_any_number_but_prefer_none() -> None:
    wide = (0, 0, 60, 60)
    truth = [objects((wide, 0, True), (A, 0))]
    matches = match_boxes([found((A, 0, 0.9), (A, 0, 0.8), (FAR, 0, 0.7), (FAR, 1, 0.6))], truth, 2)
    assert matches.right.tolist() == [True, False, False, False]
    assert matches.ignored.tolist() == [False, True, True, False]
    assert matches.true_boxes.tolist() == [[1, 0]]


@settings(max_examples=100, deadline=None)
@given(worlds(), st.floats(0, 1))
def test_lower_boxes_change_nothing(world: tuple[list[Found], list[Objects]], least: float) -> None:
    searched, truth = world
    whole = match_boxes(searched, truth, 3)
    kept = [
        Found(f.boxes[s], f.scores[s], f.labels[s], f.width, f.height)
        for f in searched
        for s in [f.scores >= least]
    ]
    part = match_boxes(kept, truth, 3)
    shown = whole.score >= least
    assert part.right.tolist() == whole.right[shown].tolist()
    assert part.ignored.tolist() == whole.ignored[shown].tolist()


@given(worlds())
def test_counts_add_up(world: tuple[list[Found], list[Objects]]) -> None:
    searched, truth = world
    matches = match_boxes(searched, truth, 3)
    assert len(matches) == sum(len(f.scores) for f in searched)
    assert matches.true_boxes.sum() == sum((~o.crowd).sum() for o in truth)
    pairs = list(zip(matches.picture[matches.right], matches.truth[matches.right], strict=True))
    assert len(pairs) == len(set(pairs))
    assert not (matches.right & matches.ignored).any()
    for picture, box, index in zip(matches.picture, matches.box, matches.truth, strict=True):
        if index >= 0:
            assert truth[picture].labels[index] == searched[picture].labels[box]
            assert not truth[picture].crowd[index]


def test_no_pictures_and_unequal_numbers() -> None:
    assert len(match_boxes([], [], 2)) == 0
    assert match_boxes([], [], 2).true_boxes.shape == (0, 2)
    with pytest.raises(ValueError, match="1 pictures were searched, 0"):
        match_boxes([found()], [], 1)
