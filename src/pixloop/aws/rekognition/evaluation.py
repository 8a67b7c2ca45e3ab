"""What Rekognition says of a version in pixloop's evaluation form, and a threshold for it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.aws.rekognition.answers import LARGEST_PICTURE_BYTES
from pixloop.aws.rekognition.data import convert, find_fault
from pixloop.aws.rekognition.versions import RekognitionVersion
from pixloop.aws.session import Session, translated
from pixloop.bundle import Threshold, now
from pixloop.config import ThresholdsConfig
from pixloop.data.dataset import Dataset
from pixloop.errors import AwsError
from pixloop.evaluation.class_thresholds import choose_thresholds
from pixloop.evaluation.metrics import Counts, measure
from pixloop.evaluation.model_quality import model_quality
from pixloop.progress import track

Json = dict[str, Any]
#: An encoded picture → the answer's one prediction, as ``answers.py`` gives it.
Ask = Callable[[bytes], Json]


def read_evaluation(session: Session, version: RekognitionVersion) -> Json:
    """A trained version's metrics, as the content of an evaluation.json.

    Raises:
        AwsError: it has none yet, or they are not in the documented form.
    """
    if version.summary is None:
        raise AwsError(f"Rekognition version {version.name} ({version.status}) has no metrics yet.")
    bucket, key = version.summary
    with translated(f"s3://{bucket}/{key}"):
        body = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        return convert_summary(json.loads(body), version.name)
    except (ValueError, KeyError, TypeError) as e:
        raise AwsError(f"s3://{bucket}/{key} is no training summary of Rekognition: {e!r}") from e


def convert_summary(summary: Json, name: str) -> Json:
    """Rekognition's training summary in our form.

    For classification everything follows from its confusion matrix, whose values are shares of a
    true label's test pictures. For detection, Rekognition's own precision, recall and F1 stand;
    its average precision is not COCO's and stands apart.
    Source: Rekognition Custom Labels Guide, "Training results summary file".
    """
    labels, details = summary["LabelEvaluationResults"], summary["EvaluationDetails"]
    overall = summary["AggregatedEvaluationResults"]
    overall = {**overall, **overall.get("Metrics", {})}
    section: Json = {
        "name": name,
        "created": now(),
        "pictures": details["NumberOfTestingImages"],
        "graph": "rekognition",
        "classes": {
            each["Label"]: {
                "pictures": each["NumberOfTestingImages"],
                "precision": each["Metrics"]["Precision"],
                "recall": each["Metrics"]["Recall"],
                "f1": each["Metrics"]["F1Score"],
            }
            for each in labels
        },
        "rekognition": {
            "thresholds": {each["Label"]: each["Metrics"].get("Threshold") for each in labels},
            "average_precision": overall.get("AveragePrecision"),
            "average_recall": overall.get("AverageRecall"),
        },
    }
    if "ConfusionMatrix" not in overall:
        per_class = section["classes"].values()
        section["metrics"] = {
            f"{metric}_macro": float(np.mean([each[metric] for each in per_class]))
            for metric in ("f1", "precision", "recall")
        }
        return {"pixloop": section}
    classes, counts = _counts(overall["ConfusionMatrix"], labels)
    measured = measure(counts)
    names = ("accuracy", "f1_macro", "precision_macro", "recall_macro")
    section["metrics"] = {name: getattr(measured, name) for name in names}
    targets, predicted = _pictures(counts)
    return {**model_quality(targets, predicted, classes), "pixloop": section}


def calibrate(
    ask: Ask, dataset: Path, settings: ThresholdsConfig, description: str = "calibrating"
) -> Threshold:
    """Choose the scores from which on answers are accepted, by the calibration pictures.

    Rekognition has not seen them. Every picture is one request to the running version, in the form
    in which it would have been trained on; what it does not take is not asked.

    Raises:
        AwsError: the data set is one of boxes, whose promise needs the detector's raw scores.
    """
    data = Dataset.open(dataset)
    if data.info.task != "classification":
        raise AwsError("a threshold for Rekognition's boxes is not chosen: nothing is accepted.")
    rows = data.split("calibration")
    classes, scores, answers, correct = data.info.classes, [], [], []
    for row in track(iter(rows), description, len(rows)):
        picture, _ = convert(row.image)
        if find_fault(row, picture, LARGEST_PICTURE_BYTES):
            continue
        answer = ask(picture)
        scores.append(float(answer["score"]))
        answers.append(str(answer["label"]))
        correct.append(answer["label"] == classes[row.label])
    return choose_thresholds(scores, answers, correct, classes, settings)


def _counts(matrix: Sequence[Json], labels: Sequence[Json]) -> tuple[tuple[str, ...], Counts]:
    classes = tuple(each["Label"] for each in labels)
    pictures = {each["Label"]: each["NumberOfTestingImages"] for each in labels}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for cell in matrix:
        true, answer = cell["GroundTruthLabel"], cell["PredictedLabel"]
        counts[classes.index(true), classes.index(answer)] = round(cell["Value"] * pictures[true])
    return classes, counts


def _pictures(counts: Counts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A true and an answered index for every counted picture."""
    true, answered = np.indices(counts.shape)
    flat = counts.ravel()
    return np.repeat(true.ravel(), flat), np.repeat(answered.ravel(), flat)
