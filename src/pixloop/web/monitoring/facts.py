"""What the page says of a look, in the order in which it says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixloop.monitoring.evidence import GROUP_WORDS
from pixloop.monitoring.monitor import LEAST_NORMAL, MOST_NORMAL
from pixloop.monitoring.plots import quality_plot
from pixloop.monitoring.report import describe_statistic
from pixloop.monitoring.traffic import count_traffic
from pixloop.web.monitoring.charts import (
    evidence_chart,
    evidence_rows,
    referral_chart,
    traffic_chart,
    traffic_rows,
)
from pixloop.web.monitoring.watched import Watched

if TYPE_CHECKING:
    from pixloop.config import Config
    from pixloop.monitoring.alarms import Alarm
    from pixloop.monitoring.evidence import SignalEvidence


@dataclass(frozen=True, slots=True)
class GroupState:
    """Where a group of signals is.

    Attributes:
        words: its name for people.
        top: the signal that is nearest to an alarm.
        moved: the signals that have reached it.
        count: of its signals.
    """

    words: str
    top: "SignalEvidence"
    moved: Sequence["SignalEvidence"]
    count: int


def describe(watched: Watched, config: "Config") -> dict[str, Any]:
    """What ``monitoring/found.html`` is filled with."""
    look = watched.look
    signals = look.evidence.signals
    classes = [each for each in signals if each.group == "classes"]
    alarms = sorted(look.open_alarms, key=lambda alarm: not alarm.matters)
    drift = next((alarm for alarm in alarms if alarm.kind == "drift"), None)
    traffic = count_traffic(watched.arrivals)
    promised = 1 - watched.threshold.accepted_share
    return {
        "watched": watched,
        "look": look,
        "alarms": alarms,
        "seen": ",".join(alarm.id for alarm in alarms),
        "past": [alarm for alarm in reversed(look.alarms) if alarm.acknowledged],
        "drift": drift,
        "normal": _normal(watched, drift),
        "itself": watched.own_normal and not look.tested,
        "least_normal": LEAST_NORMAL,
        "most_normal": MOST_NORMAL,
        "automatic": config.promotion.automatic,
        "asks": "drift" in config.triggers.enabled,
        "groups": _groups(watched),
        "evidence": evidence_chart(watched),
        "evidence_rows": evidence_rows(watched),
        "classes": classes,
        "most": max([v for each in classes for v in (each.now, each.then) if v] or [1.0]),
        "boxes": bool(classes) and classes[0].words.startswith("number of boxes"),
        "statistics": [describe_statistic(each) for each in signals if each.group == "picture"],
        "others": [describe_statistic(each) for each in signals if each.group != "picture"],
        "group_words": GROUP_WORDS,
        "traffic": traffic,
        "traffic_chart": traffic_chart(traffic),
        "traffic_rows": traffic_rows(traffic),
        "promised": promised,
        "referral_chart": referral_chart(traffic, promised),
        "quality_curve": quality_plot(look.quality) if look.quality else None,
        "false_alarm": config.monitoring.false_alarm,
    }


def _groups(watched: Watched) -> Sequence[GroupState]:
    found = []
    for curve in watched.look.evidence.curves:
        own = [each for each in watched.look.evidence.signals if each.group == curve.group]
        top = max(own, key=lambda each: each.share)
        moved = [each for each in own if each.moved]
        found.append(GroupState(GROUP_WORDS[curve.group], top, moved, len(own)))
    return found


def _normal(watched: Watched, drift: "Alarm | None") -> int:
    """How many pictures a new normal would be made of."""
    first = drift.first if drift else 0
    return min(watched.look.seen - first, MOST_NORMAL)
