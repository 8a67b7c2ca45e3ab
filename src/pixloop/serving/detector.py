"""A detector's predictor: boxes in pixels of the upright picture, calibrated and decided on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import BoxScores, Manifest
from pixloop.decoding import Size
from pixloop.errors import BundleError, ServingError
from pixloop.imaging import unfit_boxes
from pixloop.records import DetectedBox, Detection
from pixloop.serving.engines import Engine, Outputs
from pixloop.serving.model import Model

#: Raw scores are float32: one of 1 means "over 1 - 2^-25", and has no logit without this.
_NEAREST_SCORE = 2.0**-25


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Everything that the graph gives for one picture, before scores are calibrated.

    Attributes:
        boxes: float64 (M, 4), xyxy in pixels of the upright picture, inside it and not empty.
        scores: float64 (M,), raw, falling, over 0 and up to 1.
        labels: int64 (M,), indices into the classes.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    width: int
    height: int


class Detector(Model[Found, Detection]):
    """The predictor of a bundle that detects."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        """Use ``predictor.open_predictor`` or ``predictor.make_predictor``.

        Raises:
            BundleError: the preprocessing crops, so that parts of a picture would not be seen.
        """
        if manifest.preprocessing.resize == "crop":
            raise BundleError(
                f"the bundle of {manifest.name!r} crops pictures; a detector needs them whole, "
                "as the resize 'letterbox' or 'squash' leaves them."
            )
        super().__init__(manifest, engine)
        self._box_scores = manifest.box_scores or BoxScores()

    def find(self, pictures: Sequence[bytes]) -> list[Found]:
        """Everything that the graph gives with a score over 0, picture by picture.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        return self._read_all(pictures)

    def _read(self, outputs: Outputs, sizes: Sequence[Size]) -> list[Found]:
        self._check(outputs, len(sizes))
        return [self._found(*each) for each in zip(*outputs, sizes, strict=True)]

    def _check(self, outputs: Outputs, count: int) -> None:
        boxes, scores, labels = outputs
        most = scores.shape[1] if scores.ndim == 2 else 0
        expected = ((count, most, 4), (count, most), (count, most))
        shapes = tuple(each.shape for each in outputs)
        if shapes != expected:
            raise self._wrong(f"boxes, scores and labels of shapes {shapes}; expected {expected}")
        there = scores != 0  # padding may hold anything; a score that is no number is not padding
        if labels.dtype.kind not in "iu":
            raise self._wrong(f"labels of type {labels.dtype}, not of integers")
        if not np.isfinite(boxes[there]).all():
            raise self._wrong("boxes that are not finite")
        if not ((scores >= 0) & (scores <= 1)).all():
            raise self._wrong("scores that are not from 0 to 1")
        classes = len(self.manifest.classes)
        if not ((labels[there] >= 0) & (labels[there] < classes)).all():
            raise self._wrong(f"labels that are not below {classes}, the number of classes")

    def _wrong(self, what: str) -> ServingError:
        return ServingError(f"the graph of {self.manifest.name!r} answered with {what}.")

    def _found(
        self,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        labels: NDArray[np.integer],
        size: Size,
    ) -> Found:
        inside = unfit_boxes(boxes, size.width, size.height, self.manifest.preprocessing)
        # A box in the letterbox's margin is in no picture.
        kept = (scores > 0) & (inside[:, 0] < inside[:, 2]) & (inside[:, 1] < inside[:, 3])
        order = np.flatnonzero(kept)
        order = order[np.argsort(-scores[order], kind="stable")]
        return Found(
            boxes=inside[order],
            scores=scores[order].astype(np.float64),
            labels=labels[order].astype(np.int64),
            width=size.width,
            height=size.height,
        )

    def _decide(self, readings: Collection[Found]) -> list[Detection]:
        return [self._detect(found) for found in readings]

    def _detect(self, found: Found) -> Detection:
        scores = read_scores(found.scores, self._box_scores)
        shown = scores >= self._box_scores.minimum
        boxes = tuple(
            DetectedBox(
                label=label,
                score=score,
                xyxy=(x1, y1, x2, y2),
                decision=self._acceptance.decide(label, score),
            )
            for (x1, y1, x2, y2), score, label in zip(
                found.boxes[shown].tolist(),
                scores[shown].tolist(),
                [self.manifest.classes[label] for label in found.labels[shown].tolist()],
                strict=True,
            )
        )
        return Detection(boxes, found.width, found.height)


def read_scores(raw: NDArray[np.floating], box_scores: BoxScores) -> NDArray[np.float64]:
    """What a graph's scores mean, as ``bundle.BoxScores`` defines it.

    Args:
        raw: any shape, 0 to 1; 0 and 1 are read as the nearest float32 scores between them.
        box_scores: slope, which is over 0, and offset.

    Returns:
        Calibrated scores of the same shape, 0 to 1, in the same order.

    >>> read_scores(np.array([0.0, 0.25, 1.0]), BoxScores()).round(3).tolist()
    [0.0, 0.25, 1.0]
    """
    inside = np.clip(np.asarray(raw, np.float64), _NEAREST_SCORE, 1 - _NEAREST_SCORE)
    logits = np.log(inside) - np.log1p(-inside)
    # 1 / (1 + exp(-x)) without the overflow of exp.
    return np.asarray(np.exp(-np.logaddexp(0.0, -(box_scores.slope * logits + box_scores.offset))))
