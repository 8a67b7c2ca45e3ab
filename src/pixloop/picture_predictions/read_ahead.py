"""What is read ahead of whoever takes it: by threads, in order, and at most so many bytes."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_each(
    pool: ThreadPoolExecutor,
    read: Callable[[Item], Result],
    items: Iterable[tuple[Item, int]],
    most: int,
    at_once: int,
) -> Iterator[Result]:
    """``map(read, items)`` in the pool's threads.

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


class Ahead(Generic[Item]):
    """An iterator that a thread goes through ahead. Use it in a ``with`` block.

    It is for what can be read only one after the other.
    """

    def __init__(self, items: Iterator[Item], size: Callable[[Item], int], most: int) -> None:
        """Begin.

        Args:
            items: are made in the thread; what they raise is raised in their place.
            size: of an item, in bytes.
            most: bytes that wait to be taken, all together; an item of more waits alone.
        """
        self._items, self._size, self._most = items, size, most
        self._waiting: deque[tuple[Item, int]] = deque()
        self._held, self._over = 0, False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="read ahead", daemon=True)
        self._thread.start()

    def __enter__(self) -> Iterator[Item]:
        return self._take()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _take(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    break
                item, size = self._waiting.popleft()
                self._held -= size
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            for item in self._items:
                size = self._size(item)
                with self._changed:
                    self._changed.wait_for(lambda size=size: self._fits(size) or self._over)  # type: ignore[misc]
                    if self._over:
                        return
                    self._waiting.append((item, size))
                    self._held += size
                    self._changed.notify_all()
        except BaseException as e:  # raised where items are taken
            self._error = e
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._waiting or self._held + size <= self._most
