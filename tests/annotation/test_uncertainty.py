import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.annotation.uncertainty import disagreement, doubt, match_boxes, overlap, words_of


def box(label, xyxy, score=0.9):
    return {"label": label, "xyxy": xyxy, "score": score, "decision": "refer"}


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_doubt_is_between_none_and_all(parts):
    total = sum(parts)
    shares = {str(i): part / total for i, part in enumerate(parts)}
    assert 0 <= doubt({"probabilities": shares}) <= 1
    even = dict.fromkeys(shares, 1 / len(parts))
    assert doubt({"probabilities": even}) == pytest.approx(1)


def test_a_detection_is_as_doubtful_as_its_boxes():
    sure = {"boxes": [box("a", (0, 0, 4, 4), 0.99)]}
    unsure = {"boxes": [box("a", (0, 0, 4, 4), 0.4), box("a", (8, 8, 9, 9), 0.6)]}
    assert doubt({"boxes": []}) == 0 < doubt(sure) < doubt(unsure) < 1
    assert words_of(unsure) == "2 of 2 boxes unsure: a 40 %, a 60 %"


def test_two_sure_answers_that_differ_contradict_one_another_most():
    def said(label, score):
        return {"label": label, "score": score, "probabilities": {}}

    sure, words = disagreement(said("cat", 0.9), said("dog", 0.8))
    unsure, _ = disagreement(said("cat", 0.5), said("dog", 0.4))
    assert sure > unsure
    assert words == "cat 90 % against dog 80 %"
    assert disagreement(said("cat", 0.9), said("cat", 0.2)) is None


def test_boxes_disagree_where_one_of_two_sees_them():
    a = {"boxes": [box("a", (0, 0, 10, 10)), box("b", (20, 20, 30, 30))]}
    moved = {"boxes": [box("a", (1, 0, 11, 10)), box("b", (20, 20, 30, 30))]}
    other = {"boxes": [box("a", (0, 0, 10, 10)), box("c", (20, 20, 30, 30))]}
    assert disagreement(a, moved) is None
    assert disagreement(a, other) == (0.5, "2 of 4 boxes are seen by one of the two only")
    assert disagreement({"boxes": []}, {"boxes": []}) is None


def test_each_box_is_matched_once_and_by_its_best():
    a = [box("a", (0, 0, 10, 10))]
    b = [box("a", (3, 0, 13, 10)), box("a", (1, 0, 11, 10))]
    assert match_boxes(a, b) == [(0, 1)]
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0
