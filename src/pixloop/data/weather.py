"""What snow, frost and fog are made of: drawn fields of any size, the same for the same seed."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  #: shape (H, W)

# Finer than this, a drawn field shows nothing more; larger ones are enlarged.
_LARGEST_PLASMA = 512
_LARGEST_FROST = 256
#: Of the crystals in a frosted pane, coarse to fine: how many across it, and how strong.
_CRYSTALS = ((3, 1.0), (6, 0.8), (12, 0.7), (24, 0.55), (48, 0.4))
_ICE = np.array([0.86, 0.96, 1.0], np.float32)


def plasma(size: tuple[int, int], decay: float, random: np.random.Generator) -> Plane:
    """Clouds: a plasma fractal between 0 and 1.

    The diamond-square algorithm (Fournier, Fussell and Carpenter 1982) on a torus: in each
    round the grid's spacing halves, new points are the mean of four neighbours plus a uniform
    deviation, and deviations shrink by the square of ``decay``, as in the publication's code, which
    multiplies them twice by their size. The larger that is, the softer the clouds.
    """
    height, width = size
    # A small grid would have too few rounds to have any clouds.
    side = 1 << int(np.ceil(np.log2(min(max(height, width, 32), _LARGEST_PLASMA))))
    field = np.zeros((1, 1), np.float32)
    deviation = 1.0
    while len(field) < side:
        field = _refine(field, deviation, random)
        deviation /= decay * decay
    field -= field.min()
    field /= max(float(field.max()), 1e-6)
    longest = max(height, width)
    if longest > side:
        field = np.asarray(cv2.resize(field, (longest, longest)), np.float32)
    return field[:height, :width]


def _refine(field: Plane, deviation: float, random: np.random.Generator) -> Plane:
    """A grid of twice the points each way: first the centres of squares, then those of diamonds."""
    n = len(field)
    fine = np.empty((2 * n, 2 * n), np.float32)

    def noise() -> Plane:
        drawn = 2 * random.random((n, n), dtype=np.float32) - 1
        return np.asarray(deviation * drawn, np.float32)

    below, right = np.roll(field, -1, 0), np.roll(field, -1, 1)
    centres = (field + below + right + np.roll(below, -1, 1)) / 4 + noise()
    fine[::2, ::2], fine[1::2, 1::2] = field, centres
    fine[::2, 1::2] = (field + right + centres + np.roll(centres, 1, 0)) / 4 + noise()
    fine[1::2, ::2] = (field + below + centres + np.roll(centres, 1, 1)) / 4 + noise()
    return fine


def snow_layer(
    size: tuple[int, int], mean: float, spread: float, zoom: float, random: np.random.Generator
) -> Plane:
    """Normal noise whose grains are ``zoom`` pixels wide: flakes, before the faint ones go."""
    height, width = size
    grains = (max(1, int(np.ceil(height / zoom))), max(1, int(np.ceil(width / zoom))))
    noise = random.standard_normal(grains, dtype=np.float32) * spread + mean
    return np.asarray(cv2.resize(noise, (width, height)), np.float32)


def frost_texture(size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """A frosted pane, float32 (H, W, 3) between 0 and 1.

    Ridged noise (Musgrave 1994): where smooth noise crosses zero there is a crest, and crests of
    several sizes, each bent by the coarser ones, look like crystals that grew together.
    """
    height, width = size
    scale = min(1.0, _LARGEST_FROST / max(height, width))
    h, w = max(8, round(height * scale)), max(8, round(width * scale))
    bend = [_smooth(h, w, 4, random) * (0.06 * max(h, w)) for _ in range(2)]
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    ice = np.zeros((h, w), np.float32)
    weight = np.ones((h, w), np.float32)
    for across, strength in _CRYSTALS:
        if across > max(h, w) / 2:
            break
        crest = (1 - np.minimum(np.abs(_smooth(h, w, across, random)), 1)) ** 3
        bent = cv2.remap(
            crest,
            columns + bend[0],
            rows + bend[1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        crest = np.asarray(bent, np.float32)
        ice += strength * crest * weight
        # Fine crystals sit on coarse ones.
        weight = np.asarray(0.35 + 0.65 * crest, np.float32)
    ice /= max(float(np.quantile(ice[::4, ::4], 0.97)), 1e-6)
    # As bright as the photographs of the publication are on average: 0.64 of white.
    pane = np.asarray(np.clip(0.42 + 0.76 * ice, 0, 1), np.float32)
    if (h, w) != (height, width):
        pane = np.asarray(cv2.resize(pane, (width, height)), np.float32)
    return pane[:, :, None] * _ICE


def _smooth(height: int, width: int, across: int, random: np.random.Generator) -> Plane:
    """Smooth noise of spread about 1, with ``across`` hills along the longer side."""
    longest = max(height, width)
    grid = (max(2, round(across * height / longest)), max(2, round(across * width / longest)))
    noise = random.standard_normal(grid, dtype=np.float32)
    wide = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide, np.float32)
