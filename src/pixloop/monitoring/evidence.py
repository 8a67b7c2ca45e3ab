"""What the drift test knows, in numbers that can be shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.monitoring.drift import DriftTest, log_limits
from pixloop.monitoring.signals import Group, Signal

GROUPS: tuple[Group, ...] = ("outputs", "classes", "embedding", "picture")
GROUP_WORDS: dict[Group, str] = {
    "outputs": "model outputs",
    "classes": "class mix",
    "embedding": "what the model sees",
    "picture": "picture statistics",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignalEvidence(_Part):
    """A signal, and whether it has moved."""

    name: str
    group: Group
    words: str
    evidence: float  #: the logarithm of its capital over its limit; 0 and above is an alarm
    limit: float  #: the logarithm of that limit
    moved: bool  #: whether it has ever reached it
    then: float | None  #: its mean in the reference
    spread: float | None  #: its standard deviation there
    now: float | None  #: its mean over the latest pictures

    @property
    def share(self) -> float:
        """How far it is on its way to an alarm, from 0; 1 and above is one."""
        return max(0.0, 1 + self.evidence / self.limit)


class GroupCurve(_Part):
    """The highest share of a group's signals on their way to an alarm, over the stream."""

    group: Group
    shares: list[float]


class Evidence(_Part):
    """Of all signals, now and over the stream."""

    signals: list[SignalEvidence]
    pictures: list[int]  #: since the test began; a point of each curve ends there
    curves: list[GroupCurve]


def gather(
    test: DriftTest,
    signals: Sequence[Signal],
    false_alarm: float,
    reference: NDArray[np.floating],
    latest: NDArray[np.floating],
) -> Evidence:
    """What a test knows.

    Args:
        test: whose evidence it is.
        signals: of the test, S.
        false_alarm: of the test.
        reference: float (n, S).
        latest: values of the latest pictures, float (m, S); m may be 0.
    """
    limits = log_limits(signals, false_alarm)
    moved = {alarm.signal for alarm in test.moved}
    rows = [
        SignalEvidence(
            name=signal.name,
            group=signal.group,
            words=signal.words,
            evidence=float(test.evidence[s]),
            limit=float(limits[s]),
            moved=signal.name in moved,
            then=_mean(reference[:, s]),
            spread=_spread(reference[:, s]),
            now=_mean(latest[:, s]),
        )
        for s, signal in enumerate(signals)
    ]
    points = np.maximum(1 + test.history.points / limits, 0.0)
    curves = []
    for group in GROUPS:
        columns = [s for s, signal in enumerate(signals) if signal.group == group]
        if columns:
            highest = points[:, columns].max(axis=1)
            curves.append(GroupCurve(group=group, shares=[round(float(v), 4) for v in highest]))
    return Evidence(signals=rows, pictures=[int(p) for p in test.history.pictures], curves=curves)


def _mean(column: NDArray[np.floating]) -> float | None:
    known = column[~np.isnan(column)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _spread(column: NDArray[np.floating]) -> float | None:
    known = column[~np.isnan(column)]
    return float(known.std(dtype=np.float64)) if len(known) else None
