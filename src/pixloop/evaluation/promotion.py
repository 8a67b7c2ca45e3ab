"""Whether a challenger should take the champion's place: a paired test on the same pictures.

Each held-out picture has a worth for each model: in classification 1 where the answer is right, in
detection the F1 of its boxes. What is judged is the mean difference, challenger minus champion,
with its bounds and its p-value (``comparison.paired``).

A challenger is promoted where it is shown not worse on all pictures (the lower bound is at least
minus the margin) and shown better where it was meant to be: on the pictures that came from
annotations since the champion was made. Where there are none, on all of them; and better on all
also suffices where it is not shown worse on those. What is merely equal is not promoted: a change
that gains nothing is risk alone. The gate asks less: it refuses what is shown worse, that is, whose
upper bound lies below minus the margin.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.config_loop import PromotionConfig
from pixloop.evaluation.comparison.paired import Floats, Paired, compare_paired, pictures_needed

Json = dict[str, Any]
Bools = NDArray[np.bool_]


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


def _points(difference: float, signed: bool = True) -> str:
    return f"{difference * 100:{'+' if signed else ''}.1f} points"


def _percent(share: float) -> str:
    return f"{share * 100:.4g} % confidence"
