"""Where to cut a picture at random, without cutting what is in it."""

import numpy as np
from numpy.typing import NDArray

from pixloop.decoding import Size
from pixloop.imaging import Boxes

Part = tuple[int, int, int, int]  #: xyxy, in whole pixels

_CROP_AREA = (0.4, 1.0)  # share of the picture
_CROP_ASPECT = (3 / 4, 4 / 3)


def random_part(size: Size, seed: int) -> Part:
    """A random rectangle of a picture of a size, after Inception's crop (Szegedy et al. 2015)."""
    random = np.random.default_rng((seed, 1))
    width, height = size
    area = random.uniform(*_CROP_AREA) * height * width
    aspect = np.exp(random.uniform(*np.log(_CROP_ASPECT)))
    part_width = min(width, max(1, round(np.sqrt(area * aspect))))
    part_height = min(height, max(1, round(np.sqrt(area / aspect))))
    left = int(random.integers(width - part_width + 1))
    top = int(random.integers(height - part_height + 1))
    return left, top, left + part_width, top + part_height


def grow_around(part: Part, boxes: Boxes) -> Part:
    """The smallest rectangle around ``part`` that cuts no box: each is inside, or outside.

    >>> grow_around((0, 0, 10, 10), np.array([[8.0, 2.0, 14.5, 6.0], [20.0, 20.0, 30.0, 30.0]]))
    (0, 0, 15, 10)
    """
    while True:
        touched = boxes[touches(boxes, part)]
        low = np.floor(touched[:, :2]).min(axis=0, initial=np.inf).tolist()
        high = np.ceil(touched[:, 2:]).max(axis=0, initial=-np.inf).tolist()
        left, top = (int(min(edge, box)) for edge, box in zip(part[:2], low, strict=True))
        right, bottom = (int(max(edge, box)) for edge, box in zip(part[2:], high, strict=True))
        if (left, top, right, bottom) == part:
            return part
        part = left, top, right, bottom


def touches(boxes: Boxes, part: Part) -> NDArray[np.bool_]:
    """Which boxes, shape (M, 4), have something in common with the part."""
    left, top, right, bottom = part
    across = (boxes[:, 0] < right) & (boxes[:, 2] > left)
    return np.asarray(across & (boxes[:, 1] < bottom) & (boxes[:, 3] > top))
