import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.data.annotations import AnnotatedBox
from pixloop.monitoring.checking import _match
from pixloop.monitoring.quality import bet_below, interval


def test_a_false_alarm_is_as_rare_as_promised():
    random = np.random.default_rng(0)
    alarms = sum(
        bool((bet_below((random.random(1000) < 0.9).astype(float), 0.9) >= np.log(20)).any())
        for _ in range(400)
    )
    assert alarms <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_a_drop_is_noticed():
    random = np.random.default_rng(0)
    evidence = bet_below((random.random(400) < 0.6).astype(float), 0.85)
    assert (evidence >= np.log(100)).any()


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1))
def test_capital_stays_positive_whatever_comes(values, least):
    assert np.isfinite(bet_below(np.array(values, np.float64), least)).all()


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_an_interval_holds_its_mean(values):
    found = np.array(values, np.float64)
    low, high = interval(found, True)
    assert 0 <= low <= found.mean() + 1e-12
    assert found.mean() - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("label", "xyxy", "right"),
    [
        ("cat", (0, 0, 10, 10), True),
        ("dog", (0, 0, 10, 10), False),
        ("cat", (0, 0, 10, 4), False),
    ],
)
def test_a_box_is_right_by_class_and_place(label, xyxy, right):
    answered = [{"label": label, "score": 0.9, "xyxy": list(xyxy)}]
    assert _match(answered, [AnnotatedBox(label="cat", xyxy=(0, 0, 10, 10))]) == [right]


def test_an_object_is_found_once_by_the_surest():
    box = {"label": "cat", "xyxy": [0, 0, 10, 10]}
    answered = [{**box, "score": 0.5}, {**box, "score": 0.9}]
    present = [AnnotatedBox(label="cat", xyxy=(0, 0, 10, 10))]
    assert _match(answered, present) == [False, True]
