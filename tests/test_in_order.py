import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.in_order import read_each

SIZES = st.lists(st.integers(0, 50), max_size=40)


@given(SIZES, st.integers(1, 100), st.integers(1, 5))
def test_results_come_in_order_and_few_bytes_are_held(
    sizes: list[int], most: int, at_once: int
) -> None:
    lock, held, highest = threading.Lock(), 0, 0

    def read(number: int) -> int:
        nonlocal held, highest
        with lock:
            held += sizes[number]
            highest = max(highest, held)
        return number

    with ThreadPoolExecutor(3) as pool:
        for place, number in enumerate(read_each(pool, read, enumerate(sizes), most, at_once)):
            assert number == place
            with lock:
                held -= sizes[number]
    # What the caller has just been given is read, and not yet freed here.
    assert highest <= max([most, *sizes]) + max(sizes, default=0)


def test_an_error_is_raised_in_its_place_and_ends_the_work() -> None:
    begun: list[int] = []

    def read(number: int) -> int:
        begun.append(number)
        return 1 // (2 - number)

    with ThreadPoolExecutor(1) as pool:
        results = read_each(pool, read, ((number, 1) for number in range(1000)), 100, 3)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)
    assert len(begun) <= 6
