import numpy as np
import pytest
from tests.small_bundles import THRESHOLD

from pixloop.bundle import BoxScores
from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.detections import Detections
from pixloop.evaluation.trust.boxes import answer_of, count_found, doubt_boxes
from pixloop.serving.detector import Found

PLACES = [(0, 0, 20, 20), (30, 0, 50, 20), (60, 0, 80, 20)]


def truth(*boxes, crowd=False):
    edges = np.array([xyxy for _, xyxy in boxes], np.float64).reshape(-1, 4)
    labels = np.array([label for label, _ in boxes], np.int64)
    return Objects(edges, labels, np.full(len(boxes), crowd))


def found(*boxes):
    edges = np.array([xyxy for _, _, xyxy in boxes], np.float64).reshape(-1, 4)
    scores = np.array([score for _, score, _ in boxes], np.float64)
    order = np.argsort(-scores, kind="stable")
    labels = np.array([label for label, _, _ in boxes], np.int64)
    return Found(edges[order], scores[order], labels[order], 100, 40)


#: What the model finds where it is right: 0.8 on the average.
USUAL = (
    (
        found((0, 0.9, PLACES[0]), (1, 0.7, PLACES[1])),
        truth((0, PLACES[0]), (1, PLACES[1])),
    ),
    (
        found((0, 0.7, PLACES[0]), (1, 0.9, PLACES[1])),
        truth((0, PLACES[0]), (1, PLACES[1])),
    ),
)


def detections(*pictures, minimum=0.5):
    pairs = (*USUAL, *pictures)
    return Detections(
        classes=("apple", "pear"),
        paths=tuple(f"{i}.jpg" for i in range(len(pairs))),
        sha256=tuple(f"{i:064x}" for i in range(len(pairs))),
        found=tuple(each for each, _ in pairs),
        truth=tuple(each for _, each in pairs),
        box_scores=BoxScores(minimum=minimum),
        threshold=THRESHOLD,
    )


def doubts_of(seen, drawn):
    return [
        (box.kind, box.label, box.likely, round(box.weight, 3))
        for doubt in doubt_boxes(detections((seen, drawn)))
        for box in doubt.boxes
    ]


def test_where_all_agree_nothing_is_doubtful():
    assert doubt_boxes(detections()) == []


def test_what_is_found_and_not_drawn_is_doubtful_where_the_model_is_sure():
    drawn = truth((0, PLACES[0]))
    right = (0, 0.9, PLACES[0])
    sure = found(right, (1, 0.95, PLACES[2]))
    assert doubts_of(sure, drawn) == [("missing", None, "pear", 0.95)]
    assert doubts_of(found(right, (1, 0.6, PLACES[2])), drawn) == []


def test_what_is_drawn_and_not_found_is_doubtful_where_nothing_at_all_is_seen():
    drawn = truth((0, PLACES[0]), (1, PLACES[2]))
    right = (0, 0.9, PLACES[0])
    assert doubts_of(found(right), drawn) == [("extra", "pear", None, 0.5)]
    assert doubts_of(found(right, (1, 0.3, PLACES[2])), drawn) == []
    assert doubts_of(found(right, (1, 0.05, PLACES[2])), drawn) == [("extra", "pear", None, 0.5)]
    crowd = truth((1, PLACES[2]), crowd=True)
    assert doubts_of(found(), crowd) == []


def test_another_class_or_another_place_is_doubtful():
    drawn = truth((0, PLACES[0]))
    assert doubts_of(found((1, 0.95, PLACES[0])), drawn) == [("class", "apple", "pear", 0.95)]
    aside = found((0, 0.95, (10, 0, 30, 20)))
    assert doubts_of(aside, drawn) == [("place", "apple", "apple", 0.95)]


def test_pictures_come_by_their_most_doubtful_box_and_say_so():
    weak = found((0, 0.9, PLACES[0])), truth((0, PLACES[0]), (1, PLACES[2]))
    strong = found((1, 0.99, PLACES[2]), (0, 0.97, PLACES[1])), truth()
    listed = doubt_boxes(detections(weak, strong))
    assert [doubt.picture for doubt in listed] == [3, 2]
    assert listed[0].words == ("pear found and not drawn (99 %); apple found and not drawn (97 %)")
    assert listed[1].words == "pear drawn and not found"
    assert [doubt.weight for doubt in listed] == pytest.approx([0.99, 0.5])


def test_an_answer_has_the_boxes_that_are_shown():
    answer = answer_of(detections((found((0, 0.95, PLACES[0]), (1, 0.2, PLACES[1])), truth())), 2)
    assert answer == {
        "boxes": [
            {
                "label": "apple",
                "score": pytest.approx(0.95),
                "xyxy": list(PLACES[0]),
                "decision": "accept",
            }
        ],
        "width": 100,
        "height": 40,
    }


def test_found_boxes_are_counted_as_surely_as_doubts_have_to_be():
    assert count_found(detections()) == (4, 2)
