"""What a version's drift alarm notices, and how often it is wrong: measured at export."""

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CleanOdds(_Part):
    """How often pictures like the reference's raised an alarm."""

    streams: int
    pictures: int  #: in each stream
    reference: int  #: pictures in the reference of each
    alarms: int  #: streams with an alarm
    low: float  #: with ``high``, the 95 % interval of the rate (Clopper and Pearson 1934)
    high: float


class CorruptionOdds(_Part):
    """What came of one corruption at one severity."""

    corruption: str
    severity: int
    pictures: float | None  #: median until the alarm; None where half of the streams had none
    noticed: float  #: the share of streams with an alarm
    signal: str | None  #: which moved first, most often
    accuracy: float | None  #: of the answers to corrupted pictures; None where there are none
    score: float | None  #: their mean score


class Odds(_Part):
    """The content of reference/odds.json."""

    false_alarm: float  #: the chance that was asked for
    most_pictures: int  #: streams end here
    pictures: int  #: that were corrupted
    accuracy: float | None  #: of the answers to them as they are
    score: float | None  #: their mean score
    clean: CleanOdds
    corruptions: tuple[CorruptionOdds, ...]
