"""The accepted share against the error among it, over all thresholds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.thresholds import Curve

#: Of a line; more could not be told apart.
MOST_POINTS = 160


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What a threshold accepts, and the error among it."""

    accepted: float  #: the share that is accepted
    error: float
    interval: tuple[float, float]  #: of the error


def risk_points(curve: Curve, pictures: int) -> list[RiskPoint]:
    """A classifier's, from the threshold on that accepts a twentieth of the pictures."""
    picks = thin(np.flatnonzero(curve.accepted >= max(1, pictures // 20)))
    return [
        RiskPoint(
            int(a) / max(pictures, 1), int(w) / max(int(a), 1), wilson_interval(int(w), int(a))
        )
        for w, a in zip(curve.wrong[picks], curve.accepted[picks], strict=True)
    ]


def thin(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most ``MOST_POINTS`` of them, the last always among them."""
    if len(indices) <= MOST_POINTS:
        return indices
    return np.take(indices, np.linspace(0, len(indices) - 1, MOST_POINTS).astype(np.int64))
