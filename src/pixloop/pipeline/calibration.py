"""Calibrating a draft with pictures that neither trained nor test, and sealing it."""

from pathlib import Path

import numpy as np

from pixloop.bundle import Bundle
from pixloop.config import Config, ThresholdsConfig
from pixloop.data.dataset import Dataset, Split
from pixloop.evaluation.batches import ask_in_batches
from pixloop.evaluation.calibration import fit_temperature
from pixloop.evaluation.class_thresholds import choose_thresholds
from pixloop.evaluation.detection.class_thresholds import choose_box_thresholds
from pixloop.evaluation.detection.scores import fit_box_scores
from pixloop.export.export import Draft, calibrate, seal
from pixloop.pipeline.odds import add_odds
from pixloop.pipeline.reference import add_reference, reference_split
from pixloop.serving.classifier import Classifier, softmax
from pixloop.serving.detector import Detector, Found
from pixloop.serving.engines import Logits

# On fewer pictures a fitted temperature is mostly chance: with 6, it took one model's calibration
# error from 0.04 to 0.25.
_LEAST_TO_CALIBRATE = 50


def seal_calibrated(config: Config, draft: Draft, dataset: Path) -> Bundle:
    """Find what scores mean and from which one on they are accepted, and seal the bundle.

    Raises:
        DataError: there is no data set, or a picture cannot be read.
    """
    data = Dataset.open(dataset)
    # A small data set may have none to spare; those that chose the epoch are the next best.
    pictures = reference_split(data)
    predictor = draft.predictor()
    if isinstance(predictor, Detector):
        draft = _calibrate_detector(config.thresholds, draft, predictor, pictures)
    else:
        draft = _calibrate_classifier(config.thresholds, draft, predictor, pictures)
    found = add_reference(draft, data)
    if found is not None and config.monitoring.odds_pictures:
        add_odds(config.monitoring, draft, data, found)
    return seal(draft, None if found is None else found.record)


def _calibrate_classifier(
    promise: ThresholdsConfig, draft: Draft, classifier: Classifier, pictures: Split
) -> Draft:
    logits, targets = _classify(classifier, pictures), pictures.labels
    enough = len(targets) >= _LEAST_TO_CALIBRATE
    temperature = fit_temperature(logits, targets) if enough else 1.0
    scores = softmax(logits, temperature).max(axis=1)
    predicted, classes = logits.argmax(axis=1), draft.manifest.classes
    answers = [classes[label] for label in predicted]
    threshold = choose_thresholds(scores, answers, predicted == targets, classes, promise)
    return calibrate(draft, threshold, temperature=temperature)


def _calibrate_detector(
    promise: ThresholdsConfig, draft: Draft, detector: Detector, pictures: Split
) -> Draft:
    found, truth = _detect(detector, pictures), pictures.objects
    classes = draft.manifest.classes
    box_scores = fit_box_scores(found, truth, len(classes))
    threshold = choose_box_thresholds(found, truth, box_scores, classes, promise)
    return calibrate(draft, threshold, box_scores=box_scores)


def _classify(classifier: Classifier, pictures: Split) -> Logits:
    """The logits of every picture of a split, holding one batch of pictures in memory."""
    none = np.empty((0, len(classifier.manifest.classes)), np.float32)
    batches = ask_in_batches(classifier.logits, pictures, "calibrating")
    return np.concatenate([none, *(logits for _, logits in batches)])


def _detect(detector: Detector, pictures: Split) -> list[Found]:
    """What is found in every picture of a split, holding one batch of pictures in memory."""
    batches = ask_in_batches(detector.find, pictures, "calibrating")
    return [each for _, found in batches for each in found]
