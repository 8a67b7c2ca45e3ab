"""How a watch stands, in words: every trigger that is enabled, and what it waits for."""

from dataclasses import dataclass

from pixloop.config_loop import TriggersConfig
from pixloop.pipeline.triggers import BY_NAME
from pixloop.watching.due import Due
from pixloop.watching.state import WatchState


@dataclass(frozen=True, slots=True)
class TriggerStatus:
    """How one trigger stands.

    Attributes:
        name: of ``config_loop.TRIGGERS``.
        what: it catches, in words.
        now: what it is at: quiet, what it waits for, or the run that it has started.
        lively: whether it is at anything.
    """

    name: str
    what: str
    now: str
    lively: bool


def read_status(
    state: WatchState, due: Due, config: TriggersConfig, now: float
) -> list[TriggerStatus]:
    """Every enabled trigger, at ``now`` (seconds since the epoch)."""
    return [_status(name, state, due, config, now) for name in config.enabled]


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(42), duration(600), duration(9000), duration(200_000)
    ('42 s', '10 min', '2 h 30 min', '2 d 7 h')
    """
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return (f"{hours} h " if hours else "") + f"{rest} min"


def _status(
    name: str, state: WatchState, due: Due, config: TriggersConfig, now: float
) -> TriggerStatus:
    what = BY_NAME[name].what
    run = state.run
    if run is not None and name in run.triggers:
        text = f"run {run.number}, for {duration(now - run.began)}"
        return TriggerStatus(name, what, text, lively=True)
    if name in due.waits:
        return TriggerStatus(name, what, f"waits {due.waits[name]}", lively=True)
    seen = state.seen.get(name)
    if run is not None and seen is not None and seen.signature != run.marks.get(name, ""):
        return TriggerStatus(name, what, "one more run after this one", lively=True)
    if name == "schedule":
        return TriggerStatus(name, what, _schedule(state, config, now), lively=False)
    return TriggerStatus(name, what, "quiet", lively=False)


def _schedule(state: WatchState, config: TriggersConfig, now: float) -> str:
    if config.every_s is None:
        return "triggers.every_s is not set"
    last = now if state.scheduled is None else state.scheduled
    return f"next in {duration(last + config.every_s - now)}"
