"""What a look at a version's captures found."""

from pydantic import BaseModel, ConfigDict

from pixloop.monitoring.accuracy import AccuracyEstimate
from pixloop.monitoring.alarms import Alarm
from pixloop.monitoring.evidence import Evidence
from pixloop.monitoring.quality import Quality
from pixloop.monitoring.server_rates import ServerRates


class Look(BaseModel):
    """What a look found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str  #: what answers call it
    new: int  #: pictures that were not looked at before
    seen: int  #: pictures in all
    damaged: int  #: lines of captures, or pictures, that could not be read
    tested: int  #: pictures since the drift test began
    alarms: list[Alarm]  #: all, the latest last
    accuracy: AccuracyEstimate | None  #: without labels, on the latest pictures
    quality: Quality | None  #: with labels, where there are any
    referral_rate: float | None  #: the share of the latest pictures that is referred
    evidence: Evidence  #: of drift
    server: ServerRates | None = None  #: what the server says of itself, where it was asked

    @property
    def open_alarms(self) -> list[Alarm]:
        """Those that nobody has acknowledged."""
        return [alarm for alarm in self.alarms if not alarm.acknowledged]
