"""What a model makes of the sample's pictures, as they are or altered: one number, and its chance.

Classification: the share that is answered right. Detection: the mean over classes of the average
precision at IoU 0.5 (AP50), with COCO's AP over 0.50 to 0.95 beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.data.dataset import Objects
from pixloop.evaluation.detection.matching import Matches, match_boxes
from pixloop.evaluation.detection.precision import (
    measure_precision,
    rank_classes,
    weighted_averages,
)
from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.evaluation.robustness.sample import Sample, encode
from pixloop.serving.classifier import Classifier, softmax
from pixloop.serving.detector import Detector, Found
from pixloop.serving.predictor import open_predictor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Outcome(ABC):
    """What came of one alteration at one strength."""

    #: What ``value`` is called in evaluation.json, and in the report.
    metric: str
    title: str
    #: How many resamples are affordable.
    resamples: int

    @property
    @abstractmethod
    def value(self) -> float:
        """Accuracy or AP50, 0 to 1."""

    @property
    def more(self) -> Mapping[str, float]:
        """Other metrics, by name."""
        return {}

    @abstractmethod
    def resampled(self, weights: Ints) -> Floats:
        """The value where pictures count ``weights`` times, (R, N): (R,)."""

    def interval(self, resampled: Floats) -> list[float]:
        """Of the value, with 95 %, from what ``resampled`` gave."""
        low, high = np.percentile(resampled, (2.5, 97.5))
        return [float(low), float(high)]


@dataclass(frozen=True, eq=False)
class LabelOutcome(Outcome):
    """A classifier's answers to N pictures."""

    targets: tuple[str, ...]
    predicted: tuple[str, ...]
    scores: Floats  #: (N,) calibrated, of the answers

    metric = "accuracy"
    title = "accuracy"
    resamples = 1000

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the answer is right, (N,)."""
        return np.array([t == p for t, p in zip(self.targets, self.predicted, strict=True)])

    @property
    def value(self) -> float:
        """The accuracy."""
        return float(self.correct.mean())

    def interval(self, resampled: Floats) -> list[float]:
        """Wilson's: where all or none are right, every resample is like the other."""
        return list(wilson_interval(int(self.correct.sum()), len(self.correct)))

    def resampled(self, weights: Ints) -> Floats:
        """The accuracy where pictures count ``weights`` times."""
        return np.asarray(weights @ self.correct / weights.sum(axis=1), np.float64)


@dataclass(frozen=True, eq=False)
class BoxOutcome(Outcome):
    """What a detector found in N pictures. Labels count ``classes``."""

    classes: tuple[str, ...]
    found: tuple[Found, ...]
    truth: tuple[Objects, ...]

    metric = "map_50"
    title = "AP50"
    resamples = 200

    @cached_property
    def matches(self) -> Matches:
        """Which found box is which true one, at IoU 0.5."""
        return match_boxes(self.found, self.truth, len(self.classes))

    @cached_property
    def value(self) -> float:
        """The AP50."""
        (mean,) = self.resampled(np.ones((1, len(self.found)), np.int64))
        return float(mean)

    @cached_property
    def more(self) -> Mapping[str, float]:
        """COCO's AP."""
        precision = measure_precision(self.found, self.truth, len(self.classes)).map
        return {"map": precision or 0.0}

    def resampled(self, weights: Ints) -> Floats:
        """The AP50 where pictures count ``weights`` times; 0 without a true box."""
        ranked = rank_classes(self.matches)
        averages = (weighted_averages(self.matches, ranked, each) for each in weights)
        return np.array([np.mean(each) if each else 0.0 for each in averages])


#: From altered scenes, in the sample's order, to what the model makes of them.
Examiner = Callable[[Sequence[Scene]], Outcome]


def make_examiner(bundle: Bundle, sample: Sample, classes: tuple[str, ...]) -> Examiner:
    """Open a bundle's predictor, the graph that ships, to be asked about altered pictures.

    Args:
        bundle: the model.
        sample: the pictures.
        classes: of the data set; the model may know others.
    """
    predictor = open_predictor(bundle)
    if isinstance(predictor, Classifier):
        return _classify(predictor, tuple(classes[label] for label in sample.labels))
    return _detect(predictor, classes)


def _classify(predictor: Classifier, targets: tuple[str, ...]) -> Examiner:
    manifest = predictor.manifest

    def examine(scenes: Sequence[Scene]) -> Outcome:
        logits = predictor.logits([encode(scene.pixels) for scene in scenes])
        probabilities = softmax(logits, manifest.temperature)
        answers = tuple(manifest.classes[k] for k in probabilities.argmax(axis=1))
        return LabelOutcome(targets, answers, probabilities.max(axis=1))

    return examine


def _detect(detector: Detector, classes: tuple[str, ...]) -> Examiner:
    known = detector.manifest.classes
    index = np.array([classes.index(k) if k in classes else -1 for k in known], np.int64)

    def rename(found: Found) -> Found:
        labels = index[found.labels]
        kept = labels >= 0
        return Found(found.boxes[kept], found.scores[kept], labels[kept], found.width, found.height)

    def examine(scenes: Sequence[Scene]) -> Outcome:
        found = detector.find([encode(scene.pixels) for scene in scenes])
        truth = tuple(scene.objects for scene in scenes if scene.objects is not None)
        return BoxOutcome(classes, tuple(rename(each) for each in found), truth)

    return examine
