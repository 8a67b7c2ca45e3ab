"""What triggered what: the watch's events and all runs, brought into chains.

A chain is one thing that was started: why, what, and what became of it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pixloop.pipeline.runs import RunRecord
from pixloop.pipeline.triggers import describe
from pixloop.watching.events import Event
from pixloop.watching.status import duration
from pixloop.web.home.times import read_time
from pixloop.web.runs.causes import tell_cause
from pixloop.web.runs.telling import version_of

#: A run's record may be written so long before the second that the watch notes has begun.
_EARLY = timedelta(seconds=2)
_KINDS = {
    "done": "good", "began": "busy", "resumed": "busy", "refused": "warn", "failed": "bad",
    "raised": "warn", "waiting": "warn", "interrupted": "warn", "running": "busy",
}  # fmt: skip
_STARTED = {
    "run": "a run", "review": "pictures for review", "rollback": "a rollback",
    "promotion": "a promotion", "normal": "a new normal", "sync": "annotations fetched",
    "look": "a look", "registry": "a look at the registry",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened within a chain."""

    at: str  #: ISO 8601, UTC
    text: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Something that was started.

    Attributes:
        at: when; ISO 8601, UTC.
        why: the triggers in words, or who started it.
        what: was started.
        kind: of the outcome, as a pill has it.
        outcome: in a word or two.
        text: more of the outcome.
        steps: what happened on the way.
        to: the page that shows it.
        key: what its events have in common.
        ended: when its latest event was.
    """

    at: str
    why: str
    what: str
    kind: str = "calm"
    outcome: str = ""
    text: str = ""
    steps: tuple[Step, ...] = field(default=())
    to: str = ""
    key: str = ""
    ended: str = ""


def chains(events: Sequence[Event], runs: Sequence[RunRecord], most: int) -> list[Chain]:
    """The latest chains, the newest first.

    Args:
        events: of the watch, the oldest first.
        runs: the newest first.
        most: how many chains.
    """
    found: dict[str, Chain] = {}
    noticed: dict[str, str] = {}  # by trigger: when it was, where no run has taken it yet
    for event in events:
        key = _key(event)
        if event.outcome == "noticed":
            for name in event.trigger:
                noticed[name] = event.time
            continue
        before = found.get(key)
        if before is None:
            before = Chain(event.time, _why(event), _what(event, key), key=key)
            for name in event.trigger if event.started == "run" else ():
                noticed.pop(name, None)
        found[key] = replace(_grown(before, event), ended=event.time)
    waiting = [
        Chain(at, describe([name]), "", "calm", "noticed", "No run has taken it yet.")
        for name, at in noticed.items()
    ]
    known = _with_runs(list(found.values()), runs[: 4 * most])
    return sorted([*waiting, *known], key=lambda each: each.at, reverse=True)[:most]


def _grown(chain: Chain, event: Event) -> Chain:
    """A chain, with one more event."""
    if event.started == "promotion":
        return replace(chain, steps=(*chain.steps, Step(event.time, _promotion(event))))
    if event.outcome == "raised":
        step = Step(event.time, event.detail)
        chain = replace(chain, steps=(*chain.steps, step))
        return replace(chain, kind=_KINDS["raised"], outcome="alarm")
    return replace(
        chain,
        kind=_KINDS.get(event.outcome, "calm"),
        outcome="at work" if event.outcome in ("began", "resumed") else event.outcome,
        text=event.detail,
        to=chain.to or _page(event),
    )


def _with_runs(found: list[Chain], runs: Sequence[RunRecord]) -> Iterator[Chain]:
    """Chains of the watch's runs with their records, and a chain for each other run."""
    left = sorted(runs, key=lambda run: run.started)
    for chain in found:
        if not chain.key.startswith("run-"):
            yield chain
            continue
        run = next((run for run in left if _is_of(run, chain)), None)
        left = [each for each in left if each is not run]
        yield replace(chain, to=f"/runs/{run.id}") if run else chain
    for run in left:
        version = version_of(run)
        text = _first_line(run.failure or "")
        if version and not text:
            text = f"version {version}"
            text += f", in {duration(run.seconds)}" if run.seconds is not None else ""
        yield Chain(
            run.started, _who(run), "a run", _KINDS.get(run.status, "calm"),
            "at work" if run.status == "running" else run.status, text, to=f"/runs/{run.id}",
        )  # fmt: skip


def _who(run: RunRecord) -> str:
    return "a person" if run.cause.by == "unknown" else tell_cause(run.cause)


def _is_of(run: RunRecord, chain: Chain) -> bool:
    began, at, ended = (read_time(text) for text in (run.started, chain.at, chain.ended))
    if began is None or at is None or began < at - _EARLY:
        return False
    return chain.kind == "busy" or ended is None or began <= ended


def _key(event: Event) -> str:
    run = re.match(r"run-\d+", event.id)
    if run:
        return run.group()
    alarm = re.fullmatch(r"(.+)-(raised|review|rollback)", event.id)
    return f"{alarm.group(1)} of {event.version}" if alarm else event.id


def _why(event: Event) -> str:
    words = describe(event.trigger)
    if event.started == "sync":
        return "answers in Label Studio"
    return words or "the watch"


def _what(event: Event, key: str) -> str:
    name = _STARTED.get(event.started, event.started)
    return f"run {key.removeprefix('run-')}" if key.startswith("run-") else name


def _promotion(event: Event) -> str:
    said = {
        "done": f"version {event.version} became the champion",
        "refused": f"version {event.version} was not promoted",
        "waiting": f"version {event.version} waits for a decision",
    }
    words = said.get(event.outcome, f"promotion {event.outcome}")
    return f"{words}: {event.detail}" if event.detail else words


def _page(event: Event) -> str:
    pages = {"run": "/runs", "review": "/review", "rollback": "/models", "normal": "/monitoring"}
    return pages.get(event.started, "")


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
