"""How accurate a model is on pictures without labels.

Two things tell of it. The mean of calibrated scores falls as answers become less sure (difference
of confidences, Guillory et al. 2021). And where classes come as often as they did, but answers say
other ones, at least so many answers are wrong: half the sum of differences between the two mixes.
The second finds what the first cannot: under strong noise a model may be as sure as ever, and
say one class to everything. It is wrong where the classes really come in another mix, so
``from_scores`` says what scores alone would say.

    accuracy = reference accuracy - (a · fall of the mean score + b · shift of the mix)

a ≥ 0 and b ≥ 0 are fitted to the corruptions that the version was tried on (``Odds``), where labels
are known; without those, the larger of the two is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pixloop.monitoring.odds import Odds, complete_mix
from pixloop.monitoring.signals import Signal

FloatArray = NDArray[np.floating]
Floats = NDArray[np.float64]

#: An accuracy that is lower by no more than this does not matter.
MARGIN = 0.02
_CONFIDENCE = 0.9
_QUANTILE = 1.645  # of the normal distribution, for 90 % between both sides
# Errors of the model are shares of the drop; below this drop they are as large as at it.
_LEAST_DROP = 0.1
#: The model's error where nothing says how large it is: as on corrupted photographs.
_USUAL_ERROR = 0.5
#: With fewer corrupted sets nothing is fitted.
_LEAST_SETS = 10


class Judged(Protocol):
    """What is known of n held-out pictures with labels; ``Reference`` is one."""

    @property
    def signals(self) -> Sequence[Signal]:
        """What the columns of ``values`` are."""

    @property
    def values(self) -> NDArray[np.float32]:
        """Shape (n, S)."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Shape (n,), calibrated; NaN where an answer has none."""

    @property
    def correct(self) -> NDArray[np.float32]:
        """Shape (n,), 0 or 1; detection: the share of right boxes, NaN where there is none."""


class AccuracyEstimate(BaseModel):
    """The share of right answers (detection: of right boxes), estimated without labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float
    low: float  #: with ``high`` an interval of 90 %: chance, and how well the estimate does
    high: float
    from_scores: float  #: estimated by the scores alone
    reference_accuracy: float  #: measured with labels, on the reference's pictures
    pictures: int
    matters: bool  #: even the least that it may have fallen is more than ``MARGIN``


@dataclass(frozen=True, slots=True)
class _Fit:
    """What a fall of scores and a shift of the mix weigh, and the error that is left.

    ``error`` is a share of the drop (of ``_LEAST_DROP`` where that is larger).
    """

    weights: tuple[float, float] | None  # None: the larger counts
    error: float


def estimate_accuracy(
    reference: Judged,
    scores: FloatArray,
    odds: Odds | None,
    values: FloatArray | None = None,
) -> AccuracyEstimate | None:
    """Estimate the accuracy on pictures of which only the model's answers are known.

    Args:
        reference: what is known of pictures with labels.
        scores: (m,), as the reference's; NaN where an answer has none.
        odds: what was measured with corrupted pictures.
        values: (m, S), of the reference's signals; without them scores alone are used.

    Returns:
        None where there is no score, here or in the reference.
    """
    before, after = reference.scores.astype(np.float64), np.asarray(scores, np.float64)
    if np.isnan(before).all() or np.isnan(after).all() or np.isnan(reference.correct).all():
        return None
    known = float(np.nanmean(reference.correct))
    fall, chance = _fall(before, after)
    alone = _fit(odds, mix=False)
    by_scores = _drop(alone, fall, 0.0)
    drop, error, spread = by_scores, alone.error, abs(_slope(alone, fall, 0.0)[0]) * chance
    if values is not None:
        classes = [s for s, signal in enumerate(reference.signals) if signal.group == "classes"]
        mixes = (reference.values[:, classes], np.asarray(values)[:, classes])
        shift, mix_chance = mix_shift(*mixes)
        fit = _fit(odds, mix=True)
        slope = _slope(fit, fall, shift)
        drop, error = _drop(fit, fall, shift), fit.error
        spread = float(np.hypot(slope[0] * chance, slope[1] * mix_chance))
    spread = float(np.hypot(spread, _error_of_few(odds, drop)))
    half = float(np.hypot(_QUANTILE * spread, error * max(abs(drop), _LEAST_DROP)))
    own = _standard_error(reference.correct.astype(np.float64))
    whole = float(np.hypot(half, _QUANTILE * own))
    return AccuracyEstimate(
        accuracy=_share(known - drop),
        low=_share(known - drop - whole),
        high=_share(known - drop + whole),
        from_scores=_share(known - by_scores),
        reference_accuracy=known,
        pictures=len(after),
        matters=drop - half > MARGIN,
    )


def _error_of_few(odds: Odds | None, drop: float) -> float:
    """The standard error by which all corrupted sets, being the same pictures, err alike.

    A drop is the share of right answers that is lost, times the accuracy without a corruption, and
    that is known from those few pictures alone.
    """
    if odds is None or not odds.pictures or not odds.accuracy:
        return 0.0
    of_accuracy = (odds.accuracy * (1 - odds.accuracy) / odds.pictures) ** 0.5
    return float(of_accuracy * min(abs(drop) / odds.accuracy, 1.0))


def mix_shift(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """How far the mix of answered classes has moved, from 0 to 1, and its standard error.

    Total variation between the two mixes. What chance alone makes of a difference is taken off,
    class by class: d² - 2 σ² takes the place of d².

    Args:
        before: (n, K), how often each picture was answered with each class.
        after: (m, K), the same of others.
    """
    if not before.shape[1] or not len(before) or not len(after):
        return 0.0, 0.0
    one, other = (x / x.sum() * len(x) for x in map(complete_mix, (before, after)))
    difference = other.mean(axis=0) - one.mean(axis=0)
    chance = one.var(axis=0) / len(one) + other.var(axis=0) / len(other)
    shift = 0.5 * np.sqrt(np.maximum(difference**2 - 2 * chance, 0)).sum()
    # Each picture adds or takes, as its class has become more or less frequent.
    signs = np.sign(difference) / 2
    error = np.hypot(_standard_error(one @ signs), _standard_error(other @ signs))
    return float(min(shift, 1.0)), float(error)


def _fall(before: Floats, after: Floats) -> tuple[float, float]:
    """By how much the mean score has fallen, and the standard error of that."""
    fall = float(np.nanmean(before) - np.nanmean(after))
    return fall, float(np.hypot(_standard_error(before), _standard_error(after)))


def _standard_error(values: Floats) -> float:
    count = max(int((~np.isnan(values)).sum()), 1)
    return float(np.nanstd(values) / count**0.5)


def _drop(fit: _Fit, fall: float, shift: float) -> float:
    if fit.weights is None:
        return max(fall, shift) if shift else fall
    return fit.weights[0] * fall + fit.weights[1] * shift


def _slope(fit: _Fit, fall: float, shift: float) -> tuple[float, float]:
    if fit.weights is not None:
        return fit.weights
    return (1.0, 0.0) if fall >= shift else (0.0, 1.0)


def corrupted_sets(odds: Odds) -> tuple[list[str], Floats, Floats]:
    """Of each corrupted set: the corruption, fall and shift (k, 2), and the drop (k,)."""
    sets = [c for c in odds.corruptions if c.accuracy is not None and c.score is not None]
    if odds.accuracy is None or odds.score is None:
        sets = []
    causes = [[(odds.score or 0) - (c.score or 0), c.mix_shift] for c in sets]
    drops = [(odds.accuracy or 0) - (c.accuracy or 0) for c in sets]
    return [c.corruption for c in sets], np.array(causes).reshape(-1, 2), np.array(drops)


def left_out_drops(names: Sequence[str], causes: Floats, drops: Floats) -> Floats:
    """Each set's drop, estimated by what was fitted to the other corruptions; (k,)."""
    # Its import takes most of a second, which a version without corrupted sets need not wait for.
    from scipy.optimize import nnls

    estimated = np.empty(len(drops))
    for name in dict.fromkeys(names):
        own = np.array([each == name for each in names])
        estimated[own] = causes[own] @ nnls(causes[~own], drops[~own])[0]
    return estimated


def _fit(odds: Odds | None, mix: bool) -> _Fit:
    names, causes, drops = corrupted_sets(odds) if odds is not None else ([], None, None)
    if causes is None or drops is None or len(drops) < _LEAST_SETS or len(set(names)) < 2:
        return _Fit(None, _USUAL_ERROR)
    from scipy.optimize import nnls  # as above

    if not mix:
        causes = causes * [1.0, 0.0]
    weights = nnls(causes, drops)[0]
    estimated = left_out_drops(names, causes, drops)
    errors = np.abs(estimated - drops) / np.maximum(np.abs(estimated), _LEAST_DROP)
    return _Fit((float(weights[0]), float(weights[1])), float(np.quantile(errors, _CONFIDENCE)))


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
