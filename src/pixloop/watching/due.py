"""Whether a run is due, and if not, what is waited for: decided from the state alone.

Nothing here looks at a clock or a disk, so that every case can be tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pixloop.config_loop import TriggersConfig
from pixloop.pipeline.triggers import is_due
from pixloop.watching.parts import Mark
from pixloop.watching.state import Seen, WatchState

#: What must have been still for a while before a run takes it.
_SETTLING = ("raw_data", "annotations")
#: Where something never is still for ``settle_s``, a run begins after so many times that long.
_PATIENCE = 20
_FIRST_RETRY_S, _LAST_RETRY_S = 30.0, 3600.0


@dataclass(frozen=True, slots=True)
class Due:
    """What a run is due for, and what each trigger waits for.

    Attributes:
        triggers: that a run is due for; more than none only where it may begin now.
        waits: by trigger, why it has not started a run yet, in words.
        wait_s: how long it takes at least until waiting alone makes a run due; None: never.
        tick: the schedule has come, and there is nothing new for it.
    """

    triggers: tuple[str, ...] = ()
    waits: Mapping[str, str] = field(default_factory=dict)
    wait_s: float | None = None
    tick: bool = False


def notice(state: WatchState, marks: Mapping[str, Mark], now: float) -> None:
    """Note what sources look like."""
    for source, mark in marks.items():
        before = state.seen.get(source)
        seen = Seen(signature=mark.signature, number=mark.number, changed=now)
        if before is not None and before.signature == mark.signature:
            # Where the clock was set back, the quiet time begins anew.
            seen.changed, seen.waiting = min(before.changed, now), before.waiting
        if mark.signature == state.handled.get(source, ""):
            seen.waiting = None
        elif seen.waiting is None:
            earlier = before.waiting if before is not None else None
            seen.waiting = min(now if earlier is None else earlier, now)
        state.seen[source] = seen


def decide(state: WatchState, config: TriggersConfig, now: float, patient: bool = True) -> Due:
    """What is due at a time.

    Args:
        state: with what ``notice`` has noted.
        config: which triggers there are, and when they are worth a run.
        now: seconds since the epoch.
        patient: wait after a run that failed; where someone asks for a run, nobody waits.
    """
    wanted, waits = _wanted(state, config, now)
    tick = "schedule" in config.enabled and is_due(now, state.scheduled, config.every_s)
    if not wanted:
        return Due((), waits, None, tick)
    settle_s = _settle_s(state, config.settle_s, now)
    if settle_s > 0:
        return Due((), waits | dict.fromkeys(wanted, "until all is still"), settle_s)
    retry_s = _retry_s(state, now) if patient else 0.0
    if retry_s > 0:
        text = f"after {state.failures} failed in a row"
        return Due((), waits | dict.fromkeys(wanted, text), retry_s)
    return Due(tuple(wanted), waits)


def back_off(state: WatchState, marks: Mapping[str, str], now: float) -> None:
    """Note that a run failed: what has not changed is tried again later, each time later still."""
    state.failures += 1
    wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(state.failures - 1, 30))
    state.retry_at, state.failed = now + wait_s, dict(marks)


def signatures(state: WatchState) -> dict[str, str]:
    """The sources as they are."""
    return {source: seen.signature for source, seen in state.seen.items()}


def _wanted(
    state: WatchState, config: TriggersConfig, now: float
) -> tuple[list[str], dict[str, str]]:
    raw, committed = state.changed("raw_data"), state.changed("commit")
    new = state.seen["annotations"].number if state.changed("annotations") else 0
    enough = new >= config.annotations
    anything = raw or committed or bool(new) or state.changed("settings")
    came = "schedule" in config.enabled and is_due(now, state.scheduled, config.every_s)
    reasons = {
        "raw_data": raw and state.seen["raw_data"].signature != "",
        "annotations": enough,
        "commit": committed,
        "schedule": came and anything,
        "drift": bool(state.drift) and (raw or enough),
    }
    waits: dict[str, str] = {}
    if new and not enough:
        waits["annotations"] = f"for annotations: {new} of {config.annotations}"
    if state.drift and not reasons["drift"]:
        waits["drift"] = f"for annotations: {new} of {config.annotations}"
    waits = {name: text for name, text in waits.items() if name in config.enabled}
    return [name for name, holds in reasons.items() if holds and name in config.enabled], waits


def _settle_s(state: WatchState, settle_s: float, now: float) -> float:
    """How long until what a run would take has been still for long enough."""
    left = 0.0
    for source in _SETTLING:
        seen = state.seen.get(source)
        if seen is None or not state.changed(source):
            continue
        waiting = now if seen.waiting is None else seen.waiting
        ends = min(seen.changed + settle_s, waiting + _PATIENCE * settle_s)
        left = max(left, ends - now)
    return left


def _retry_s(state: WatchState, now: float) -> float:
    """How long a run that failed is not tried again; what has changed since is tried at once."""
    if not state.failures or signatures(state) != state.failed:
        return 0.0
    # Not longer than any wait is: the clock may have been set back.
    return min(state.retry_at - now, _LAST_RETRY_S)
