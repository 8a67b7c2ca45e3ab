"""Work on a stream in several threads, with its results in the stream's order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """``map(work, items)`` in the pool's threads, reading at most ``ahead`` items in advance.

    ``items`` is read in the caller's thread, as results are taken. What ``work`` raises is raised
    in the result's place, and ends it; so does closing the iterator. What has not begun by then
    never begins.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def read_each(
    pool: ThreadPoolExecutor,
    read: Callable[[Item], Result],
    items: Iterable[tuple[Item, int]],
    most: int,
    at_once: int,
) -> Iterator[Result]:
    """``map(read, items)`` in the pool's threads.

    What ``read`` raises is raised in the result's place, and ends it; so does closing the iterator.
    What has not begun by then never begins.

    Args:
        pool: the threads.
        read: reads an item.
        items: each with how many bytes it will be. They are taken in the caller's thread.
        most: bytes that are being read or wait to be taken, all together. An item of more is read
            alone.
        at_once: items, at most, that are.
    """
    waiting: deque[tuple[Future[Result], int]] = deque()
    held = 0
    try:
        for item, size in items:
            while waiting and (held + size > most or len(waiting) >= at_once):
                future, freed = waiting.popleft()
                held -= freed
                yield future.result()
            waiting.append((pool.submit(read, item), size))
            held += size
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        for future, _ in waiting:
            future.cancel()
