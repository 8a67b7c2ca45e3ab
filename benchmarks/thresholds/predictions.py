"""Real predictions: a finished project's answers to pictures that did not train it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import MANIFEST, Dataset
from pixloop.evaluation.batches import ask_in_batches
from pixloop.evaluation.calibration import fit_temperature
from pixloop.pipeline.runs import list_runs
from pixloop.project import Project
from pixloop.run_summary import output_of
from pixloop.serving.classifier import Classifier, softmax
from pixloop.serving.predictor import open_predictor


@dataclass(frozen=True)
class Pool:
    """Answers to N pictures about K classes."""

    classes: tuple[str, ...]
    logits: NDArray[np.float32]  #: (N, K)
    targets: NDArray[np.int64]  #: (N,)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The answer, (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether it is right, (N,)."""
        return self.predicted == self.targets

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of all N, calibrated by some of them, as a run does it."""
        temperature = fit_temperature(self.logits[rows], self.targets[rows])
        return softmax(self.logits, temperature).max(axis=1)


def read_pool(project: Path) -> Pool:
    """The answers of the newest version to its calibration and test pictures."""
    opened = Project.open(project)
    _, bundle = opened.bundle()
    predictor = open_predictor(bundle)
    if not isinstance(predictor, Classifier):
        raise SystemExit(f"{project} does not classify")
    folders = [output_of(run, "Prepare", "dataset") for run in list_runs(project / ".pixloop")]
    data = Dataset.open(next(f for f in folders if (f / MANIFEST).is_file()))
    logits, targets = [], []
    for name in ("calibration", "test"):
        split = data.split(name)
        targets.append(split.labels)
        logits += [answer for _, answer in ask_in_batches(predictor.logits, split, name)]
    return Pool(bundle.manifest.classes, np.concatenate(logits), np.concatenate(targets))
