from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.evaluation.calibration import reliability
from pixloop.evaluation.plots import history_plot, reliability_diagram, risk_curve
from pixloop.evaluation.risk import risk_points
from pixloop.evaluation.thresholds import selective_curve

WIDTH, HEIGHT = 360, 250


def drawn(svg: str) -> ElementTree.Element:
    """The plot, parsed; every mark must lie on the drawing."""
    root = ElementTree.fromstring(svg)  # noqa: S314  (our own)
    for element in root.iter():
        if "points" in element.attrib:
            for pair in element.attrib["points"].split():
                x, y = map(float, pair.split(","))
                assert 0 <= x <= WIDTH
                assert 0 <= y <= HEIGHT
        if element.tag == "circle":
            assert 0 <= float(element.attrib["cx"]) <= WIDTH
            assert 0 <= float(element.attrib["cy"]) <= HEIGHT
    return root


@given(st.integers(0, 99), st.integers(0, 50), st.sampled_from([0.001, 0.02, 0.5]))
def test_any_predictions_can_be_drawn(seed: int, pictures: int, max_error: float) -> None:
    rng = np.random.default_rng(seed)
    scores, correct = rng.random(pictures).round(1), rng.random(pictures) < 0.8
    chosen = (0.5, float(rng.random())) if pictures else None
    points = risk_points(selective_curve(scores, correct), pictures)
    drawn(risk_curve(points, max_error, chosen))
    probabilities = rng.dirichlet(np.ones(3), pictures)
    bins = reliability(probabilities, rng.integers(0, 3, pictures))
    drawn(reliability_diagram(bins, bins))


@given(st.lists(st.floats(0, 1e6) | st.just(0.0), max_size=30))
def test_any_history_can_be_drawn(values: list[float]) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    for from_zero in (True, False):
        svg = history_plot({"training": points, "validation": []}, "loss", from_zero)
        assert (svg == "") == (not values)
        if values:
            drawn(svg)


def test_every_dot_can_be_hovered() -> None:
    root = drawn(history_plot({"a<b": [(1, 0.5), (2, 0.25)]}, "loss"))
    titles = [title.text for title in root.iter("title")]
    assert titles == ["a<b, epoch 1: 0.5", "a<b, epoch 2: 0.25"]


def test_large_sets_make_small_plots() -> None:
    rng = np.random.default_rng(0)
    curve = selective_curve(rng.random(50_000), rng.random(50_000) < 0.9)
    assert len(risk_curve(risk_points(curve, 50_000), 0.02, None)) < 15_000


def test_the_line_ends_where_all_are_accepted() -> None:
    curve = selective_curve([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
    root = drawn(risk_curve(risk_points(curve, 4), 0.1, None))
    line = next(e for e in root.iter("polyline") if e.attrib["class"] == "line after")
    x, y = map(float, line.attrib["points"].split()[-1].split(","))
    assert x == pytest.approx(WIDTH - 14)
    # A quarter is wrong, on an axis that ends a quarter above that.
    assert y == pytest.approx(28 + (HEIGHT - 28 - 36) * (1 - 1 / 1.25), abs=0.1)
