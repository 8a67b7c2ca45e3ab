"""A map over its picture, for people to look at."""

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.decoding import RgbArray
from pixloop.evaluation.explanations.methods import Map
from pixloop.imaging import Preprocessing, frame_picture

#: Perceptually uniform, and told apart by colour-blind people too.
COLOURS = "viridis"

_GREYED = 0.75  #: of what does not speak, the share of its colour that is taken away
_DIMMED = 0.65  #: its brightness
_UNSEEN = 0.25  #: the brightness of what the model does not see at all
_STRONGEST = 99.5  #: the percentile of a map that is shown as its strongest
_OPACITY = 0.72  #: of the strongest

Floats = NDArray[np.float32]


def positive_share(values: Map) -> Map:
    """What speaks for the answer, from 0 to 1, the strongest; one pixel alone is not the strongest.

    Args:
        values: a map, (size, size).
    """
    positive = np.maximum(values, 0)
    strongest = float(np.percentile(positive, _STRONGEST)) or float(positive.max()) or 1.0
    return np.asarray(np.minimum(positive / strongest, 1), np.float32)


def spread_map(values: Map, width: int, height: int, preprocessing: Preprocessing) -> Floats:
    """A map of the model's input, back on the upright picture.

    Args:
        values: (size, size), over the input's pixels.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        preprocessing: how the picture became input: the part that a crop cuts off is NaN, and what
            a letterbox adds is cut off.

    Returns:
        (height, width).
    """
    (left, top, right, bottom), seen = frame_picture((0, 0, width, height), preprocessing)
    spread = np.full((height, width), np.nan, np.float32)
    x1, y1, x2, y2 = (round(edge) for edge in (left, top, right, bottom))
    size = (max(1, x2 - x1), max(1, y2 - y1))
    part = np.ascontiguousarray(values[: seen.height, : seen.width])
    spread[y1 : y1 + size[1], x1 : x1 + size[0]] = cv2.resize(
        part, size, interpolation=cv2.INTER_LINEAR
    )
    return spread


def draw_overlay(rgb: RgbArray, shares: Floats) -> RgbArray:
    """A picture on which what speaks is coloured, the stronger the brighter, and the rest dimmed.

    Args:
        rgb: the upright picture, (height, width, 3); it stays as it is.
        shares: (height, width), 0 to 1; NaN where the model sees nothing.
    """
    seen = np.isfinite(shares)[..., None]
    strength = np.nan_to_num(shares)[..., None]
    picture = rgb.astype(np.float32) / 255
    grey = picture.mean(axis=2, keepdims=True)
    dimmed = (picture + (grey - picture) * _GREYED) * np.where(seen, _DIMMED, _UNSEEN)
    colours = matplotlib.colormaps[COLOURS](strength[..., 0])[..., :3]
    opacity = _OPACITY * np.sqrt(strength)
    mixed = dimmed * (1 - opacity) + colours * opacity
    return np.asarray(np.clip(mixed * 255, 0, 255).round(), np.uint8)


def colour_bar(length: int = 96) -> RgbArray:
    """The colours from what hardly speaks to the strongest: (1, length, 3)."""
    colours = matplotlib.colormaps[COLOURS](np.linspace(0, 1, length))[None, :, :3]
    return np.asarray((colours * 255).round(), np.uint8)


def place_side_by_side(rgb: RgbArray, overlay: RgbArray, gap: int = 4) -> Image.Image:
    """A picture, and the same with its map, on white."""
    height, width = rgb.shape[:2]
    both = np.full((height, 2 * width + gap, 3), 255, np.uint8)
    both[:, :width], both[:, width + gap :] = rgb, overlay
    return Image.fromarray(both)
