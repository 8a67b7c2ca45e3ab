"""A classifier's answers: the graph's logits as calibrated probabilities."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from pixloop.decoding import Size
from pixloop.errors import ServingError
from pixloop.records import Prediction
from pixloop.serving.engines import Logits, Outputs
from pixloop.serving.model import Model


class Classifier(Model[Logits, Prediction]):
    """The predictor of a bundle that classifies."""

    def logits(self, pictures: Sequence[bytes]) -> Logits:
        """The network's raw answers, float32 (N, K), classes in the manifest's order.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        rows = self._read_all(pictures)
        return np.array(rows, np.float32).reshape(len(rows), len(self.manifest.classes))

    def _read(self, outputs: Outputs, sizes: Sequence[Size]) -> Logits:
        (logits,) = outputs
        expected = (len(sizes), len(self.manifest.classes))
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ServingError(
                f"the graph of {self.manifest.name!r} answered with logits of shape "
                f"{logits.shape}, or not finite; expected finite ones of shape {expected}."
            )
        return logits

    def _decide(self, readings: Collection[Logits]) -> list[Prediction]:
        if not len(readings):
            return []
        # All of a batch at once, and numbers of Python's: an array's own cost more one by one.
        probabilities = softmax(np.asarray(readings), self.manifest.temperature)
        surest = probabilities.argmax(axis=1).tolist()
        return [self._predict(*each) for each in zip(probabilities.tolist(), surest, strict=True)]

    def _predict(self, probabilities: list[float], best: int) -> Prediction:
        classes, score = self.manifest.classes, probabilities[best]
        return Prediction(
            label=classes[best],
            score=score,
            probabilities=dict(zip(classes, probabilities, strict=True)),
            decision=self._acceptance.decide(classes[best], score),
        )


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities over the last axis, ``exp(logits / temperature)`` normalised to sum to 1.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return total
