"""The worst case: answers that are wrong exactly as often as is promised, whatever their score.

A threshold that accepts anything then breaks its promise by the smallest margin there is (the
error is one in a thousand over the limit), so that the share of draws with any threshold is the
share of broken promises, which may be at most ``1 - confidence``.
"""

import numpy as np

from pixloop.evaluation.thresholds import choose_threshold

DRAWS = 2000


def boundary(max_error: float, confidence: float, pictures: int) -> float:
    """The share of draws in which something was accepted."""
    broken = 0
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        right = rng.random(pictures) >= max_error * 1.001
        found = choose_threshold(rng.random(pictures), right, max_error, confidence)
        broken += found.score is not None
    return broken / DRAWS
