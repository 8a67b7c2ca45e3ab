"""On which slices one of two models is better, as far as the pictures can show it.

p-values of all slices are corrected by Holm's procedure, as in ``slices.weakness``, and the bounds
by Bonferroni's, so that what is said of the slices holds for all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixloop.evaluation.comparison.paired import Floats, Paired, compare_paired, two_sided_p
from pixloop.evaluation.slices.slices import Slice
from pixloop.evaluation.slices.weakness import correct_for_many


@dataclass(frozen=True, slots=True)
class SlicePair:
    """Both models on the pictures of a slice.

    Attributes:
        slice: which.
        paired: their worth; its bounds hold for all slices together. Its p is one-sided and of
            this slice alone.
        p: the chance of so large a difference in either direction, corrected.
        better: whether the challenger is shown better; False for worse, None where it is neither.
    """

    slice: Slice
    paired: Paired
    p: float
    better: bool | None


def compare_slices(
    challenger: Floats, champion: Floats, slices: Sequence[Slice], confidence: float
) -> list[SlicePair]:
    """Every slice, those where the challenger loses most first.

    Args:
        challenger: each picture's worth, 0 to 1, (N,).
        champion: (N,).
        slices: none empty.
        confidence: that of no slice anything is said wrongly, and that all bounds hold.
    """
    each = 1 - (1 - confidence) / (2 * max(len(slices), 1))
    pairs, ps = [], []
    for part in slices:
        ours, theirs = challenger[part.inside], champion[part.inside]
        pairs.append(compare_paired(ours, theirs, each))
        ps.append(two_sided_p(ours, theirs))
    found = []
    for part, paired, p in zip(slices, pairs, correct_for_many(ps).tolist(), strict=True):
        better = bool(paired.difference > 0) if p <= 1 - confidence else None
        found.append(SlicePair(part, paired, p, better))
    order = np.argsort([row.paired.difference for row in found], kind="stable")
    return [found[i] for i in order]
