"""What blurs are made of: kernels, and pixels that change places."""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]  #: shape (H, W, 3) or (H, W)
Plane = NDArray[np.float32]  #: shape (H, W)
Places = tuple[NDArray[np.int32], NDArray[np.int32]]  #: rows and columns, shape (H, W) each

# A streak shorter than a third of a pixel is none.
_SHORTEST_PX = 0.3
_FAINTEST = 1e-3


def filter_mirrored(pixels: Floats, kernel: Plane) -> Floats:
    """Filter with a kernel, whatever its sum; at its border the picture is mirrored."""
    weights = kernel / kernel.sum()
    return np.asarray(
        cv2.filter2D(pixels, -1, weights, borderType=cv2.BORDER_REFLECT_101), np.float32
    )


def soften(pixels: Floats, sigma: float) -> Floats:
    """A Gaussian blur of ``sigma`` pixels; 0 leaves the picture as it is."""
    # OpenCV takes 0 for a word that it should choose.
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), max(sigma, 1e-3)), np.float32)


def disk(radius: float, softness: float) -> Plane:
    """The kernel of a lens out of focus; a pixel at its edge counts as far as it is covered."""
    reach = int(np.ceil(radius)) + 1 + round(2 * softness)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    return soften(kernel, softness)


def streak(radius: float, sigma: float, angle: float) -> Plane:
    """The kernel of something that moved: half a bell along a line.

    Args:
        radius: the line has twice its length, in pixels.
        sigma: of the bell.
        angle: in degrees, 90 is down.
    """
    steps = np.arange(2 * int(np.ceil(max(radius, _SHORTEST_PX))) + 1)
    weights = np.exp(-0.5 * (steps / max(sigma, _SHORTEST_PX)) ** 2)
    steps, weights = steps[weights > _FAINTEST], weights[weights > _FAINTEST]
    reach = int(steps[-1]) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    x = reach + steps * np.cos(np.radians(angle))
    y = reach + steps * np.sin(np.radians(angle))
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    # Each step is shared among the four pixels around it.
    for dx, share_x in ((0, 1 - (x - left)), (1, x - left)):
        for dy, share_y in ((0, 1 - (y - top)), (1, y - top)):
            row, column = np.minimum(top + dy, 2 * reach), np.minimum(left + dx, 2 * reach)
            np.add.at(kernel, (row, column), weights * share_x * share_y)
    return kernel


def shake(size: tuple[int, int], shift: int, rounds: int, random: np.random.Generator) -> Places:
    """Where each pixel comes from after ``rounds`` of moving by up to ``shift`` pixels."""
    height, width = size
    rows, columns = np.indices(size, dtype=np.int32)
    from_rows, from_columns = rows, columns
    for _ in range(rounds):
        down, right = random.integers(-shift, shift + 1, (2, height, width), dtype=np.int32)
        places = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        from_rows, from_columns = from_rows[places], from_columns[places]
    return from_rows, from_columns


def zoom_mean(pixels: Floats, zooms: NDArray[np.float64]) -> Floats:
    """The mean of a picture and of what ever closer looks at its centre show."""
    height, width = pixels.shape[:2]
    total = pixels.copy()
    for zoom in zooms:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, float(zoom))
        total += cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return total / np.float32(len(zooms) + 1)


def waves(size: tuple[int, int], sigma: float, random: np.random.Generator) -> Plane:
    """Uniform noise between -1 and 1 under a Gaussian blur of ``sigma`` pixels."""
    height, width = size
    noise = random.random(size, dtype=np.float32) * 2 - 1
    # A wide blur sees only means of blocks, so that it need not see every pixel.
    factor = max(1, int(sigma / 4))
    small = (max(1, width // factor), max(1, height // factor))
    coarse = cv2.resize(noise, small, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(
        coarse, (0, 0), max(sigma / factor, 0.1), borderType=cv2.BORDER_REFLECT
    )
    wide = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)
