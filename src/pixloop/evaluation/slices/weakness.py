"""On which slices a model is weaker than elsewhere, as far as the pictures can show it.

Who looks at forty slices finds some that are weak by chance. A slice is called weak only where its
pictures are worth less than the others by a one-sided test that holds for all slices together:
p-values are corrected by Holm's procedure (Scandinavian Journal of Statistics 6, 1979, 65), so that
with the chance ``confidence`` no slice is called weak that is not. Slices overlap, and the two ends
of a fact exclude each other, so that Benjamini and Hochberg's procedure would promise nothing here:
it asks for independence or positive dependence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom, norm

from pixloop.evaluation.slices.slices import Bools, Slice

Floats = NDArray[np.float64]

_PERMUTATIONS = 9999
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class SliceWorth:
    """How well a slice's pictures are answered.

    Attributes:
        slice: which.
        worth: their mean, 0 to 1: the share of right answers, in detection the pictures' F1.
        elsewhere: the mean of all others.
        low: bounds of ``worth`` that hold for all slices together with the confidence.
        high: see ``low``.
        p: the chance of so low a mean or a lower one, were it no worse than elsewhere; corrected.
        weak: whether it is shown to be weaker.
    """

    slice: Slice
    worth: float
    elsewhere: float
    low: float
    high: float
    p: float
    weak: bool

    @property
    def difference(self) -> float:
        """How far it lies from the others."""
        return self.worth - self.elsewhere


def rank_slices(worth: Floats, slices: Sequence[Slice], confidence: float) -> list[SliceWorth]:
    """Every slice, those that are shown weak first, then by their worth.

    Args:
        worth: (N,) of each picture, 0 to 1.
        slices: none empty, and none of all pictures.
        confidence: that no slice is called weak wrongly, and that all bounds hold.
    """
    if not slices:
        return []
    inside = np.stack([each.inside for each in slices])
    corrected = correct_for_many(_test(worth, inside))
    each_confidence = 1 - (1 - confidence) / len(slices)
    rows = []
    for each, p in zip(slices, corrected.tolist(), strict=True):
        own = worth[each.inside]
        low, high = mean_interval(own, each_confidence)
        rows.append(
            SliceWorth(
                slice=each,
                worth=float(own.mean()),
                elsewhere=float(worth[~each.inside].mean()),
                low=low,
                high=high,
                p=p,
                weak=p <= 1 - confidence,
            )
        )
    return sorted(rows, key=lambda row: (not row.weak, row.worth))


def correct_for_many(p: ArrayLike) -> Floats:
    """p-values corrected by Holm's procedure, (S,).

    >>> correct_for_many([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    times = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * times), 1.0)
    return corrected


def mean_interval(worth: Floats, confidence: float) -> tuple[float, float]:
    """The interval of a mean of values from 0 to 1, sound for few and for equal ones too.

    Wilson's, as if of so many answers that are right or wrong as would make the mean vary as much
    (the effective sample size of Korn and Graubard 1998), at most as many as make a difference
    between F1s visible: four times the pictures.

    Args:
        worth: (n,), n ≥ 1.
        confidence: of the interval.
    """
    n, share = len(worth), float(worth.mean())
    variance = float(worth.var())
    alike = n * share * (1 - share) / variance if variance > 1e-12 else n
    size = float(np.clip(alike, n, 4 * n))
    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2
    middle = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return max(0.0, middle - float(half)), min(1.0, middle + float(half))


def _test(worth: Floats, inside: Bools) -> Floats:
    """The chance of each slice's mean or a lower one, were its pictures drawn from all, (S,).

    Fisher's exact test where answers are right or wrong; else the permutation test that it is a
    case of, whose permutations all slices share.
    """
    sizes = inside.sum(axis=1)
    if np.isin(worth, (0.0, 1.0)).all():
        right = (inside @ worth).round().astype(np.int64)
        found: Floats = hypergeom.cdf(right, len(worth), int(worth.sum()), sizes)
        return found
    rng, sums = np.random.default_rng(0), inside @ worth
    reached = np.ones(len(sums))
    members = inside.astype(np.float64)
    for start in range(0, _PERMUTATIONS, _AT_ONCE):
        count = min(_AT_ONCE, _PERMUTATIONS - start)
        drawn = rng.permuted(np.tile(worth, (count, 1)), axis=1)
        reached += (members @ drawn.T <= sums[:, None] + 1e-9).sum(axis=1)
    return reached / (_PERMUTATIONS + 1)
