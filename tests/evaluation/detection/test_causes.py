import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.detection.cases import found, objects, worlds

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.causes import (
    CAUSES,
    Mistake,
    confusion_with_background,
    count_causes,
    find_mistakes,
)
from pixloop.evaluation.detection.matching import match_boxes
from pixloop.serving.detector import Found

A, HALF, SOME, FAR = (0, 0, 20, 20), (0, 0, 20, 10), (0, 0, 20, 6), (40, 40, 60, 60)
#: 20 × 20 over 20 × 20, moved: IoU 0.1 and a little less.
BARELY, HARDLY = (0, 16.36, 20, 36.36), (0, 16.4, 20, 36.4)


def explain(searched: Found, truth: Objects, least: float = 0.0) -> list[Mistake]:
    matches = match_boxes([searched], [truth], 3)
    return find_mistakes(matches, matches.score >= least, [searched], [truth])


def causes(searched: Found, truth: Objects, least: float = 0.0) -> list[str]:
    return [m.cause for m in explain(searched, truth, least)]


def test_all_right_has_no_cause() -> None:
    assert causes(found((A, 0, 0.9)), objects((A, 0))) == []


def test_duplicate() -> None:
    (mistake,) = explain(found((A, 0, 0.9), (HALF, 0, 0.8)), objects((A, 0)))
    assert mistake == Mistake("duplicate", 0, 1, 0, 0.5)


def test_class() -> None:
    (mistake,) = explain(found((HALF, 1, 0.9)), objects((A, 0)))
    assert mistake == Mistake("class", 0, 0, 0, 0.5)


def test_localisation() -> None:
    (mistake,) = explain(found((SOME, 0, 0.9)), objects((A, 0)))
    assert (mistake.cause, mistake.truth, mistake.iou) == ("localisation", 0, pytest.approx(0.3))


def test_both() -> None:
    # It accounts for nothing, so the true box is missed besides.
    assert causes(found((SOME, 1, 0.9)), objects((A, 0))) == ["both", "missed"]


def test_background() -> None:
    assert explain(found((FAR, 0, 0.9)), objects((A, 0))) == [
        Mistake("background", 0, 0, None),
        Mistake("missed", 0, None, 0),
    ]
    assert causes(found((FAR, 0, 0.9)), objects()) == ["background"]


def test_missed() -> None:
    assert explain(found(), objects((A, 0), (FAR, 1))) == [
        Mistake("missed", 0, None, 0),
        Mistake("missed", 0, None, 1),
    ]


def test_where_localisation_ends() -> None:
    assert causes(found((BARELY, 0, 0.9)), objects((A, 0))) == ["localisation"]
    assert causes(found((HARDLY, 0, 0.9)), objects((A, 0))) == ["background", "missed"]


def test_a_wrong_class_explains_better_than_a_distant_right_one() -> None:
    truth = objects((A, 0), ((0, 15, 20, 35), 1))
    assert causes(found(((0, 14, 20, 34), 0, 0.9)), truth)[0] == "class"


def test_a_taken_box_of_its_class_is_a_duplicate_before_all() -> None:
    truth = objects((A, 0), (A, 1))
    assert causes(found((A, 0, 0.9), (A, 0, 0.8), (A, 1, 0.7)), truth) == ["duplicate"]


def test_crowd_regions_are_no_cause_and_not_missed() -> None:
    truth = objects(((0, 0, 60, 60), 0, True))
    assert causes(found((A, 0, 0.9)), truth) == []
    assert causes(found((A, 1, 0.9)), truth) == ["background"]


def test_boxes_that_are_not_answered_do_not_count() -> None:
    searched = found((A, 0, 0.4), (FAR, 1, 0.3))
    assert causes(searched, objects((A, 0)), least=0.5) == ["missed"]


def confuse(searched: Found, truth: Objects) -> list[list[int]]:
    matches = match_boxes([searched], [truth], 2)
    shown = np.ones(len(matches), bool)
    return confusion_with_background(matches, shown, [searched], [truth]).tolist()


def test_confusion_places_each_kind() -> None:
    truth = objects((A, 0), (FAR, 1), ((0, 40, 20, 60), 1))
    searched = found((A, 0, 0.9), (FAR, 0, 0.8), ((40, 0, 60, 20), 1, 0.7))
    # Right; class 1 taken for 0; class 1 not found; nothing taken for class 1.
    assert confuse(searched, truth) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_a_surer_wrong_class_does_not_take_the_right_ones_place() -> None:
    assert confuse(found((A, 1, 0.9), (A, 0, 0.8)), objects((A, 0))) == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


@settings(max_examples=150, deadline=None)
@given(worlds(), st.floats(0, 1))
def test_sums(world: tuple[list[Found], list[Objects]], least: float) -> None:
    searched, truth = world
    matches = match_boxes(searched, truth, 3)
    shown = matches.score >= least
    mistakes = find_mistakes(matches, shown, searched, truth)
    counts = count_causes(mistakes)
    assert tuple(counts) == CAUSES
    judged = shown & ~matches.ignored
    assert sum(counts.values()) - counts["missed"] == (judged & ~matches.right).sum()
    confusion = confusion_with_background(matches, shown, searched, truth)
    assert confusion[:3].sum(axis=1).tolist() == matches.true_boxes.sum(axis=0).tolist()
    assert confusion[:, :3].sum() == judged.sum()
    assert confusion.trace() == (shown & matches.right).sum()
    assert confusion[3, 3] == 0
    unfound = matches.true_boxes.sum() - (shown & matches.right).sum()
    explained = {(m.picture, m.truth) for m in mistakes if m.cause in ("class", "localisation")}
    missed = {(m.picture, m.truth) for m in mistakes if m.cause == "missed"}
    assert not missed & explained
    assert len(missed) <= unfound
