"""A model's answers to every picture of a split, as columns."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixloop.evaluation.batches import Pictures, ask_in_batches
from pixloop.files import atomic_path
from pixloop.records import Decision
from pixloop.serving.classifier import Classifier, softmax


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers to N pictures about K classes. Indices count ``classes``.

    A true class that the model does not know stands in ``classes`` behind those it knows, and
    has probability 0.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    targets: NDArray[np.int64]  #: (N,) the true class
    probabilities: NDArray[np.float64]  #: (N, K) calibrated
    uncalibrated: NDArray[np.float64]  #: (N, K) before temperature scaling
    accepted: NDArray[np.bool_]  #: (N,) whether the decision is to accept

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The answer, (N,)."""
        answers: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def scores(self) -> NDArray[np.float64]:
        """The answer's calibrated probability, (N,)."""
        highest: NDArray[np.float64] = self.probabilities.max(axis=1)
        return highest

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the answer is right, (N,)."""
        return np.equal(self.predicted, self.targets)


def predict_split(
    predictor: Classifier, split: Pictures, labels: tuple[str, ...], description: str
) -> Predictions:
    """Answer every picture of a split, holding one batch of pictures in memory.

    Args:
        predictor: the model, as it is served.
        split: the pictures, at least one.
        labels: the names of the split's labels; they need not be the model's classes.
        description: for the progress display.

    Raises:
        DataError: a picture cannot be read.
    """
    known = predictor.manifest.classes
    classes = (*known, *(label for label in labels if label not in known))
    index = np.array([classes.index(label) for label in labels], np.int64)
    paths: list[str] = []
    hashes: list[str] = []
    targets: list[int] = []
    logits: list[NDArray[np.float32]] = []
    for rows, answered in ask_in_batches(predictor.logits, split, description):
        logits.append(answered)
        paths += [row.path for row in rows]
        hashes += [row.sha256 for row in rows]
        targets += [row.label for row in rows]
    answers = np.concatenate(logits)
    probabilities = softmax(answers, predictor.manifest.temperature)
    acceptance, surest = predictor.manifest.threshold.acceptance, probabilities.argmax(axis=1)
    accepted = [
        acceptance.accepts(known[best], score)
        for best, score in zip(surest, probabilities.max(axis=1), strict=True)
    ]
    unknown = ((0, 0), (0, len(classes) - len(known)))
    return Predictions(
        classes=classes,
        paths=tuple(paths),
        sha256=tuple(hashes),
        targets=index[targets],
        probabilities=np.pad(probabilities, unknown),
        uncalibrated=np.pad(softmax(answers), unknown),
        accepted=np.array(accepted, np.bool_),
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a row a picture as Parquet: path, sha256, label, predicted, score, decision, all."""
    names = np.array(predictions.classes, dtype=object)
    table = pa.table(
        {
            "path": list(predictions.paths),
            "sha256": list(predictions.sha256),
            "label": names[predictions.targets].tolist(),
            "predicted": names[predictions.predicted].tolist(),
            "score": predictions.scores,
            "decision": [
                str(Decision.ACCEPT if accepted else Decision.REFER)
                for accepted in predictions.accepted
            ],
            "probabilities": predictions.probabilities.tolist(),
        }
    ).replace_schema_metadata({"classes": json.dumps(predictions.classes)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
