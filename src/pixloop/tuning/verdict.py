"""The best settings against the current ones, both trained in full, on the test pictures.

The search has seen none of these. Training in full is the project's own pipeline up to the bundle,
so that the next run finds the winner's steps in the cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.evaluation.comparison.paired import compare_paired
from pixloop.evaluation.evaluate import open_bundle
from pixloop.evaluation.scoring import CLASSIFICATION, DETECTION, Scoring
from pixloop.pipeline.display import Listener
from pixloop.pipeline.local import run_local

Json = dict[str, Any]
#: The pipeline definition of a configuration of this project.
Define = Callable[[Config], Mapping[str, Any]]
_OUTPUT = Path("ml/processing/output")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the test pictures say.

    Attributes:
        measure: what a picture's worth is the mean of.
        pictures: how many were scored.
        current: the mean worth under the current settings, 0 to 1.
        best: under the best.
        difference: best minus current, with its bounds ``low`` and ``high``.
        p: the chance of such a gain or a larger one, were the best no better.
        gained: pictures on which the best is better.
        lost: pictures on which it is worse.
        better: whether that is shown, with ``promotion.confidence``.
        words: all this in a sentence.
    """

    measure: str
    pictures: int
    current: float
    best: float
    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int
    better: bool
    words: str

    def as_json(self) -> Json:
        """As it is kept in result.json."""
        return asdict(self)


class Pipeline:
    """The project's pipeline, as far as a search needs it."""

    def __init__(self, define: Define, state: Path, listener: Listener | None) -> None:
        self._define, self._state, self._listener = define, state, listener

    def dataset(self, config: Config) -> Path:
        """The data set of a configuration, prepared unless that was done before."""
        return self._run(config, ("Inspect", "Prepare")) / "Prepare" / _OUTPUT / "dataset"

    def bundle(self, config: Config) -> Path:
        """The bundle that a configuration leads to, trained in full unless that was done before."""
        steps = ("Inspect", "Prepare", "Train", "Export")
        return self._run(config, steps) / "Export" / _OUTPUT / "bundle"

    def _run(self, config: Config, names: Sequence[str]) -> Path:
        definition = self._define(config)
        steps = [step for step in definition["Steps"] if step["Name"] in names]
        record = run_local(
            {**definition, "Steps": steps}, self._state, name=config.name, listener=self._listener
        )
        return record.folder / "steps"


def judge(config: Config, dataset: Path, current: Path, best: Path) -> Verdict:
    """Score two bundles on the test pictures, and hold them against one another.

    Raises:
        BundleError: a bundle is missing or damaged.
        DataError: the data set has no test pictures, or one cannot be read.
    """
    data = Dataset.open(dataset)
    if config.task == "detection":
        worths = [_worth(DETECTION, bundle, data) for bundle in (current, best)]
    else:
        worths = [_worth(CLASSIFICATION, bundle, data) for bundle in (current, best)]
    return weigh(worths[1], worths[0], config)


def weigh(best: NDArray[np.float64], current: NDArray[np.float64], config: Config) -> Verdict:
    """The verdict on two models' worth of each picture, 0 to 1, shape (N,), N ≥ 1."""
    confidence = config.promotion.confidence
    paired = compare_paired(best, current, confidence)
    better = paired.p <= 1 - confidence
    measure = "accuracy" if config.task == "classification" else "mean F1 of a picture's boxes"
    sure = f"{confidence * 100:.4g} % confidence"
    words = (
        f"The best settings are {'better' if better else _not_better(paired.high)} than the "
        f"current ones on the {paired.pictures} test pictures: {measure} {best.mean():.1%} instead "
        f"of {current.mean():.1%} ({_points(paired.difference)}; with {sure} "
        f"between {_points(paired.low)} and {_points(paired.high)}; p = {paired.p:.2g}; better on "
        f"{paired.gained} pictures, worse on {paired.lost})."
    )
    return Verdict(
        measure,
        paired.pictures,
        float(current.mean()),
        float(best.mean()),
        paired.difference,
        paired.low,
        paired.high,
        paired.p,
        paired.gained,
        paired.lost,
        better,
        words,
    )


def _worth(scoring: Scoring[Any], place: Path, data: Dataset) -> NDArray[np.float64]:
    with open_bundle(place) as bundle:
        return scoring.worth(scoring.answer(bundle, data, "scoring test pictures"))


def _not_better(high: float) -> str:
    return "worse" if high < 0 else "not shown to be better"


def _points(difference: float) -> str:
    return f"{difference * 100:+.1f} points"
