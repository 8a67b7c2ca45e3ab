"""Whether a challenger should take the champion's place: a paired test on the same pictures.

Each held-out picture has a worth for each model: in classification 1 where the answer is right, in
detection the F1 of its boxes. What is judged is the mean difference, challenger minus champion:

- its bounds: Tango's score interval for paired shares (Statistics in Medicine 17, 1998, 891), which
  holds with few pictures and where the two never differ; in detection the percentile bootstrap
  over pictures (Efron 1979);
- its p-value, that the challenger is not better: McNemar's exact test, in detection the test that
  flips the signs of the pictures' differences, of which McNemar's is the case of shares.

A challenger is promoted where it is shown not worse on all pictures (the lower bound is at least
minus the margin) and shown better where it was meant to be: on the pictures that came from
annotations since the champion was made. Where there are none, on all of them; and better on all
also suffices where it is not shown worse on those. What is merely equal is not promoted: a change
that gains nothing is risk alone. The gate asks less: it refuses what is shown worse, that is, whose
upper bound lies below minus the margin.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from pixloop.config_loop import PromotionConfig

Json = dict[str, Any]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_RESAMPLES = 4000
_FLIPS = 9999
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


def weigh(
    challenger: Floats,
    champion: Floats,
    meant: Bools,
    config: PromotionConfig,
    champion_sha256: str = "",
) -> Json:
    """The section ``promotion`` of evaluation.json.

    Args:
        challenger: each picture's worth, 0 to 1, shape (N,), N ≥ 1.
        champion: the same of the champion, on the same pictures.
        meant: (N,) those where the challenger was meant to be better.
        config: margin and confidence.
        champion_sha256: of the champion's bundle.json, which tells later whether it is still the
            champion that was compared with.

    Returns:
        ``overall`` and ``slice`` (as ``Paired``, the latter None without such pictures), the
        verdicts ``not_worse``, ``better``, ``shown_worse`` and ``better_where_meant`` (None without
        such pictures), ``promote``, and why, in ``words`` and as one ``reason``.
    """
    overall = compare_paired(challenger, champion, config.confidence)
    part = None
    if meant.any():
        part = compare_paired(challenger[meant], champion[meant], config.confidence)
    limit = 1 - config.confidence
    not_worse, better = overall.low >= -config.margin, overall.p <= limit
    meant_better = None if part is None else part.p <= limit
    spared = part is None or part.high >= -config.margin
    promote = not_worse and (bool(meant_better) or (better and spared))
    words = [
        *_on_all(overall, challenger - champion, config),
        *(_on_slice(part, (challenger - champion)[meant], config) if part else ()),
    ]
    return {
        "champion": True,
        "champion_sha256": champion_sha256,
        "confidence": config.confidence,
        "margin": config.margin,
        "overall": asdict(overall),
        "slice": asdict(part) if part else None,
        "not_worse": not_worse,
        "better": better,
        "better_where_meant": meant_better,
        "shown_worse": overall.high < -config.margin,
        "best_difference": overall.high,
        "allowed_difference": -config.margin,
        "promote": promote,
        "words": words,
        "reason": "; ".join(words),
    }


def no_champion(config: PromotionConfig) -> Json:
    """The section where there is nobody to compare with: the first version may be promoted."""
    return {
        "champion": False,
        "champion_sha256": "",
        "confidence": config.confidence,
        "margin": config.margin,
        "overall": None,
        "slice": None,
        "not_worse": True,
        "better": True,
        "better_where_meant": None,
        "shown_worse": False,
        "best_difference": 1.0,
        "allowed_difference": -config.margin,
        "promote": True,
        "words": ["there is no champion yet"],
        "reason": "there is no champion yet",
    }


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
        p = float(stats.binom.sf(gained - 1, gained + lost, 0.5)) if gained + lost else 1.0
    else:
        low, high = _bootstrap(difference, confidence)
        p = _sign_flips(difference)
    return Paired(
        pictures=len(difference),
        champion=float(champion.mean()),
        challenger=float(challenger.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        p=p,
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


def _bootstrap(difference: Floats, confidence: float, seed: int = 0) -> tuple[float, float]:
    rng, count = np.random.default_rng(seed), len(difference)
    # As counts, so that memory does not grow with the product.
    means = [float(difference[rng.integers(0, count, count)].mean()) for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, (1 - confidence, confidence))
    return float(low), float(high)


def _sign_flips(difference: Floats, seed: int = 0) -> float:
    """The share of sign flips, the given one included, whose sum is as large."""
    rng, moved = np.random.default_rng(seed), difference[difference != 0]
    reached = 1
    for _ in range(_FLIPS):
        signs = rng.integers(0, 2, len(moved)) * 2 - 1
        reached += float(signs @ moved) >= float(moved.sum()) - 1e-12
    return reached / (_FLIPS + 1)


def _on_all(paired: Paired, difference: Floats, config: PromotionConfig) -> list[str]:
    sure = _percent(config.confidence)
    where = f"than the champion on all {paired.pictures} pictures"
    if paired.low >= -config.margin:
        words = f"not worse {where}: with {sure} at least {_points(paired.low)}"
        if paired.p <= 1 - config.confidence:
            words = words.replace("not worse", "better", 1)
        else:
            words += "; not shown better there" + _more(paired, difference, 0.0, config)
        return [words]
    if paired.high < -config.margin:
        return [f"worse {where}: with {sure} at most {_points(paired.high)}"]
    below, margin = _points(-paired.low, False), _points(config.margin, False)
    return [
        f"not shown to be not worse {where}: it may lie {below} below, and {margin} may pass"
        + _more(paired, difference, config.margin, config)
    ]


def _on_slice(paired: Paired, difference: Floats, config: PromotionConfig) -> list[str]:
    where = f"on the {paired.pictures} pictures annotated since the champion"
    if paired.p <= 1 - config.confidence:
        return [f"better {where}: {_points(paired.difference)}, p = {paired.p:.2g}"]
    return [
        f"not shown better {where}: {_points(paired.difference)}, p = {paired.p:.2g}"
        + _more(paired, difference, 0.0, config)
    ]


def _more(paired: Paired, difference: Floats, margin: float, config: PromotionConfig) -> str:
    """How many more pictures would show it, if the difference stays what it is."""
    needed = pictures_needed(difference, margin, config.confidence)
    if needed is None:
        return "; more pictures would not show it, as they stand"
    more = max(needed - paired.pictures, 1)
    return f"; about {more:,} more pictures would show it, as they stand"


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


def _points(difference: float, signed: bool = True) -> str:
    return f"{difference * 100:{'+' if signed else ''}.1f} points"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} % confidence"
