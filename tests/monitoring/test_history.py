import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pixloop.monitoring.history import POINTS, History


def curve(length: int) -> np.ndarray:
    return np.random.default_rng(length).normal(size=(length, 2))


@given(st.integers(0, 5000), st.lists(st.integers(1, 700), max_size=10))
def test_is_the_highest_of_each_stretch(length: int, cuts: list[int]) -> None:
    values, history, start = curve(length), History(2), 0
    for size in [*cuts, length]:
        history.add(values[start : start + size])
        start += size
    history = History.restore(2, history.state())
    assert history.seen == length
    assert len(history.points) == len(history.pictures) <= POINTS
    begins = 0
    for end, point in zip(history.pictures, history.points, strict=True):
        assert (point == values[begins:end].max(axis=0)).all()
        begins = end
    assert begins == length


def test_a_short_stream_is_kept_as_it_is() -> None:
    history = History(2)
    history.add(curve(POINTS))
    assert (history.points == curve(POINTS)).all()


def test_a_long_stream_has_enough_points_to_draw() -> None:
    history = History(2)
    history.add(curve(100_000))
    assert len(history.points) > POINTS // 3
