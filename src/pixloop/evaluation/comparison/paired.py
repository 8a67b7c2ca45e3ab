"""Two models on the same pictures: how much better one is, and whether that can be chance.

Each picture has a worth for each model: in classification 1 where the answer is right, in detection
the F1 of its boxes. Of the mean difference, challenger minus champion:

- its bounds: Tango's score interval for paired shares (Statistics in Medicine 17, 1998, 891), which
  holds with few pictures and where the two never differ; in detection the percentile bootstrap
  over pictures (Efron 1979);
- its p-value, that the challenger is not better: McNemar's exact test, in detection the test that
  flips the signs of the pictures' differences, of which McNemar's is the case of shares.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

_RESAMPLES = 4000
_FLIPS = 9999
#: Numbers that are drawn at once.
_AT_ONCE = 500_000
#: More pictures than this nobody will annotate: it is said that they do not differ enough.
_MOST_NEEDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Paired:
    """Both models on the same pictures.

    Attributes:
        pictures: how many.
        champion: its mean worth, 0 to 1.
        challenger: its mean worth.
        difference: challenger minus champion.
        low: what the difference exceeds with the confidence.
        high: what it stays below with the confidence.
        p: the chance of such a gain or a larger one, were the challenger no better.
        gained: pictures on which the challenger is better.
        lost: pictures on which it is worse.
    """

    pictures: int
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int


def compare_paired(challenger: Floats, champion: Floats, confidence: float) -> Paired:
    """Two models' worth on the same pictures.

    Args:
        challenger: shape (N,), 0 to 1, N ≥ 1.
        champion: shape (N,).
        confidence: of each of the two bounds, above 1/2.
    """
    difference = challenger - champion
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    if np.isin(difference, (-1.0, 0.0, 1.0)).all():
        low, high = tango_interval(gained, lost, len(difference), confidence)
    else:
        low, high = _bootstrap(difference, confidence)
    return Paired(
        pictures=len(difference),
        champion=float(champion.mean()),
        challenger=float(challenger.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        p=_p_better(difference),
        gained=gained,
        lost=lost,
    )


def tango_interval(gained: int, lost: int, total: int, confidence: float) -> tuple[float, float]:
    """Bounds of the difference of two paired shares, each of which holds with ``confidence``.

    Tango's score interval (1998, formula 8): the differences that a score test does not reject.

    >>> low, high = tango_interval(0, 0, 100, 0.95)
    >>> round(low, 3), round(high, 3)
    (-0.026, 0.026)
    """
    z = float(stats.norm.ppf(confidence))

    def score(delta: float) -> float:
        a = 2 * total
        b = -gained - lost + (2 * total - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = total * (2 * share + delta * (1 - delta))
        gap = gained - lost - total * delta
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)

    point, edge = (gained - lost) / total, 1 - 1e-12
    low = high = point
    if point > -edge:
        low = _root(lambda delta: score(delta) - z, -edge, point)
    if point < edge:
        high = _root(lambda delta: score(delta) + z, point, edge)
    return low, high


def _root(function: Any, low: float, high: float) -> float:
    step = 1e-12
    at_low, at_high = function(low + step), function(high - step)
    if not (np.isfinite(at_low) and np.isfinite(at_high)) or at_low * at_high > 0:
        return low if abs(at_low) < abs(at_high) else high
    return float(optimize.brentq(function, low + step, high - step))


def two_sided_p(challenger: Floats, champion: Floats) -> float:
    """The chance of so large a difference in either direction, were both models equally good.

    Twice the smaller of both one-sided p-values; of McNemar's exact test that is the two-sided one.
    """
    better = _p_better(challenger - champion)
    return min(1.0, 2 * min(better, _p_better(champion - challenger)))


def _p_better(difference: Floats) -> float:
    if np.isin(difference, (-1.0, 0.0, 1.0)).all():
        gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
        return float(stats.binom.sf(gained - 1, gained + lost, 0.5)) if gained + lost else 1.0
    return _sign_flips(difference)


def _bootstrap(difference: Floats, confidence: float, seed: int = 0) -> tuple[float, float]:
    rng, count = np.random.default_rng(seed), len(difference)
    # Some at once, so that memory does not grow with the product.
    means = np.concatenate(
        [
            difference[rng.integers(0, count, (rows, count))].mean(axis=1)
            for rows in _parts(_RESAMPLES, count)
        ]
    )
    low, high = np.quantile(means, (1 - confidence, confidence))
    return float(low), float(high)


def _sign_flips(difference: Floats, seed: int = 0) -> float:
    """The share of sign flips, the given one included, whose sum is as large."""
    rng, moved = np.random.default_rng(seed), difference[difference != 0]
    reached, least = 1, float(moved.sum()) - 1e-12
    for rows in _parts(_FLIPS, len(moved)):
        signs = rng.integers(0, 2, (rows, len(moved))) * 2 - 1
        reached += int((signs @ moved >= least).sum())
    return reached / (_FLIPS + 1)


def _parts(rows: int, columns: int) -> list[int]:
    """How many rows to draw at a time."""
    most = max(1, _AT_ONCE // max(columns, 1))
    return [min(most, rows - start) for start in range(0, rows, most)]


def pictures_needed(difference: Floats, margin: float, confidence: float) -> int | None:
    """Pictures from which on the lower bound would exceed ``-margin``, if all stays as it is.

    From the normal approximation: n ≥ (z s / (d + margin))². None where it never would.
    """
    gap = float(difference.mean()) + margin
    if gap <= 0:
        return None
    count = len(difference)
    spread = max(float(difference.std()), 1 / (count + 1))
    needed = math.ceil((float(stats.norm.ppf(confidence)) * spread / gap) ** 2)
    return needed if needed <= _MOST_NEEDED else None
