"""What is read ahead of whoever takes it: by a thread, and at most so many bytes."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


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
