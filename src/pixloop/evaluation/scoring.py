"""What evaluating needs of a task: classification and detection, side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle, Manifest
from pixloop.config import GateConfig
from pixloop.data.dataset import Dataset
from pixloop.errors import BundleError
from pixloop.evaluation.detection.detections import Detections, detect_split, write_detections
from pixloop.evaluation.detection.quality import detection_quality
from pixloop.evaluation.detection.report import render_detection_report
from pixloop.evaluation.detection.summary import summarise_detections
from pixloop.evaluation.model_quality import model_quality
from pixloop.evaluation.page import Evidence
from pixloop.evaluation.predictions import Predictions, predict_split, write_predictions
from pixloop.evaluation.report import render_report
from pixloop.evaluation.summary import summarise
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import open_predictor

Json = dict[str, Any]

#: What a model answers to the test pictures, beside the truth.
Answers = TypeVar("Answers")


@dataclass(frozen=True, slots=True)
class Scoring(Generic[Answers]):
    """A task's part of evaluating."""

    answer: Callable[[Bundle, Dataset, str], Answers]  #: the test pictures; a text for progress
    #: of the answers, and the champion's with what the paired test says
    summarise: Callable[[Manifest, Answers, GateConfig, Answers | None, Json], Json]
    worth: Callable[[Answers], NDArray[np.float64]]  #: of each picture's answer, 0 to 1
    quality: Callable[[Answers, Json], Json]  #: SageMaker's section, from answers and summary
    write_answers: Callable[[Path, Answers], None]
    render_report: Callable[[Json, Evidence[Answers]], str]


def _classify(bundle: Bundle, data: Dataset, description: str) -> Predictions:
    predictor = open_predictor(bundle)
    if not isinstance(predictor, Classifier):
        raise BundleError(f"{bundle.path} does not classify.")
    return predict_split(predictor, data.split("test"), data.info.classes, description)


def _detect(bundle: Bundle, data: Dataset, description: str) -> Detections:
    predictor = open_predictor(bundle)
    if not isinstance(predictor, Detector):
        raise BundleError(f"{bundle.path} does not detect.")
    return detect_split(predictor, data.split("test"), data.info.classes, description)


def _classification_quality(predictions: Predictions, summary: Json) -> Json:
    del summary  # everything follows from the answers
    return model_quality(predictions.targets, predictions.predicted, predictions.classes)


CLASSIFICATION = Scoring(
    _classify,
    summarise,
    lambda predictions: predictions.correct.astype(np.float64),
    _classification_quality,
    write_predictions,
    render_report,
)
DETECTION = Scoring(
    _detect,
    summarise_detections,
    lambda detections: detections.picture_f1,
    detection_quality,
    write_detections,
    render_detection_report,
)
