"""How many times longer the best peer takes to an accuracy than pixloop, from their curves."""

import statistics
from collections.abc import Mapping
from typing import Any

GOALS = ("0.85", "0.90", "best")
#: Frozen features and a logistic regression, in a few lines of one's own: no peer's way, and what
#: pixloop's head has to be held against.
BY_HAND = "peers, by_hand"


def compare(results: Mapping[str, Any]) -> dict[str, Any]:
    """pixloop's median, every peer's best, and how many times longer the best peer took.

    ``best`` asks for the highest accuracy that pixloop and the best peer both reached, so that who
    learns less is not called faster. None where nobody reached it, or pixloop did not. What is
    written by hand stands beside; ``stopped`` names the runs whose time was up.
    """
    runs = {key: value for key, value in results.items() if is_run(key, value)}
    ours = [value["curve"] for key, value in runs.items() if key.startswith("peers, pixloop")]
    theirs = {
        key.removeprefix("peers, "): value["curve"]
        for key, value in runs.items()
        if not key.startswith(("peers, pixloop", BY_HAND))
    }
    hand = [value["curve"] for key, value in runs.items() if key.startswith(BY_HAND)]
    if not ours or not theirs:
        return {}
    shared = min(
        statistics.median_low([_best(curve) for curve in ours]),
        max(_best(curve) for curve in theirs.values()),
    )
    marks = dict(zip(GOALS, (0.85, 0.90, shared), strict=True))
    stopped = [key for key, value in runs.items() if "stopped_after_s" in value]
    return {
        name: _against(ours, theirs, mark)
        | {"by_hand": next((_seconds_to(curve, mark) for curve in hand), None)}
        for name, mark in marks.items()
    } | {"stopped": stopped}


def is_run(key: str, value: Any) -> bool:
    """Whether a result is the curve of a run, and not a failure or something else."""
    return key.startswith("peers, ") and isinstance(value, dict) and "curve" in value


def _against(ours: list[Any], theirs: Mapping[str, Any], mark: float) -> dict[str, Any]:
    times = {name: _seconds_to(curve, mark) for name, curve in theirs.items()}
    reached = {name: seconds for name, seconds in times.items() if seconds is not None}
    own = [_seconds_to(curve, mark) for curve in ours]
    # A run that does not get there is longer than all that do; of two in the middle, the longer.
    median = statistics.median_high([float("inf") if s is None else s for s in own])
    pixloop = None if median == float("inf") else median
    best = min(reached, key=lambda name: reached[name]) if reached else None
    ratio = round(reached[best] / pixloop, 2) if best and pixloop else None
    return {
        "accuracy": round(mark, 4),
        "pixloop": pixloop,
        "pixloop_runs": own,
        "best_peer": best,
        "ratio": ratio,
        "peers": times,
    }


def _best(curve: list[Any]) -> float:
    return max(float(accuracy) for _, accuracy in curve)


def _seconds_to(curve: list[Any], accuracy: float) -> float | None:
    return next((seconds for seconds, reached in curve if reached >= accuracy), None)
