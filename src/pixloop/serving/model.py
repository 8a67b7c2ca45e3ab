"""Encoded pictures in, calibrated answers and decisions out: what every task's model shares.

``classifier.py`` and ``detector.py`` build on it; ``predictor.py`` opens the one that a bundle is
for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from pixloop.bundle import Manifest, Threshold
from pixloop.errors import ImageError
from pixloop.imaging import InputArray, decode_image, to_input
from pixloop.records import Decision
from pixloop.serving.engines import Engine, usable_cores

#: Pictures that one engine call computes at most: more is no faster on a CPU, and takes memory.
BATCH_SIZE = 16

#: What the graph says of one picture, and what is answered about it.
Reading = TypeVar("Reading")
Answer = TypeVar("Answer")


class Size(NamedTuple):
    """An upright picture's size in pixels."""

    width: int
    height: int


class Model(ABC, Generic[Reading, Answer]):
    """A bundle's model, ready to answer. Threads may share one.

    A task says how the graph's outputs are read, and how a reading becomes an answer.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        """Use ``predictor.open_predictor`` or ``predictor.make_predictor``."""
        self.manifest = manifest
        self._engine = engine
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

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


def decide(score: float, threshold: Threshold) -> Decision:
    """Accept from the threshold's score on; without one, everything is referred."""
    sure = threshold.score is not None and score >= threshold.score
    return Decision.ACCEPT if sure else Decision.REFER
