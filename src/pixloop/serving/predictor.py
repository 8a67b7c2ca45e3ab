"""Encoded pictures in, calibrated answers and decisions out: what predictors of every task share.

``Predictor.open`` gives the ``Classifier`` below or the ``Detector`` of ``detector.py``, whichever
the bundle is for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle, Manifest, Threshold
from pixloop.errors import ImageError, ServingError
from pixloop.imaging import InputArray, decode_image, to_input
from pixloop.records import Decision, Prediction
from pixloop.serving.engines import Engine, Logits, open_engine, usable_cores

if TYPE_CHECKING:
    from pixloop.serving.detector import Detector

#: Pictures that one engine call computes at most: more is no faster on a CPU, and takes memory.
BATCH_SIZE = 16

#: What the graph says of one picture, and what is answered about it.
Reading = TypeVar("Reading")
Answer = TypeVar("Answer")


class Size(NamedTuple):
    """An upright picture's size in pixels."""

    width: int
    height: int


class Predictor(ABC, Generic[Reading, Answer]):
    """A bundle's model, ready to answer. Threads may share one.

    A task says how the graph's outputs are read, and how a reading becomes an answer.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        """Use ``Predictor.open`` or ``make_predictor``."""
        self.manifest = manifest
        self._engine = engine
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

    @staticmethod
    def open(bundle: Bundle, graph: str | None = None) -> "Classifier | Detector":
        """Load a graph of a bundle, the chosen one by default.

        Raises:
            BundleError: the bundle has no such graph, the graph's files are not those that were
                exported, or no torch-free engine runs the format.
        """
        bundle.verify(bundle.graph_files(graph))
        engine = open_engine(
            bundle.graph_path(graph), bundle.graph(graph).format, bundle.manifest.task
        )
        return make_predictor(bundle.manifest, engine)

    def predict(self, pictures: Sequence[bytes]) -> list[Answer]:
        """An answer for each picture.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        return [self._decide(reading) for reading in self._read_all(pictures)]

    def predict_each(self, pictures: Iterable[bytes]) -> Iterator[Answer | ImageError]:
        """Predict a stream: a picture that cannot be read gives its error, and stops nothing."""
        for reading in self._read_each(pictures):
            yield reading if isinstance(reading, ImageError) else self._decide(reading)

    @abstractmethod
    def _run(self, images: InputArray, sizes: Sequence[Size]) -> Iterable[Reading]:
        """What the graph says of each picture; ``sizes`` are those of the upright pictures.

        Raises:
            ServingError: the graph does not answer as a graph of the task does.
        """

    @abstractmethod
    def _decide(self, reading: Reading) -> Answer:
        """The answer for a picture."""

    def _read_all(self, pictures: Sequence[bytes]) -> list[Reading]:
        readings: list[Reading] = []
        for index, reading in enumerate(self._read_each(pictures)):
            if isinstance(reading, ImageError):
                raise type(reading)(f"picture {index}: {reading}") from reading
            readings.append(reading)
        return readings

    def _read_each(self, pictures: Iterable[bytes]) -> Iterator[Reading | ImageError]:
        stream = iter(pictures)
        while batch := list(islice(stream, BATCH_SIZE)):
            # A lone picture is not worth another thread.
            decode = map if len(batch) == 1 else self._pool.map
            prepared = list(decode(self._prepare, batch))
            readable = [each for each in prepared if not isinstance(each, ImageError)]
            readings = iter(self._run_batch(readable) if readable else ())
            for each in prepared:
                yield each if isinstance(each, ImageError) else next(readings)

    def _run_batch(self, prepared: list[tuple[InputArray, Size]]) -> Iterable[Reading]:
        images = np.stack([image for image, _ in prepared])
        return self._run(images, [size for _, size in prepared])

    def _prepare(self, picture: bytes) -> tuple[InputArray, Size] | ImageError:
        try:
            rgb = decode_image(picture)
        except ImageError as e:
            return e
        height, width = rgb.shape[:2]
        return to_input(rgb, self.manifest.preprocessing), Size(width, height)


class Classifier(Predictor[Logits, Prediction]):
    """The predictor of a bundle that classifies."""

    def logits(self, pictures: Sequence[bytes]) -> Logits:
        """The network's raw answers, float32 (N, K), classes in the manifest's order.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        rows = self._read_all(pictures)
        return np.array(rows, np.float32).reshape(len(rows), len(self.manifest.classes))

    def _run(self, images: InputArray, sizes: Sequence[Size]) -> Logits:
        (logits,) = self._engine(images)
        expected = (len(images), len(self.manifest.classes))
        if logits.shape != expected or not np.isfinite(logits).all():
            raise ServingError(
                f"the graph of {self.manifest.name!r} answered with logits of shape "
                f"{logits.shape}, or not finite; expected finite ones of shape {expected}."
            )
        return logits

    def _decide(self, reading: Logits) -> Prediction:
        probabilities = softmax(reading, self.manifest.temperature)
        best = int(probabilities.argmax())
        score = float(probabilities[best])
        return Prediction(
            label=self.manifest.classes[best],
            score=score,
            probabilities=dict(zip(self.manifest.classes, probabilities.tolist(), strict=True)),
            decision=decide(score, self.manifest.threshold),
        )


def make_predictor(manifest: Manifest, engine: Engine) -> "Classifier | Detector":
    """The predictor for a manifest's task over an engine that is already open."""
    if manifest.task == "classification":
        return Classifier(manifest, engine)
    # Here, because a detector is a predictor too, so its module builds on this one.
    from pixloop.serving.detector import Detector

    return Detector(manifest, engine)


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
