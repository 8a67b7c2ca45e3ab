"""The numbers of robustness, as evaluation.json has them.

Corruption error and its mean (mCE) are Hendrycks and Dietterich's (2019), but not divided by
AlexNet's errors, which do not exist for other classes than ImageNet's; where there is a champion,
they are divided by its errors. The kept share is Michaelis et al.'s (2019) relative performance
under corruption: the mean over corruptions and severities, over that of the same pictures as they
are.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from pixloop.evaluation.robustness.alterations import CURVES
from pixloop.evaluation.robustness.outcomes import Floats, Ints, Outcome
from pixloop.evaluation.robustness.trials import Trial

Json = dict[str, Any]

_INTERVAL = (2.5, 97.5)


def draw_weights(pictures: int, resamples: int, seed: int = 0) -> Ints:
    """How often each picture counts in each resample of the bootstrap (Efron 1979), (R, N)."""
    random = np.random.default_rng(seed)
    return random.multinomial(pictures, np.full(pictures, 1 / pictures), resamples)


class Figures:
    """Measures trials against the same pictures as they are."""

    def __init__(self, clean: Outcome, pictures: int) -> None:
        self._clean = clean
        self._weights = draw_weights(pictures, clean.resamples)
        self._clean_resampled = clean.resampled(self._weights)

    def clean(self) -> Json:
        """Of the pictures as they are."""
        return {**self._value(self._clean), "interval": self._clean.interval(self._clean_resampled)}

    def measure(self, outcome: Outcome) -> Json:
        """Of the same pictures, altered."""
        resampled = outcome.resampled(self._weights)
        return {**self._value(outcome), "interval": outcome.interval(resampled)}

    def corruptions(self, trials: Sequence[Trial]) -> Json:
        """Of each corruption, then over all of them.

        Args:
            trials: every corruption at every severity, corruption by corruption.
        """
        resampled = [trial.outcome.resampled(self._weights) for trial in trials]
        names = [trial.kind for trial in trials]
        rows = {}
        for name in dict.fromkeys(names):
            own = [i for i, each in enumerate(names) if each == name]
            mean = float(np.mean([trials[i].outcome.value for i in own]))
            rows[name] = {
                "error": 1 - mean,
                **self._kept(mean, np.mean([resampled[i] for i in own], axis=0)),
                "severities": {
                    f"{trials[i].strength:g}": {
                        **self._value(trials[i].outcome),
                        "interval": trials[i].outcome.interval(resampled[i]),
                    }
                    for i in own
                },
            }
        overall = np.mean(resampled, axis=0)
        mean = float(np.mean([trial.outcome.value for trial in trials]))
        low, high = _interval(overall)
        return {
            "mce": 1 - mean,
            "mce_interval": [1 - high, 1 - low],
            **self._kept(mean, overall),
            "corruptions": rows,
        }

    def curves(self, trials: Sequence[Trial]) -> Json:
        """Of each curve, point by point."""
        return {
            name: [
                {
                    "strength": trial.strength,
                    **self._value(trial.outcome),
                    "interval": trial.outcome.interval(resampled),
                    "kept_share": self._kept(trial.outcome.value, resampled)["kept_share"],
                }
                for trial in own
                for resampled in [trial.outcome.resampled(self._weights)]
            ]
            for name, own in groupby(trials, key=lambda trial: trial.kind)
            if name in CURVES
        }

    def _value(self, outcome: Outcome) -> Json:
        return {outcome.metric: outcome.value, **outcome.more}

    def _kept(self, mean: float, resampled: Floats) -> Json:
        """The kept share; 0 where nothing is right even without a corruption."""
        clean = self._clean.value
        possible = self._clean_resampled > 0
        shares = resampled[possible] / self._clean_resampled[possible]
        return {
            "kept_share": mean / clean if clean else 0.0,
            "kept_interval": _interval(shares) if len(shares) else [0.0, 0.0],
        }


def compare_corruptions(trials: Sequence[Trial], clean: Sequence[Outcome]) -> Json | None:
    """Beside the champion: its mean corruption error, and ours over its, as in the publication.

    Args:
        trials: of corruptions, with the champion's outcomes second.
        clean: both models' outcomes without one.
    """
    if len(clean) < 2:
        return None
    errors = np.array([[1 - o.value for o in trial.outcomes] for trial in trials])
    names = np.array([trial.kind for trial in trials])
    sums = {name: errors[names == name].sum(axis=0) for name in dict.fromkeys(names.tolist())}
    # A corruption that the champion never errs under says nothing.
    ratios = {name: float(own / their) if their else None for name, (own, their) in sums.items()}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    theirs = clean[1].value
    return {
        "mce": float(errors[:, 1].mean()),
        "kept_share": float(1 - errors[:, 1].mean()) / theirs if theirs else 0.0,
        "relative_mce": float(np.mean(known)) if known else None,
        "corruptions": ratios,
    }


def worst_trial(trials: Sequence[Trial]) -> Trial:
    """The one of which least is left; of equal ones the slightest."""
    return min(trials, key=lambda trial: (trial.outcome.value, trial.strength))


def _interval(values: Floats) -> list[float]:
    low, high = np.percentile(values, _INTERVAL)
    return [float(low), float(high)]
