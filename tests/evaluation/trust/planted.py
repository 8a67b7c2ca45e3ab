"""A data set of coloured scenes with errors planted in it."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from tests.evaluation.trust.scenes import encoded, scene
from tests.small_bundles import COLOURS

from pixloop.data.dataset import Dataset, DatasetWriter, Row

#: A file name that would be markup, were it not escaped.
HOSTILE = "<script>alert('x')</script>\"&.jpg"
#: Rows whose labels are flipped.
WRONG = {"train": (3, 7, 11, 31), "test": (4, 8, 12, 16)}


def tinted(seed: int, label: int) -> Image.Image:
    """A scene whose colour tells its class."""
    colour = np.zeros(3)
    colour[label] = 255
    pixels = 0.45 * np.asarray(scene(seed), np.float64) + 0.5 * colour
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def row(picture: bytes, name: str, label: int) -> Row:
    return Row(picture, name, label, 96, 96, hashlib.sha256(picture).hexdigest())


def write_planted(folder: Path) -> Dataset:
    """60 training, 15 validation, 15 calibration and 30 test pictures.

    ``WRONG`` pictures have another label than they should; the last test
    picture is training picture 10 mirrored; the last training picture is 20, under another label.
    """
    writer = DatasetWriter(folder, COLOURS)
    seed = 0
    for split, count in (("train", 60), ("validation", 15), ("calibration", 15), ("test", 30)):
        wrong = WRONG.get(split, ())
        for i in range(count):
            label = i % 3
            image = tinted(seed + i, label)
            given = (label + 1) % 3 if i in wrong else label
            name = HOSTILE if split == "train" and i == 3 else f"{split}/{i}.jpg"
            if split == "test" and i == count - 1:
                image, given = tinted(10, 10 % 3).transpose(Image.Transpose.FLIP_LEFT_RIGHT), 1
            if split == "train" and i == count - 1:
                image, given = tinted(20, 20 % 3).transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0
            writer.add(split, row(encoded(image, 95), name, given))
        seed += count
    writer.finish()
    return Dataset.open(folder)
