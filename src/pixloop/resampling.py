"""A part of a picture, scaled: Pillow's antialiased filters, or OpenCV's mean over areas."""

from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from pixloop.decoding import RgbArray

#: bilinear and bicubic: Pillow's antialiased filters, as in timm and torchvision. area: each pixel
#: is the mean of those it covers; where a picture is enlarged, bilinear.
Interpolation = Literal["bilinear", "bicubic", "area"]
#: Left, top, right and bottom edge, in pixels.
Box = tuple[float, float, float, float]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resample(
    picture: Image.Image | RgbArray, box: Box, interpolation: Interpolation, out: RgbArray
) -> None:
    """Scale a part of a picture until it fills ``out``.

    Args:
        picture: RGB. An ``Image`` saves a conversion with Pillow's filters, an array with
            ``area``.
        box: the part, inside the picture and not empty; ``area`` takes the nearest whole pixels.
        interpolation: how.
        out: where to, shape (height, width, 3), ``uint8``; its rows need not be adjacent.
    """
    if interpolation == "area":
        _scale_by_area(_cut(np.asarray(picture), box), out)
        return
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    scaled = image.resize((out.shape[1], out.shape[0]), _FILTERS[interpolation], box=box)
    out[...] = np.asarray(scaled)


def _cut(rgb: RgbArray, box: Box) -> RgbArray:
    left, top, right, bottom = box
    rows = _whole_pixels(top, bottom, rgb.shape[0])
    return rgb[rows, _whole_pixels(left, right, rgb.shape[1])]


def _whole_pixels(start: float, end: float, length: int) -> slice:
    # Each edge by itself: none moves by more than half a pixel.
    first = min(round(start), length - 1)
    return slice(first, max(round(end), first + 1))


def _scale_by_area(rgb: RgbArray, out: RgbArray) -> None:
    cv2, (height, width) = _opencv(), out.shape[:2]
    # One side may be shrunk and the other enlarged, of which INTER_AREA does only the one well.
    smaller = min(rgb.shape[1], width), min(rgb.shape[0], height)
    if smaller == (width, height):
        cv2.resize(rgb, smaller, dst=out, interpolation=cv2.INTER_AREA)
        return
    shrunk = cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)
    # EXACT: in integers, the same on every processor.
    cv2.resize(shrunk, (width, height), dst=out, interpolation=cv2.INTER_LINEAR_EXACT)


@cache
def _opencv() -> ModuleType:
    # Imported where it is used: a server of a model that needs none starts without it.
    import cv2

    # For the whole process: pictures are scaled in as many threads as there are workers already,
    # and OpenCV's own would only take the cores from them.
    cv2.setNumThreads(1)
    return cv2
