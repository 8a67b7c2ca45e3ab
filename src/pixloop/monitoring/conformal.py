"""Conformal p-values of a stream: how each new value ranks among all that were seen before it.

For the t-th value s_t after n of the reference, and a number U_t drawn evenly from (0, 1]::

    p_t = (#{s_i > s_t} + U_t · #{s_i = s_t}) / (n + t),   i over the reference and s_1 … s_t

While reference and stream are exchangeable, that is while any order of them is as likely, the p_t
are independent and uniform, exactly and for every n (V. Vovk, A. Gammerman, G. Shafer, Algorithmic
Learning in a Random World, 2nd ed. 2022, chapter 8). That needs the values of the stream itself
among those that one ranks with: against the reference alone, p-values of a long stream tell that
the reference is a sample, and not that anything has moved.

Values are rounded to half precision, which is a fixed function of the picture and so changes
nothing of that; then a count for each of the 65,536 such numbers is all that must be remembered.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LEVELS = 65_536
#: Values ranked at once: those of a block are compared with one another, each with each.
BLOCK = 256

_SIGN = np.uint16(0x8000)


def to_levels(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Numbers from 0 to 65,535 in the order of the values, which are rounded to half precision.

    >>> to_levels(np.array([-2.0, 0.0, 1.0, 1.0 + 1e-5])).tolist()
    [16383, 32768, 48128, 48128]
    """
    with np.errstate(over="ignore"):  # beyond 65,504 all are alike
        halves = np.asarray(values, np.float32).astype(np.float16) + np.float16(0)  # no -0
    bits = halves.view(np.uint16)
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return ordered.astype(np.int64)


class Ranks:
    """Everything seen of one signal, as a count for each level.

    Args:
        values: of the reference, float (n,); NaN is left out.
        seed: of the numbers that break ties; the same seed breaks them alike.
        stream: tells this signal's numbers from those of others with the same seed.
    """

    def __init__(self, values: NDArray[np.floating], seed: int, stream: int) -> None:
        known = values[~np.isnan(values)]
        self._counts = np.bincount(to_levels(known), minlength=LEVELS)
        self._seen = 0  # of the stream
        self._key = np.array([seed, stream], np.uint64)

    def p_values(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The p-values of the stream's next values, in (0, 1]; small where a value is high.

        Args:
            values: float (m,), none of them NaN.
        """
        found = [
            self._rank(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)
        ]
        return np.concatenate(found) if found else np.empty(0)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that it knows but the seed, as arrays."""
        levels = np.flatnonzero(self._counts)
        counts = self._counts[levels]
        return {
            "levels": levels.astype(np.uint16),
            # Most are small, and this is written often.
            "counts": counts.astype(np.min_scalar_type(counts.max(initial=0))),
            "ranked": np.array(self._seen),
        }

    @classmethod
    def restore(cls, seed: int, stream: int, state: Mapping[str, NDArray[np.generic]]) -> "Ranks":
        """As it was when ``state`` was called, with the same seed and stream."""
        self = cls(np.empty(0), seed, stream)
        self._counts[np.array(state["levels"], np.int64)] = state["counts"]
        self._seen = int(state["ranked"])
        return self

    def _rank(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        levels = to_levels(values)
        at_most = np.cumsum(self._counts)
        before = at_most[-1]
        earlier = np.tri(len(levels), k=-1, dtype=np.bool_)
        higher = before - at_most[levels]
        higher += ((levels > levels[:, None]) & earlier).sum(axis=1)
        equal = self._counts[levels] + 1
        equal += ((levels == levels[:, None]) & earlier).sum(axis=1)
        total = before + 1 + np.arange(len(levels))
        p: NDArray[np.float64] = (higher + self._tie_breakers(len(levels)) * equal) / total
        np.add.at(self._counts, levels, 1)
        self._seen += len(levels)
        return p

    def _tie_breakers(self, count: int) -> NDArray[np.float64]:
        """Numbers in (0, 1] that depend on seed, stream and place alone."""
        # Philox counts in steps of four numbers.
        bits = np.random.Philox(key=self._key)
        bits.advance(self._seen // 4)
        skipped = self._seen % 4
        return 1.0 - np.random.Generator(bits).random(skipped + count)[skipped:]
