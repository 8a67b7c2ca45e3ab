"""What the pages say of runs: a row of the list, the steps as a track, how one goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixloop.pipeline.arguments import STEP_KEYS
from pixloop.pipeline.runs import RunRecord
from pixloop.run_summary import EVALUATION, output_of
from pixloop.web.cached import stamp
from pixloop.web.jobs import Job
from pixloop.web.runs.causes import tell_cause
from pixloop.web.runs.progress import RunProgress, usual_seconds
from pixloop.web.site import Site

#: status → the kind of its pill.
PILLS: Mapping[str, str] = {
    "running": "busy",
    "done": "good",
    "cached": "calm",
    "failed": "bad",
    "refused": "warn",
    "interrupted": "warn",
    "waiting": "calm",
}
#: status → what a person reads.
WORDS: Mapping[str, str] = {"cached": "reused", "refused": "refused by the gate"}


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the list."""

    id: str
    status: str
    pill: str
    started: str
    seconds: float | None
    cause: str
    version: str | None
    metric: float | None


@dataclass(frozen=True, slots=True)
class TrackStep:
    """A step on the track; ``share`` is how far it is, from 0 to 1, where that is known."""

    name: str
    status: str
    words: str
    pill: str
    seconds: float | None
    usual: float | None
    share: float | None


def tell_row(site: Site, run: RunRecord, metric: str) -> RunRow:
    """A run's row."""
    return RunRow(
        id=run.id,
        status=WORDS.get(run.status, run.status),
        pill=PILLS[run.status],
        started=run.started,
        seconds=run.seconds,
        cause=tell_cause(run.cause),
        version=version_of(run),
        metric=metric_of(site, run, metric),
    )


def tell_track(
    run: RunRecord, progress: RunProgress | None, usual: Mapping[str, float]
) -> Sequence[TrackStep]:
    """The steps of a run, in order."""
    return [
        TrackStep(
            name=name,
            status=step.status,
            words=WORDS.get(step.status, step.status),
            pill=PILLS[step.status],
            seconds=step.seconds if step.status != "waiting" else None,
            usual=usual.get(name) if step.status == "waiting" else None,
            share=_share(progress, name),
        )
        for name, step in run.steps.items()
    ]


def version_of(run: RunRecord) -> str | None:
    """The version that a run registered."""
    found = (run.registered or {}).get("ModelPackageVersion")
    return None if found is None else str(found)


def metric_of(site: Site, run: RunRecord, metric: str) -> float | None:
    """What a run's model reached on the test pictures."""
    step = run.steps.get("Evaluate")
    if step is None or step.status not in ("done", "cached"):
        return None
    file = output_of(run, "Evaluate", "evaluation") / EVALUATION

    def read() -> Mapping[str, Any]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["pixloop"]["metrics"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    value = site.cached.get(("metrics", run.id), stamp(file), read).get(metric)
    return float(value) if isinstance(value, int | float) else None


def first_unfinished(run: RunRecord) -> str | None:
    """The step with which a run goes on; None where all are done."""
    over = ("done", "cached")
    return next((name for name, step in run.steps.items() if step.status not in over), None)


def failed_start(site: Site, runs: Sequence[RunRecord]) -> Job | None:
    """A run that a page started last, and that ended before there was a record of it."""
    job = site.jobs.last("run")
    if job is None or site.jobs.status(job) in ("running", "done"):
        return None
    if any(run.pid == job.pid and run.started >= job.started[:10] for run in runs):
        return None
    newer = runs and runs[0].started > job.started
    return None if newer else job


def expected_seconds(runs: Sequence[RunRecord], changes: Sequence[str]) -> float | None:
    """About how long a run takes with changes, if nothing else has changed since the last one.

    Steps before the first that reads a changed key are reused. Training takes as much longer as it
    has more epochs. None where no run has shown how long a step takes.
    """
    usual = usual_seconds(runs)
    if not runs or "Evaluate" not in usual:
        return None
    keys = [change.partition("=")[0] for change in changes]
    order = [
        name for name in ("Inspect", "Prepare", "Train", "Export", "Evaluate") if name in usual
    ]
    if not keys:
        return None
    first = min((_first_step(key, order) for key in keys), default=len(order))
    seconds = {name: usual[name] for name in order[first:]}
    before = runs[0].parameters.get("Epochs")
    asked = next((c.partition("=")[2] for c in changes if c.startswith("training.epochs=")), None)
    if "Train" in seconds and asked and asked.isdecimal() and isinstance(before, int) and before:
        seconds["Train"] *= max(1, int(asked)) / before
    return sum(seconds.values())


def _first_step(key: str, order: Sequence[str]) -> int:
    """The place of the first step that reads a key; the first of all where it is about pictures."""
    if key.startswith("data.") or not order:
        return 0
    if key.startswith("model."):
        return order.index("Train") if "Train" in order else 0
    for place, name in enumerate(order):
        if any(key == k or (k.endswith(".") and key.startswith(k)) for k in STEP_KEYS[name]):
            return place
    return len(order)


def _share(progress: RunProgress | None, name: str) -> float | None:
    if progress is None or progress.step != name or not progress.total:
        return None
    return min(1.0, progress.done / progress.total)
