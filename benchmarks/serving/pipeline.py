"""What pixloop's server does with a picture, without HTTP. Knows no torch."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pixloop.bundle import Bundle
from pixloop.serving.classifier import Classifier
from pixloop.serving.engines import EngineSettings, PixelBatch, usable_cores
from pixloop.serving.model import Size
from pixloop.serving.predictor import open_predictor


class Pipeline:
    """A bundle's chosen graph behind pixloop's own preprocessing.

    Args:
        bundle: its folder.
        threads: that compute; without a number, one for each core.
        graph: another graph of the bundle than the chosen one, by name.
    """

    def __init__(self, bundle: Path, threads: int | None = None, graph: str | None = None) -> None:
        threads = threads or usable_cores()
        opened = open_predictor(Bundle.open(bundle), graph, EngineSettings(threads, threads))
        assert isinstance(opened, Classifier)
        self._classifier = opened
        self._side = opened.manifest.preprocessing.image_size
        opened.warm_up()

    def read(self, picture: bytes, pixels: PixelBatch) -> Size:
        """Decode a picture and write what the network sees to ``pixels``, uint8 (S, S, 3)."""
        size = self._classifier.prepare(picture, pixels)
        if isinstance(size, Exception):
            raise size
        return size

    def labels(self, pictures: Sequence[bytes], *, alone: bool) -> list[str]:
        """The top class of each picture.

        Args:
            pictures: encoded.
            alone: compute with all threads; else other threads call this at the same time.
        """
        pixels = np.empty((len(pictures), self._side, self._side, 3), np.uint8)
        sizes = [self.read(*pair) for pair in zip(pictures, pixels, strict=True)]
        return [a.label for a in self._classifier.answer(pixels, sizes, alone=alone)]


class FastestReading(Pipeline):
    """With the fastest preprocessing there is, which is not the one that the model learned with."""

    def read(self, picture: bytes, pixels: PixelBatch) -> Size:
        """As ``Pipeline.read``, by OpenCV: no antialiasing."""
        data = np.frombuffer(picture, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        height, width = image.shape[:2]
        side = int(min(height, width) * self._classifier.manifest.preprocessing.crop_share)
        top, left = (height - side) // 2, (width - side) // 2
        crop = image[top : top + side, left : left + side]
        cv2.resize(crop, (self._side, self._side), dst=pixels, interpolation=cv2.INTER_LINEAR)
        return Size(width, height)
