"""What ``monitoring.js`` draws, and the same numbers as tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pixloop.monitoring.evidence import GROUP_WORDS
from pixloop.web.monitoring.watched import Watched

if TYPE_CHECKING:
    from pixloop.monitoring.traffic import Traffic

#: Rows of a table beside a chart.
_ROWS = 24


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """How far groups were on their way to an alarm after a picture.

    Attributes:
        picture: its number since the test began.
        at: when it was asked.
        shares: one a group; 1 and above is an alarm.
    """

    picture: int
    at: datetime
    shares: tuple[float, ...]


def evidence_chart(watched: Watched) -> str:
    """Each group's evidence over the pictures since the test began, as JSON."""
    evidence = watched.look.evidence
    return json.dumps(
        {
            "kind": "evidence",
            "x": evidence.pictures,
            "times": [int(_asked(watched, picture).timestamp()) for picture in evidence.pictures],
            "series": [
                {"label": GROUP_WORDS[curve.group], "values": curve.shares}
                for curve in evidence.curves
            ],
            "limit": {"label": "alarm", "value": 1.0},
        }
    )


def evidence_rows(watched: Watched) -> Sequence[EvidenceRow]:
    """The same as rows of a table: of each stretch of pictures the highest."""
    evidence = watched.look.evidence
    count = len(evidence.pictures)
    ends = (
        [count * (i + 1) // _ROWS for i in range(_ROWS)] if count > _ROWS else range(1, count + 1)
    )
    found, before = [], 0
    for end in ends:
        picture = evidence.pictures[end - 1]
        shares = tuple(max(curve.shares[before:end]) for curve in evidence.curves)
        found.append(EvidenceRow(picture, _asked(watched, picture), shares))
        before = end
    return found


def traffic_chart(traffic: "Traffic") -> str:
    """Pictures a stretch of time, as JSON."""
    return json.dumps(
        {
            "kind": "traffic",
            "x": _starts(traffic),
            "step": traffic.length_s,
            "series": [{"label": "pictures", "values": [s.pictures for s in traffic.stretches]}],
        }
    )


def referral_chart(traffic: "Traffic", promised: float) -> str:
    """The share of pictures that is referred, over time, beside that of calibration; JSON."""
    return json.dumps(
        {
            "kind": "referral",
            "x": _starts(traffic),
            "step": traffic.length_s,
            "series": [
                {"label": "referred", "values": [s.referral_rate for s in traffic.stretches]}
            ],
            "limit": {"label": "at calibration", "value": promised},
        }
    )


def traffic_rows(traffic: "Traffic") -> Sequence[Any]:
    """The latest stretches that have pictures, the newest first."""
    return [each for each in reversed(traffic.stretches) if each.pictures][:_ROWS]


def _starts(traffic: "Traffic") -> list[int]:
    return [int(stretch.start.timestamp()) for stretch in traffic.stretches]


def _asked(watched: Watched, picture: int) -> datetime:
    """When the picture of a number since the test began was asked; of none, the last one's."""
    at = watched.arrivals.at
    place = min(max(watched.first + picture - 1, 0), len(at) - 1)
    return datetime.fromtimestamp(int(at[place]) / 1e6, UTC)
