"""Encoded pictures in, calibrated answers and decisions out: what every task's model shares.

``classifier.py`` and ``detector.py`` build on it; ``predictor.py`` opens the one that a bundle is
for.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from pixloop.bundle import Manifest
from pixloop.decoding import RgbArray, Size
from pixloop.errors import ImageError
from pixloop.imaging import read_input
from pixloop.serving.engines import Engine, Outputs, PixelBatch, side_by_side, usable_cores

#: Pictures that one engine call computes at most: more is no faster on a CPU, and takes memory.
BATCH_SIZE = 16

#: What the graph says of one picture, and what is answered about it.
Reading = TypeVar("Reading")
Answer = TypeVar("Answer")


class Model(ABC, Generic[Reading, Answer]):
    """A bundle's model, ready to answer. Threads may share one.

    A task says how the graph's outputs are read, and how a reading becomes an answer.
    """

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        """Use ``predictor.open_predictor`` or ``predictor.make_predictor``."""
        self.manifest = manifest
        self._engine = engine
        self._acceptance = manifest.threshold.acceptance
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

    def predict(self, pictures: Sequence[bytes]) -> list[Answer]:
        """An answer for each picture.

        Raises:
            ImageError: a picture cannot be read; the message says which, counting from 0.
        """
        return self._decide(self._read_all(pictures))

    def predict_each(self, pictures: Iterable[bytes]) -> Iterator[Answer | ImageError]:
        """Predict a stream: a picture that cannot be read gives its error, and stops nothing."""
        for reading in self._read_each(pictures):
            yield reading if isinstance(reading, ImageError) else self._decide([reading])[0]

    def prepare(self, picture: bytes, pixels: RgbArray) -> Size | ImageError:
        """Decode a picture and write what the network sees of it to ``pixels``.

        Args:
            picture: as encoded.
            pixels: uint8 (size, size, 3), its place in a batch.

        Returns:
            The picture's size, or why it cannot be read.
        """
        try:
            _, size = read_input(picture, self.manifest.preprocessing, out=pixels)
        except ImageError as e:
            return e
        return size

    def answer(self, pixels: PixelBatch, sizes: Sequence[Size], *, alone: bool) -> list[Answer]:
        """An answer for each prepared picture.

        Args:
            pixels: uint8 (N, size, size, 3).
            sizes: of the pictures, as ``prepare`` gave them.
            alone: nothing else is to be computed meanwhile, so all cores may.

        Raises:
            ServingError: the graph does not answer as a graph of the task does.
        """
        engine = self._engine if alone else side_by_side(self._engine)
        return self._decide(self._read(engine(pixels), sizes))

    def warm_up(self) -> None:
        """Answer a blank picture both ways, so that the first request finds everything loaded."""
        side = self.manifest.preprocessing.image_size
        pixels = np.empty((1, side, side, 3), np.uint8)
        size = self.prepare(_blank_jpeg(), pixels[0])
        assert isinstance(size, Size)  # noqa: S101  (it is a good picture)
        for alone in (True, False):
            self.answer(pixels, [size], alone=alone)

    @abstractmethod
    def _read(self, outputs: Outputs, sizes: Sequence[Size]) -> Collection[Reading]:
        """What the graph says of each picture; ``sizes`` are those of the upright pictures.

        Raises:
            ServingError: the graph does not answer as a graph of the task does.
        """

    @abstractmethod
    def _decide(self, readings: Collection[Reading]) -> list[Answer]:
        """The answer for each picture."""

    def _read_all(self, pictures: Sequence[bytes]) -> list[Reading]:
        readings: list[Reading] = []
        for index, reading in enumerate(self._read_each(pictures)):
            if isinstance(reading, ImageError):
                raise type(reading)(f"picture {index}: {reading}") from reading
            readings.append(reading)
        return readings

    def _read_each(self, pictures: Iterable[bytes]) -> Iterator[Reading | ImageError]:
        stream = iter(pictures)
        side = self.manifest.preprocessing.image_size
        while batch := list(islice(stream, BATCH_SIZE)):
            pixels = np.empty((len(batch), side, side, 3), np.uint8)
            # A lone picture is not worth another thread.
            run = map if len(batch) == 1 else self._pool.map
            sizes = list(run(self.prepare, batch, pixels))
            readable = [i for i, size in enumerate(sizes) if isinstance(size, Size)]
            readings: Iterator[Reading] = iter(())
            if readable:
                outputs = self._engine(pixels[readable] if len(readable) < len(batch) else pixels)
                readings = iter(self._read(outputs, [sizes[i] for i in readable]))  # type: ignore[misc]
            for size in sizes:
                yield size if isinstance(size, ImageError) else next(readings)


def _blank_jpeg() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    return file.getvalue()
