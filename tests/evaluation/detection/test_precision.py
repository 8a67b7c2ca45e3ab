import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.evaluation.detection.cases import found, objects, simulate, worlds

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import match_boxes
from pixloop.evaluation.detection.precision import (
    MAX_BOXES,
    PrecisionRecall,
    measure_precision,
    precision_interval,
    precision_recall,
    rank_classes,
    weighted_averages,
)
from pixloop.serving.detector import Found


def mean_average(curves: list[PrecisionRecall]) -> float | None:
    """The mean over the classes that have a true box."""
    averages = [curve.average for curve in curves if curve.average is not None]
    return float(np.mean(averages)) if averages else None


def by_pycocotools(searched: list[Found], truth: list[Objects], classes: int) -> np.ndarray:
    """pycocotools' precision (IoU, recall, class, size, boxes); -1 where there is no truth."""
    reference, answers = COCO(), COCO()
    images = [{"id": i} for i in range(len(searched))]
    categories = [{"id": k} for k in range(classes)]

    def rows(boxes: np.ndarray, **columns: list) -> list[dict]:
        return [
            {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            | {name: values[i] for name, values in columns.items()}
            for i, (x1, y1, x2, y2) in enumerate(boxes.tolist())
        ]

    true, boxes = [], []
    for i, (each, objects_) in enumerate(zip(searched, truth, strict=True)):
        true += [
            {**row, "image_id": i}
            for row in rows(
                objects_.boxes,
                category_id=objects_.labels.tolist(),
                iscrowd=objects_.crowd.astype(int).tolist(),
            )
        ]
        boxes += [
            {**row, "image_id": i, "iscrowd": 0}
            for row in rows(
                each.boxes, category_id=each.labels.tolist(), score=each.scores.tolist()
            )
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        for api, annotations in ((reference, true), (answers, boxes)):
            numbered = [{**a, "id": n + 1} for n, a in enumerate(annotations)]
            api.dataset = {"images": images, "categories": categories, "annotations": numbered}
            api.createIndex()
        evaluator = COCOeval(reference, answers, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"][..., -1]


def mean(table: np.ndarray) -> float | None:
    present = table[table > -1]
    return float(present.mean()) if present.size else None


def near(value: float | None) -> object:
    return None if value is None else pytest.approx(value, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_three_ways_agree(world: tuple[list[Found], list[Objects]]) -> None:
    searched, truth = world
    expected = by_pycocotools(searched, truth, 3)
    measured = measure_precision(searched, truth, 3)
    assert measured.map == near(mean(expected[..., 0]))
    assert measured.map_50 == near(mean(expected[0, ..., 0]))
    assert measured.map_75 == near(mean(expected[5, ..., 0]))
    assert list(measured.by_size.values()) == [near(mean(expected[..., i])) for i in (1, 2, 3)]
    curves = precision_recall(match_boxes(searched, truth, 3))
    assert mean_average(curves) == near(measured.map_50)
    for k, curve in enumerate(curves):
        assert curve.average == near(mean(expected[0, :, k, 0]))
        assert measured.classes_50[k] == near(curve.average)
        assert measured.classes[k] == near(mean(expected[..., k, 0]))


def test_more_boxes_than_coco_looks_at() -> None:
    wrong = [((0.0, 0.0, 4.0, 4.0), 0, 0.9)] * MAX_BOXES
    truth = [objects(((30, 30, 40, 40), 0), ((10, 10, 20, 20), 1))]
    searched = [found(*wrong, ((30, 30, 40, 40), 0, 0.5), ((10, 10, 20, 20), 1, 0.4))]
    curves = precision_recall(match_boxes(searched, truth, 2))
    assert [curve.average for curve in curves] == [0.0, pytest.approx(1.0)]
    assert measure_precision(searched, truth, 2).classes_50 == (0.0, pytest.approx(1.0))


def test_a_class_without_a_true_box_has_none_and_does_not_count() -> None:
    truth = [objects(((0, 0, 10, 10), 0)), objects()]
    searched = [found(((0, 0, 10, 10), 0, 0.9)), found(((0, 0, 10, 10), 1, 0.99))]
    measured = measure_precision(searched, truth, 2)
    assert measured.classes_50 == (pytest.approx(1.0), None)
    assert measured.map_50 == pytest.approx(1.0)


def test_nothing_found_and_nothing_there() -> None:
    none = measure_precision([found()], [objects(((0, 0, 9, 9), 0))], 2)
    assert (none.map, none.classes) == (0.0, (0.0, None))
    empty = measure_precision([found(((0, 0, 9, 9), 0, 0.5))], [objects()], 2)
    assert (empty.map, empty.map_50, set(empty.by_size.values())) == (None, None, {None})
    matches = match_boxes([found()], [objects()], 2)
    assert mean_average(precision_recall(matches)) is None
    assert precision_interval(matches) is None


def test_sizes_are_those_of_the_true_boxes() -> None:
    big, small = (0, 0, 100, 100), (200, 200, 230, 230)
    measured = measure_precision([found((big, 0, 0.9))], [objects((big, 0), (small, 0))], 1)
    assert measured.by_size == {"small": 0.0, "medium": None, "large": pytest.approx(1.0)}


def test_weights_are_repetitions() -> None:
    searched, truth = simulate(12, seed=1)
    matches = match_boxes(searched, truth, 3)
    weights = np.array([0, 2, 1, 1, 3, 0, 1, 1, 1, 2, 0, 1])
    drawn = np.repeat(np.arange(12), weights)
    again = match_boxes([searched[i] for i in drawn], [truth[i] for i in drawn], 3)
    expected = [c.average for c in precision_recall(again) if c.average is not None]
    averages = weighted_averages(matches, rank_classes(matches), weights)
    assert averages == pytest.approx(expected, abs=0.02)


def test_the_interval_holds_the_value_and_narrows() -> None:
    few, many = (match_boxes(*simulate(n, seed=3), 3) for n in (20, 320))
    width = []
    for matches in (few, many):
        low, high = precision_interval(matches)
        assert low < mean_average(precision_recall(matches)) < high
        width.append(high - low)
    assert width[1] < width[0] / 2


@pytest.mark.parametrize("left_first", [True, False])
def test_of_two_that_overlap_equally_the_same_one_is_taken(left_first: bool) -> None:
    left, middle, right, far_left = ((x, 0, x + 12, 12) for x in (6, 9, 12, 4))
    truth = [objects(*([(left, 0), (right, 0)] if left_first else [(right, 0), (left, 0)]))]
    # The second box is right only where the first has not taken the left one.
    searched = [found((middle, 0, 0.9), (far_left, 0, 0.8))]
    expected = mean(by_pycocotools(searched, truth, 1)[0, ..., 0])
    assert mean_average(precision_recall(match_boxes(searched, truth, 1))) == near(expected)
    assert measure_precision(searched, truth, 1).map_50 == near(expected)
    assert expected == near(1.0 if left_first else 51 / 101)
