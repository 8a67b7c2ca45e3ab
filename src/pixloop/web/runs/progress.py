"""How far a run is, and how long it will take: for whichever page shows it.

A step that is yet to come takes as long as it took in the last runs that really did it: the median
of three; a cached step says nothing. For the step at work there are two witnesses. Earlier runs, in
which it took h seconds, of which e are over, say that h - e are left. Its own pace says how long
its present piece of work takes: where n units took s seconds, and m are left, p = s · m / n. It may
have other pieces to do afterwards, and earlier runs may have had more to do than this one. So the
pace is what counts at least, and the more it counts, the further the piece is; with a fraction f
of it done, there is left ::

    (1 - f) · max(h - e, p)  +  f · p

Without earlier runs it is p, and the time is of the step at work alone; without p, h - e; and with
neither, none is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from pixloop.pipeline.progress_note import StepProgress, read_step_progress
from pixloop.pipeline.runs import RunRecord
from pixloop.web.site import Site

#: How many earlier runs are asked how long a step takes.
_RUNS = 3
#: Steps that compute nothing take no time worth telling, whether they were done before or not.
_INSTANT = {"Gate": 1.0, "Register": 1.0}


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is.

    Attributes:
        step: the one at work.
        description: what it does now, in words; empty before it has told.
        done: units of that.
        total: of how many; None where that is not known.
        note: beside it, such as ``epoch 3/10 loss 0.31``.
        share: of the whole run, from 0 to 1.
        eta_s: seconds that are left; None where nothing tells.
        whole: whether they are of the whole run, or of the step at work alone.
    """

    step: str
    description: str
    done: int
    total: int | None
    note: str
    share: float
    eta_s: float | None
    whole: bool = True


def read_progress(site: Site, run: RunRecord) -> RunProgress | None:
    """How far a run is; None where none of its steps is at work. See the module for the time."""
    if run.status != "running":
        return None
    usual = usual_seconds(site.runs(), besides=run.id)
    return measure(run, read_step_progress(run.folder), usual, datetime.now(UTC))


def usual_seconds(runs: Sequence[RunRecord], besides: str = "") -> Mapping[str, float]:
    """How long each step took in the last runs that really did it, in seconds.

    Args:
        runs: the newest first.
        besides: the id of a run that is not asked.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, step in run.steps.items():
            known = found.setdefault(name, [])
            real = step.status in ("done", "refused") and step.seconds is not None
            if real and run.id != besides and len(known) < _RUNS:
                known.append(step.seconds or 0.0)
    return {name: median(seconds) for name, seconds in found.items() if seconds}


def measure(
    run: RunRecord, told: StepProgress | None, usual: Mapping[str, float], now: datetime
) -> RunProgress | None:
    """The arithmetic.

    Args:
        run: the record.
        told: what its step says of itself; of another step it counts for nothing.
        usual: as ``usual_seconds`` gives it.
        now: the time.
    """
    name = next((name for name, step in run.steps.items() if step.status == "running"), None)
    if name is None:
        return None
    step = run.steps[name]
    began = datetime.fromisoformat(step.started or run.started)
    if told is None or told.step != name:
        told = StepProgress(step=name, at=now)
    spent = max(0.0, (now - began).total_seconds())
    fraction = min(1.0, told.done / told.total) if told.total else None
    left = _left_s(spent, usual.get(name, _INSTANT.get(name)), fraction or 0.0, _piece_s(told))
    waiting = [each for each, record in run.steps.items() if record.status == "waiting"]
    later = [usual.get(each, _INSTANT.get(each)) for each in waiting]
    known = [seconds for seconds in later if seconds is not None]
    whole = left is not None and len(known) == len(later)
    eta_s = left + sum(known) if left is not None and whole else left
    if eta_s is not None and whole:
        before = sum(each.seconds or 0.0 for each in run.steps.values() if each.status == "done")
        so_far = before + spent
        share = so_far / (so_far + eta_s) if so_far + eta_s else 0.0
    else:
        over = sum(each.status in ("done", "cached") for each in run.steps.values())
        share = (over + (fraction or 0.0)) / len(run.steps)
    return RunProgress(
        step=name,
        description=told.description,
        done=told.done,
        total=told.total,
        note=told.note,
        share=min(1.0, share),
        eta_s=eta_s,
        whole=whole,
    )


def _piece_s(told: StepProgress) -> float | None:
    """How long the present piece of work still takes, by its pace."""
    made = told.done - told.first
    if told.since is None or told.total is None or made <= 0:
        return None
    seconds = (told.at - told.since).total_seconds()
    return seconds * max(0, told.total - told.done) / made


def _left_s(
    spent: float, usual: float | None, fraction: float, piece: float | None
) -> float | None:
    """What the step at work still needs."""
    if usual is None:
        return piece
    left = max(0.0, usual - spent)
    if piece is None:
        return left
    return (1.0 - fraction) * max(left, piece) + fraction * piece
