"""When pictures came, and how many of them were referred to people, in stretches of time."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixloop.monitoring.columns import equals, microseconds
from pixloop.monitoring.observations import Observations
from pixloop.records import Decision

#: The most stretches that a span of time is cut into.
STRETCHES = 120
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400
#: How long a stretch may be, in seconds, and what it is called.
_LENGTHS = (
    (_SECOND, "second"),
    (10 * _SECOND, "10 seconds"),
    (_MINUTE, "minute"),
    (5 * _MINUTE, "5 minutes"),
    (15 * _MINUTE, "15 minutes"),
    (_HOUR, "hour"),
    (6 * _HOUR, "6 hours"),
    (_DAY, "day"),
    (7 * _DAY, "week"),
    (28 * _DAY, "4 weeks"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Of each observed picture, in the order in which they were looked at.

    Attributes:
        at: when it was asked, in microseconds since 1970; int64 (n,).
        referred: whether a person was to look at it; bool (n,).
    """

    at: NDArray[np.int64]
    referred: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time."""

    start: datetime
    pictures: int
    referred: int

    @property
    def referral_rate(self) -> float | None:
        """The share of its pictures that was referred; None where it has none."""
        return self.referred / self.pictures if self.pictures else None


@dataclass(frozen=True, slots=True)
class Traffic:
    """A span of time in stretches of equal length.

    Attributes:
        length_s: of a stretch.
        length: the same in words: "hour".
        stretches: all of the span, those without pictures too, the oldest first.
    """

    length_s: int
    length: str
    stretches: tuple[Stretch, ...]


def read_arrivals(rows: Observations) -> Arrivals:
    """Of every row, from two columns alone."""
    tables = list(rows.tables(["at", "decision"]))
    if not tables:
        return Arrivals(np.empty(0, np.int64), np.empty(0, np.bool_))
    table = pa.concat_tables(tables)
    return Arrivals(microseconds(table["at"]), equals(table["decision"], Decision.REFER))


def count_traffic(arrivals: Arrivals, most: int = STRETCHES) -> Traffic:
    """Cut the time from the first picture to the last into stretches.

    Args:
        arrivals: of any number of pictures.
        most: stretches; the shortest are taken that are no more.
    """
    if not len(arrivals.at):
        return Traffic(_HOUR, "hour", ())
    seconds = arrivals.at // 1_000_000
    first, last = int(seconds.min()), int(seconds.max())
    length, words = next(
        (each for each in _LENGTHS if last // each[0] - first // each[0] < most), _LENGTHS[-1]
    )
    places = seconds // length - first // length
    pictures = np.bincount(places)
    referred = np.bincount(places[arrivals.referred], minlength=len(pictures))
    return Traffic(
        length,
        words,
        tuple(
            Stretch(
                datetime.fromtimestamp((first // length + i) * length, UTC), int(each), int(asked)
            )
            for i, (each, asked) in enumerate(zip(pictures, referred, strict=True))
        ),
    )
