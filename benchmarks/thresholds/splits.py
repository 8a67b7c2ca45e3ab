"""Calibration pictures drawn again and again, and whether each promise then held.

Two ways to draw. ``draws``: with replacement from the pool, which stands for all pictures there
are; whether a promise holds is then known exactly, for the error of a threshold is that over the
pool. ``splits``: without, and the rest tests, as a project does it; there chance among the tested
pictures blurs the judgement, and breaks of less than what chance explains are no breaks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from predictions import Pool
from scipy.stats import binom

from pixloop.bundle import Threshold
from pixloop.config import ThresholdsConfig
from pixloop.evaluation.class_thresholds import choose_thresholds, group_classes

SPLITS = 200
#: Of the pool, for calibration.
SHARE = 0.6
NAIVE = 0.93


@dataclass(frozen=True)
class Drawn:
    """One draw: which pictures calibrate, which judge, and the scores of all."""

    calibration: NDArray[np.int64]
    judged: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass
class Tally:
    """What became of one way to choose thresholds, over draws and groups."""

    promises: int = 0  #: groups of all draws
    broken: int = 0  #: error over what was promised
    refuted: int = 0  #: and by more than chance among the judged explains (1 in 20)
    met: int = 0  #: accept anything
    draws: int = 0
    any_broken: int = 0  #: draws with a broken promise
    accepted: list[float] = field(default_factory=list)  #: share of all judged, a draw
    errors: list[float] = field(default_factory=list)  #: of all accepted, a draw
    worst: list[float] = field(default_factory=list)  #: the highest error of a class, a draw

    def row(self) -> dict[str, float | int | None]:
        """As JSON."""
        errors, worst = (
            [each for each in values if not np.isnan(each)] for values in (self.errors, self.worst)
        )
        return {
            "promises": self.promises,
            "met": self.met,
            "broken": self.broken,
            "held": 1 - self.broken / max(self.promises, 1),
            "refuted": self.refuted,
            "any_broken": self.any_broken,
            "draws": self.draws,
            "accepted_share": float(np.mean(self.accepted)),
            "error": float(np.mean(errors)) if errors else None,
            "worst_class_error": float(np.mean(worst)) if worst else None,
        }


def draw(pool: Pool, replace: bool, count: int = SPLITS) -> Iterator[Drawn]:
    """Draws of calibration pictures, the temperature fitted to each anew."""
    total = len(pool.targets)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        size = round(total * SHARE)
        if replace:
            rows, judged = rng.integers(0, total, size), np.arange(total)
        else:
            order = rng.permutation(total)
            rows, judged = order[:size], order[size:]
        yield Drawn(rows, judged, pool.scores(rows))


def choose(pool: Pool, drawn: Drawn, promise: ThresholdsConfig) -> Threshold:
    """As pixloop does."""
    rows = drawn.calibration
    answers = [pool.classes[k] for k in pool.predicted[rows]]
    return choose_thresholds(drawn.scores[rows], answers, pool.correct[rows], pool.classes, promise)


def groups_of(pool: Pool, drawn: Drawn, promise: ThresholdsConfig) -> list[tuple[str, ...]]:
    """The groups that pixloop makes; one of all where they share a threshold."""
    if promise.by == "all":
        return [pool.classes]
    counts = np.bincount(pool.predicted[drawn.calibration], minlength=len(pool.classes))
    named = dict(zip(pool.classes, counts.tolist(), strict=True))
    return group_classes(named, promise.max_error, promise.confidence)


def judge(
    tally: Tally,
    pool: Pool,
    drawn: Drawn,
    scores: list[tuple[tuple[str, ...], float | None]],
    max_error: float,
) -> None:
    """Add one draw: each group's classes and least score."""
    of = drawn.judged
    predicted, right, score = pool.predicted[of], pool.correct[of], drawn.scores[of]
    taken = np.zeros(len(of), np.bool_)
    any_broken = False
    for group, least in scores:
        tally.promises += 1
        if least is None:
            continue
        tally.met += 1
        labels = [pool.classes.index(label) for label in group]
        mine = np.isin(predicted, labels) & (score >= least)
        taken |= mine
        wrong, total = int((mine & ~right).sum()), int(mine.sum())
        if total and wrong / total > max_error:
            tally.broken += 1
            any_broken = True
            tally.refuted += bool(binom.sf(wrong - 1, total, max_error) < 0.05)
    tally.draws += 1
    tally.any_broken += any_broken
    tally.accepted.append(float(taken.mean()))
    tally.errors.append(float((~right[taken]).mean()) if taken.any() else np.nan)
    by_class = [
        float((~right[taken & (predicted == k)]).mean())
        for k in range(len(pool.classes))
        if (taken & (predicted == k)).any()
    ]
    tally.worst.append(max(by_class, default=np.nan))
