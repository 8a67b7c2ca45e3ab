"""What became of numbers over a long stream, in few enough points to draw."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: The most points of a curve.
POINTS = 500


class History:
    """The highest of each stretch of equally many pictures, a curve for each of S numbers.

    Stretches are one picture long at first; where there would be more than ``POINTS``, two become
    one. So memory is bounded, and a peak is never lost.

    Attributes:
        seen: pictures so far.
    """

    def __init__(self, curves: int) -> None:
        self.seen = 0
        self._stretch = 1
        self._points = np.full((POINTS, curves), -np.inf)

    @property
    def pictures(self) -> NDArray[np.int64]:
        """After how many pictures each point's stretch ended; int64 (P,), P at most ``POINTS``."""
        ends = np.arange(1, self._count + 1) * self._stretch
        return np.minimum(ends, self.seen)

    @property
    def points(self) -> NDArray[np.float64]:
        """float64 (P, S)."""
        return self._points[: self._count].copy()

    def add(self, values: NDArray[np.float64]) -> None:
        """The numbers after each of the next pictures; float64 (m, S)."""
        if not len(values):
            return
        end = self.seen + len(values)
        while end > POINTS * self._stretch:
            self._halve()
        place = np.arange(self.seen, end) // self._stretch
        first = np.concatenate([[0], np.flatnonzero(np.diff(place)) + 1])
        highest = np.maximum.reduceat(values, first, axis=0)
        self._points[place[first]] = np.maximum(self._points[place[first]], highest)
        self.seen = end

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that it knows, as arrays."""
        return {
            "seen": np.array(self.seen),
            "stretch": np.array(self._stretch),
            "points": self.points,
        }

    @classmethod
    def restore(cls, curves: int, state: Mapping[str, NDArray[np.generic]]) -> "History":
        """As it was when ``state`` was called."""
        self = cls(curves)
        self.seen, self._stretch = int(state["seen"]), int(state["stretch"])
        self._points[: self._count] = state["points"]
        return self

    @property
    def _count(self) -> int:
        return -(-self.seen // self._stretch)

    def _halve(self) -> None:
        pairs = self._points.reshape(POINTS // 2, 2, -1).max(axis=1)
        self._points = np.concatenate([pairs, np.full_like(pairs, -np.inf)])
        self._stretch *= 2
