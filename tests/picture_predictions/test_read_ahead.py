import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.picture_predictions.read_ahead import Ahead

SIZES = st.lists(st.integers(0, 50), max_size=40)


class Reader:
    """Hands out items of given sizes, and knows the most that was read and not yet taken."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.held, self.most = sizes, 0, 0
        self._lock = threading.Lock()

    def read(self, number: int) -> int:
        with self._lock:
            self.held += self.sizes[number]
            self.most = max(self.most, self.held)
        return number

    def free(self, number: int) -> int:
        with self._lock:
            self.held -= self.sizes[number]
        return number


@given(SIZES, st.integers(1, 100))
def test_rows_are_read_in_order_and_few_bytes_are_held(sizes: list[int], most: int) -> None:
    reader = Reader(sizes)
    rows = (reader.read(number) for number in range(len(sizes)))
    with Ahead(rows, sizes.__getitem__, most) as stream:
        assert [reader.free(number) for number in stream] == list(range(len(sizes)))
    # The one that waits to be let in is read, too, and the one that was just taken.
    assert reader.most <= max([most, *sizes]) + 2 * max(sizes, default=0)


def test_rows_are_read_before_they_are_asked_for() -> None:
    read = threading.Event()

    def rows() -> Iterator[int]:
        yield 1
        yield 2
        read.set()

    with Ahead(rows(), lambda _: 1, most=10) as stream:
        assert read.wait(10)
        assert list(stream) == [1, 2]


def test_what_goes_wrong_is_raised_in_its_place() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with Ahead(rows(), lambda _: 1, most=10) as stream:
        assert next(stream) == 1
        with pytest.raises(ValueError, match="no more"):
            next(stream)


def test_a_reader_that_is_left_ends() -> None:
    before = threading.active_count()

    def endless() -> Iterator[int]:
        while True:
            yield 1

    with Ahead(endless(), lambda _: 1, most=3) as stream:
        next(stream)
    assert threading.active_count() == before
