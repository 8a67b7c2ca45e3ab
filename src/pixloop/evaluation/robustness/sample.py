"""The test pictures that are made worse: some of every class, at the size that networks see."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.data.dataset import Split
from pixloop.decoding import RgbArray, decode_image
from pixloop.errors import DataError, ImageError
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.imaging import Preprocessing


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Test pictures, in the order of their indices, upright and shrunk."""

    indices: tuple[int, ...]  #: among the test pictures
    paths: tuple[str, ...]
    labels: tuple[int, ...]  #: of the data set's classes; -1 in detection
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def thinned(self, count: int) -> "Sample":
        """About ``count`` of them, at equal distances."""
        if count >= len(self):
            return self
        kept = [int(i) for i in np.linspace(0, len(self) - 1, count)]
        return Sample(
            tuple(self.indices[i] for i in kept),
            tuple(self.paths[i] for i in kept),
            tuple(self.labels[i] for i in kept),
            tuple(self.scenes[i] for i in kept),
        )


def draw_sample(
    split: Split, count: int, preprocessings: Sequence[Preprocessing], seed: int = 0
) -> Sample:
    """Draw pictures, as many of each class as there are, and read them.

    They are shrunk to the size at which the networks see them pixel by pixel (the published
    corruptions are applied to such, too), and never enlarged.

    Args:
        split: the test pictures.
        count: how many; fewer where there are not as many.
        preprocessings: of the models that are to be asked; the one that needs most decides.
        seed: the same one draws the same pictures.

    Raises:
        DataError: a picture cannot be read.
    """
    boxes = split.read(0).objects is not None
    classes = _rarest_class(split) if boxes else split.labels
    indices = spread_evenly(classes, count, seed)
    rows = [split.read(i) for i in indices]
    scenes = []
    for row in rows:
        try:
            pixels = decode_image(row.image)
        except ImageError as e:
            raise DataError(f"the picture {row.path} cannot be read: {e}") from e
        scenes.append(_shrink(Scene(pixels, row.objects), preprocessings))
    return Sample(
        tuple(indices),
        tuple(row.path for row in rows),
        tuple(row.label for row in rows),
        tuple(scenes),
    )


def spread_evenly(classes: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Indices of ``count`` entries, rising: by chance, each class as often as any other.

    >>> spread_evenly(np.array([0, 0, 0, 0, 1, 2]), 3, seed=0)[1:]
    [4, 5]
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    # The first of each class, by chance, then the second ...; of one round, in any order.
    turn = np.empty(len(classes), np.int64)
    for k in np.unique(classes):
        own = order[classes[order] == k]
        turn[own] = np.arange(len(own))
    chosen = order[np.argsort(turn[order], kind="stable")][:count]
    return sorted(chosen.tolist())


def _rarest_class(split: Split) -> NDArray[np.int64]:
    """Of each picture, the class in it that the fewest pictures show; -1 where nothing is."""
    shown = [np.unique(objects.labels[~objects.crowd]) for objects in split.objects]
    pictures = np.bincount(np.concatenate([np.zeros(0, np.int64), *shown]))
    return np.array([k[pictures[k].argmin()] if len(k) else -1 for k in shown], np.int64)


def _shrink(scene: Scene, preprocessings: Sequence[Preprocessing]) -> Scene:
    height, width = scene.pixels.shape[:2]
    share = max(_needed(height, width, each) for each in preprocessings)
    if share >= 1:
        return scene
    size = max(1, round(width * share)), max(1, round(height * share))
    pixels = np.asarray(cv2.resize(scene.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if scene.objects is None:
        return Scene(pixels)
    scale = np.array([size[0] / width, size[1] / height] * 2)
    return Scene(pixels, replace(scene.objects, boxes=scene.objects.boxes * scale))


def _needed(height: int, width: int, preprocessing: Preprocessing) -> float:
    """What sides are multiplied by so that the network sees a picture pixel by pixel."""
    side = preprocessing.image_size
    if preprocessing.resize == "crop":
        return side / (preprocessing.crop_share * min(height, width))
    if preprocessing.resize == "letterbox":
        return side / max(height, width)
    return side / min(height, width)


def encode(pixels: RgbArray) -> bytes:
    """Pixels as a file that a predictor reads, without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()
