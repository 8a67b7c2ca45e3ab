"""The room of runs: what the last one came to, or how far the one at work is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pixloop.pipeline.runs import RunRecord
from pixloop.web.home.times import read_time
from pixloop.web.runs.progress import read_progress
from pixloop.web.runs.telling import version_of
from pixloop.web.site import Site

RunKind = Literal["none", "starting", "running", "done", "failed", "refused", "interrupted"]
#: What is longer is no time that a run took.
_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class RunState:
    """The latest run.

    Attributes:
        kind: how far it is; ``starting`` before it has noted anything, ``none`` without any.
        id: its name.
        at: when it ended, or began where it has not; ISO 8601, UTC.
        seconds: that it took.
        step: that is at work, or failed.
        share: of the run that is done, 0 to 1; None where that cannot be told.
        left_s: how long it will still take, about.
        note: what the step at work says of itself.
        failure: why it failed, or was refused.
        version: that it registered.
        count: of all runs.
    """

    kind: RunKind
    id: str = ""
    at: str = ""
    seconds: float | None = None
    step: str = ""
    share: float | None = None
    left_s: float | None = None
    note: str = ""
    failure: str = ""
    version: str = ""
    count: int = 0


def read_run(site: Site, runs: Sequence[RunRecord]) -> RunState:
    """The latest run; ``runs``: all, the newest first, as ``Site.runs`` gives them."""
    latest = runs[0] if runs else None
    if latest is None or latest.status != "running":
        started = next(iter(site.jobs.running("run")), None)
        if started is not None:
            return RunState("starting", at=started.started, count=len(runs))
    if latest is None:
        return RunState("none")
    if latest.status == "running":
        return _at_work(site, latest, len(runs))
    return RunState(
        latest.status,
        latest.id,
        _ended(latest),
        latest.seconds,
        _stopped_at(latest),
        failure=latest.failure or "",
        version=version_of(latest) or "",
        count=len(runs),
    )


def _at_work(site: Site, run: RunRecord, count: int) -> RunState:
    try:
        found = read_progress(site, run)
    except (ValueError, TypeError):  # a time in a record that is none
        found = None
    if found is None:
        return RunState("running", run.id, run.started, count=count)
    return RunState(
        "running",
        run.id,
        run.started,
        step=found.step,
        share=found.share,
        left_s=found.eta_s,
        note=found.note or found.description,
        count=count,
    )


def _stopped_at(run: RunRecord) -> str:
    ends = ("failed", "refused", "interrupted", "running")
    return next((name for name, each in run.steps.items() if each.status in ends), "")


def _ended(run: RunRecord) -> str:
    if run.seconds is None or not 0 <= run.seconds < _LONGEST_S:
        return run.started
    began = read_time(run.started)
    ended = began + timedelta(seconds=run.seconds) if began else None
    return ended.isoformat(timespec="seconds") if ended else run.started
