"""Encoded pictures in, calibrated predictions and decisions out."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle, Manifest, Threshold
from pixloop.errors import ImageError, ServingError
from pixloop.imaging import InputArray, decode_image, to_input
from pixloop.records import Decision, Prediction
from pixloop.serving.engines import Engine, Logits, open_engine, usable_cores

#: Pictures that one engine call computes at most: more is no faster on a CPU, and takes memory.
BATCH_SIZE = 16


class Predictor:
    """A bundle's classifier. Threads may share one."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self._engine = engine
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

    @classmethod
    def open(cls, bundle: Bundle, graph: str | None = None) -> "Predictor":
        """Load a graph of a bundle, the chosen one by default.

        Raises:
            BundleError: the bundle has no such graph, the graph's files are not those that were
                exported, or no torch-free engine runs the format.
        """
        bundle.verify(bundle.graph_files(graph))
        engine = open_engine(bundle.graph_path(graph), bundle.graph(graph).format)
        return cls(bundle.manifest, engine)

    def logits(self, pictures: Sequence[bytes]) -> Logits:
        """The network's raw answers, float32 (N, K), classes in the manifest's order.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        rows = list(self._each_logits(pictures))
        for index, row in enumerate(rows):
            if isinstance(row, ImageError):
                raise type(row)(f"picture {index}: {row}") from row
        return np.array(rows, np.float32).reshape(len(rows), len(self.manifest.classes))

    def predict(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """A prediction for each picture.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        return [self._decide(row) for row in self.logits(pictures)]

    def predict_each(self, pictures: Iterable[bytes]) -> Iterator[Prediction | ImageError]:
        """Predict a stream: a picture that cannot be read gives its error, and stops nothing."""
        for row in self._each_logits(pictures):
            yield row if isinstance(row, ImageError) else self._decide(row)

    def _each_logits(self, pictures: Iterable[bytes]) -> Iterator[Logits | ImageError]:
        stream = iter(pictures)
        while batch := list(islice(stream, BATCH_SIZE)):
            # A lone picture is not worth another thread.
            decode = map if len(batch) == 1 else self._pool.map
            inputs = list(decode(self._read, batch))
            readable = [each for each in inputs if not isinstance(each, ImageError)]
            rows = iter(self._run(np.stack(readable)) if readable else ())
            for each in inputs:
                yield each if isinstance(each, ImageError) else next(rows)

    def _read(self, picture: bytes) -> InputArray | ImageError:
        try:
            return to_input(decode_image(picture), self.manifest.preprocessing)
        except ImageError as e:
            return e

    def _run(self, images: InputArray) -> Logits:
        logits = self._engine(images)
        expected = (len(images), len(self.manifest.classes))
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ServingError(
                f"the graph of {self.manifest.name!r} answered with logits of shape "
                f"{logits.shape}, or not finite; expected finite ones of shape {expected}."
            )
        return logits

    def _decide(self, logits: Logits) -> Prediction:
        probabilities = softmax(logits, self.manifest.temperature)
        best = int(probabilities.argmax())
        score = float(probabilities[best])
        return Prediction(
            label=self.manifest.classes[best],
            score=score,
            probabilities=dict(zip(self.manifest.classes, probabilities.tolist(), strict=True)),
            decision=decide(score, self.manifest.threshold),
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


def decide(score: float, threshold: Threshold) -> Decision:
    """Accept from the threshold's score on; without one, everything is referred."""
    sure = threshold.score is not None and score >= threshold.score
    return Decision.ACCEPT if sure else Decision.REFER
