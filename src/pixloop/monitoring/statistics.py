"""Simple statistics of a picture: how bright, how sharp, how large it is."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pixloop.decoding import RgbArray, decode_array, is_jpeg, open_image, upright_size

#: The short side that a JPEG keeps at least when it is decoded scaled down: what is lost then, a
#: network that sees a few hundred pixels does not see either.
_KEPT_PX = 512
#: Sharpness and noise are measured in the middle of the picture, at its own resolution.
_MIDDLE_PX = 384
#: Colours are measured on a picture of at most so many pixels along each side.
_SMALL_PX = 96
#: As printed in J. Immerkær, Fast noise variance estimation, 1996.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_LEAST = 1e-3
#: Noise is that of the quietest blocks, in which texture is not taken for it.
_BLOCK_PX, _QUIET_SHARE = 8, 0.05


def measure_picture(data: bytes) -> NDArray[np.float32]:
    """The values of ``signals.PICTURE_SIGNALS``, in their order; float32 (10,).

    Brightness (mean), contrast (standard deviation), saturation and the two colour differences are
    shares of the full range. Sharpness is the logarithm of how much of the detail (the mean size of
    the Laplacian) is of the finest kind (that of Immerkær's filter): what is in a picture changes
    it less than blur and compression do. Noise is the logarithm of its standard deviation after
    Immerkær, in grey values from 0 to 255, in the parts of the picture where least else is.

    Raises:
        ImageError: the picture cannot be read.
    """
    image = open_image(data)
    width, height = upright_size(image)
    rgb = decode_array(data, image, _shrink(width, height) if is_jpeg(image) else 1)
    pixels = width * height
    return np.array(
        [
            *_colours(rgb),
            *_details(rgb),
            len(data) / pixels,
            pixels / 1e6,
            width / height,
        ],
        np.float32,
    )


def _shrink(width: int, height: int) -> int:
    short = min(width, height)
    return next((s for s in (8, 4, 2) if short >= s * _KEPT_PX), 1)


def _colours(rgb: RgbArray) -> tuple[float, ...]:
    height, width = rgb.shape[:2]
    scale = min(1.0, _SMALL_PX / max(width, height))
    if scale < 1:
        target = max(1, round(width * scale)), max(1, round(height * scale))
        scaled = cv2.resize(rgb, target, interpolation=cv2.INTER_AREA)
        rgb = np.asarray(scaled, np.uint8).reshape(*target[::-1], 3)
    small = rgb.astype(np.float32) / 255
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    red, green, blue = (small[..., i] for i in range(3))
    highest = small.max(axis=2)
    saturation = (highest - small.min(axis=2)) / np.maximum(highest, 1 / 255)
    return (
        float(luma.mean()),
        float(luma.std()),
        float(saturation.mean()),
        float((red - green).mean()),
        float((blue - (red + green) / 2).mean()),
    )


def _details(rgb: RgbArray) -> tuple[float, float]:
    height, width = rgb.shape[:2]
    if min(height, width) < 3:
        return math.nan, math.nan
    top, left = max(0, height - _MIDDLE_PX) // 2, max(0, width - _MIDDLE_PX) // 2
    middle = np.ascontiguousarray(rgb[top : top + _MIDDLE_PX, left : left + _MIDDLE_PX])
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32)
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1])
    finest = np.abs(cv2.filter2D(grey, cv2.CV_32F, _NOISE_KERNEL)[1:-1, 1:-1])
    sharpness = float(finest.mean() + _LEAST) / float(laplacian.mean() + _LEAST)
    rows, columns = (max(1, side // _BLOCK_PX) for side in finest.shape)
    blocks = cv2.resize(finest, (columns, rows), interpolation=cv2.INTER_AREA)
    quiet = float(np.quantile(blocks, _QUIET_SHARE))
    noise = math.sqrt(math.pi / 2) / 6 * quiet
    return math.log(sharpness), math.log(noise + _LEAST)
