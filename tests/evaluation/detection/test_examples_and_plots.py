from xml.etree import ElementTree

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.detection.cases import found, objects, worlds

from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.examples import _around
from pixloop.evaluation.detection.matching import match_boxes
from pixloop.evaluation.detection.plots import (
    iou_histogram,
    precision_recall_plot,
)
from pixloop.evaluation.detection.precision import precision_recall
from pixloop.evaluation.detection.risk import box_risk_points
from pixloop.evaluation.detection.thresholds import accept_boxes
from pixloop.evaluation.plots import risk_curve
from pixloop.serving.detector import Found

WIDTH, HEIGHT = 360, 250


def drawn(svg: str) -> ElementTree.Element:
    """The plot, parsed; every mark must lie on the drawing."""
    root = ElementTree.fromstring(svg)  # noqa: S314  (our own)
    for element in root.iter():
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    return root


@settings(max_examples=60, deadline=None)
@given(worlds(), st.floats(0, 1))
def test_any_world_can_be_drawn(world: tuple[list[Found], list[Objects]], least: float) -> None:
    searched, truth = world
    matches = match_boxes(searched, truth, 3)
    curves = dict(zip("a<b", precision_recall(matches), strict=True))
    drawn(precision_recall_plot(curves, least))
    curve = accept_boxes(
        matches.picture, matches.score, matches.right, np.unique(matches.score)[::-1]
    )
    drawn(risk_curve(box_risk_points(curve, len(matches)), 0.1, None, "boxes"))


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=10), st.none() | st.floats(0.5, 1))
def test_any_histogram_can_be_drawn(boxes: list[int], mean: float | None) -> None:
    edges = np.linspace(0.5, 1, len(boxes) + 1).tolist()
    root = drawn(iou_histogram(edges, boxes, mean))
    assert len(list(root.iter("title"))) == len(boxes)


def test_the_dot_is_where_boxes_stop_being_answered() -> None:
    box, far = (0, 0, 20, 20), (40, 40, 60, 60)
    matches = match_boxes(
        [found((box, 0, 0.9), (far, 0, 0.4))], [objects((box, 0), ((0, 40, 9, 49), 0))], 1
    )
    curves = dict(zip(["a"], precision_recall(matches), strict=True))
    titles = [e.text for e in drawn(precision_recall_plot(curves, 0.5)).iter("title")]
    assert titles == ["a: precision 100.0%, recall 50.0% as answered"]
    assert not list(drawn(precision_recall_plot(curves, 0.95)).iter("title"))


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
)
def test_a_crop_lies_in_the_picture_and_holds_the_box(
    width: int, height: int, corner: tuple[float, float], share: tuple[float, float]
) -> None:
    x1, y1 = corner[0] * width * 0.99, corner[1] * height * 0.99
    x2, y2 = x1 + share[0] * (width - x1), y1 + share[1] * (height - y1)
    left, top, right, bottom = _around(np.array([[x1, y1, x2, y2]]), width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert all(edge == int(edge) for edge in (left, top, right, bottom))
    slack = 1 + 1e-9  # edges are rounded to pixels
    assert left <= x1 + slack
    assert top <= y1 + slack
    assert right >= x2 - slack
    assert bottom >= y2 - slack
