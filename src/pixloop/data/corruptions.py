"""The 15 corruptions of ImageNet-C (Hendrycks and Dietterich 2019), for pictures of any size.

The published parameters are for pictures of 224 pixels. Here every length (a blur's radius, a
flake, a shift, the side of a pixelated block) grows and shrinks with the picture, so that a
severity means the same to the eye at any size. In smaller pictures noise and JPEG artefacts would
cover more of each thing, and are weakened about as much as in the paper's table for 32 pixels.
Frost is drawn, not pasted from photographs.
"""

import difflib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pixloop.data.blurs import disk, filter_mirrored, shake, soften, streak, waves, zoom_mean
from pixloop.data.weather import frost_texture, plasma, snow_layer
from pixloop.decoding import RgbArray
from pixloop.errors import DataError

Floats = NDArray[np.float32]  #: shape (H, W, 3), 0 to 1

SEVERITIES = (1, 2, 3, 4, 5)
_PUBLISHED_SIDE_PX = 224
#: What the published elastic lengths are multiples of.
_ELASTIC_SIDE_PX = 244


@dataclass(frozen=True, slots=True)
class _Scene:
    """A picture to corrupt.

    Attributes:
        pixels: float32 (H, W, 3), 0 to 1.
        length: what a published length is multiplied by to be one of this picture.
        random: draws from here.
    """

    pixels: Floats
    length: float
    random: np.random.Generator

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def fineness(self) -> float:
        """What noise is multiplied by: 1, in pictures smaller than the published ones less."""
        return float(min(1.0, self.length) ** 0.5)


def corrupt(pixels: RgbArray, name: str, severity: int, seed: int) -> RgbArray:
    """Corrupt a picture.

    Args:
        pixels: uint8 RGB (H, W, 3), of any size.
        name: one of ``CORRUPTIONS``.
        severity: 1 (slight) to 5 (hard to recognise).
        seed: the same one gives the same result; every severity of a corruption draws alike.

    Returns:
        uint8 RGB of the same shape.

    Raises:
        DataError: there is no such corruption or severity, or it is no RGB picture.
    """
    found = _TABLE.get(name)
    if found is None:
        near = difflib.get_close_matches(name, _TABLE, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_TABLE)}."
        raise DataError(f"there is no corruption {name!r}. {hint}")
    if severity not in SEVERITIES:
        raise DataError(f"the severity {severity} of {name} is none; there are 1 to 5.")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            f"{name} takes uint8 pixels of shape (height, width, 3), not {pixels.dtype} ones of "
            f"shape {pixels.shape}."
        )
    function, parameters = found
    scene = _Scene(
        pixels.astype(np.float32) * np.float32(1 / 255),
        min(pixels.shape[:2]) / _PUBLISHED_SIDE_PX,
        np.random.default_rng([seed, zlib.crc32(name.encode())]),
    )
    return _to_uint8(function(scene, parameters[severity - 1]))


def _to_uint8(pixels: Floats) -> RgbArray:
    # Adding a half and cutting rounds; three times as fast as rint.
    levels: RgbArray = np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)
    return levels


# ---- noise ----------------------------------------------------------------------------------


def _gaussian_noise(scene: _Scene, spread: float) -> Floats:
    noise = scene.random.standard_normal(scene.pixels.shape, dtype=np.float32)
    return scene.pixels + noise * np.float32(spread * scene.fineness)


def _shot_noise(scene: _Scene, photons: float) -> Floats:
    photons /= scene.fineness**2
    return (scene.random.poisson(scene.pixels * photons) / photons).astype(np.float32)


def _impulse_noise(scene: _Scene, amount: float) -> Floats:
    amount *= scene.fineness
    drawn = scene.random.random(scene.pixels.shape, dtype=np.float32)
    noisy = np.where(drawn < amount / 2, np.float32(0), scene.pixels)
    return np.where(drawn > 1 - amount / 2, np.float32(1), noisy)


# ---- blur -----------------------------------------------------------------------------------


def _defocus_blur(scene: _Scene, parameters: tuple[float, float]) -> Floats:
    radius, softness = parameters
    # A disk within one pixel blurs nothing; the table for 32 pixels softens its edge instead.
    kernel = disk(radius * scene.length, max(softness, 0.4 * (1 - scene.length)))
    return filter_mirrored(scene.pixels, kernel)


def _glass_blur(scene: _Scene, parameters: tuple[float, int, int]) -> Floats:
    sigma, shift, rounds = parameters
    places = shake(scene.size, max(1, round(shift * scene.length)), rounds, scene.random)
    sigma *= scene.length
    return soften(soften(scene.pixels, sigma)[places], sigma)


def _motion_blur(scene: _Scene, parameters: tuple[float, float]) -> Floats:
    radius, sigma = parameters
    angle = scene.random.uniform(-45, 45)
    return filter_mirrored(scene.pixels, streak(radius * scene.length, sigma * scene.length, angle))


def _zoom_blur(scene: _Scene, parameters: tuple[float, float]) -> Floats:
    largest, step = parameters
    return zoom_mean(scene.pixels, np.arange(1, largest, step))


# ---- weather --------------------------------------------------------------------------------


def _snow(scene: _Scene, parameters: tuple[float, ...]) -> Floats:
    mean, spread, zoom, faint, radius, sigma, kept = parameters
    # Flakes have at least a pixel; smaller ones would only be noise.
    layer = snow_layer(scene.size, mean, spread, max(1.0, zoom * scene.length), scene.random)
    layer = np.where(layer < faint, np.float32(0), np.minimum(layer, np.float32(1)))
    angle = scene.random.uniform(-135, -45)
    layer = filter_mirrored(layer, streak(radius * scene.length, sigma * scene.length, angle))
    grey = np.asarray(cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2GRAY), np.float32)[:, :, None]
    pale = kept * scene.pixels + (1 - kept) * np.maximum(scene.pixels, grey * 1.5 + 0.5)
    return np.asarray(pale + (layer + layer[::-1, ::-1])[:, :, None], np.float32)


def _frost(scene: _Scene, parameters: tuple[float, float]) -> Floats:
    kept, frost = parameters
    pane = frost_texture(scene.size, scene.random)
    return np.asarray(kept * scene.pixels + frost * pane, np.float32)


def _fog(scene: _Scene, parameters: tuple[float, float]) -> Floats:
    density, decay = parameters
    brightest = float(scene.pixels.max())
    clouds = plasma(scene.size, decay, scene.random)[:, :, None]
    foggy = scene.pixels + np.float32(density) * clouds
    return foggy * np.float32(brightest / (brightest + density))


def _brightness(scene: _Scene, more: float) -> Floats:
    hsv = np.asarray(cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2HSV), np.float32)
    hsv[:, :, 2] = np.minimum(hsv[:, :, 2] + np.float32(more), 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)


# ---- digital --------------------------------------------------------------------------------


def _contrast(scene: _Scene, kept: float) -> Floats:
    mean = scene.pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray((scene.pixels - mean) * kept + mean, np.float32)


def _elastic_transform(scene: _Scene, parameters: tuple[float, float, float]) -> Floats:
    alpha, sigma, jitter = (p * _ELASTIC_SIDE_PX * scene.length for p in parameters)
    height, width = scene.size
    centre, reach = np.array([width, height], np.float32) / 2, min(height, width) / 3
    corners = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    moved = corners + scene.random.uniform(-jitter, jitter, (3, 2)).astype(np.float32)
    skewed = cv2.warpAffine(
        scene.pixels,
        cv2.getAffineTransform(corners, moved),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    rows, columns = np.indices((height, width), dtype=np.float32)
    # The noise is blurred by as many pixels as the waves are long, which weakens it: in a picture
    # of another size its strength has to grow as the square of the length.
    strength = alpha * max(scene.length, 1e-6)
    x, y = (waves(scene.size, sigma, scene.random) * strength for _ in range(2))
    wavy = cv2.remap(skewed, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(wavy, np.float32)


def _pixelate(scene: _Scene, share: float) -> Floats:
    block = 1 + (1 / share - 1) * scene.length
    height, width = scene.size
    small = (max(1, int(width / block)), max(1, int(height / block)))
    coarse = cv2.resize(scene.pixels, small, interpolation=cv2.INTER_AREA)
    blocky = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(blocky, np.float32)


def _jpeg_compression(scene: _Scene, quality: int) -> Floats:
    # What coefficients are rounded to, by libjpeg's rule; 100 is a table of its own.
    step = 5000 / quality * min(1.0, scene.length) ** 0.8
    quality = round(5000 / step if step > 100 else (200 - step) / 2)
    bgr = cv2.cvtColor(_to_uint8(scene.pixels), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32)
    return decoded[:, :, ::-1] * np.float32(1 / 255)


#: Each corruption, and its published parameters from severity 1 to 5.
_TABLE: Mapping[str, tuple[Callable[[_Scene, Any], Floats], tuple[Any, ...]]] = MappingProxyType(
    {
        "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
        "shot_noise": (_shot_noise, (60, 25, 12, 5, 3)),
        "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
        "defocus_blur": (_defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
        "glass_blur": (
            _glass_blur,
            ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ),
        "motion_blur": (_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
        "zoom_blur": (
            _zoom_blur,
            ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ),
        "snow": (
            _snow,
            (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        "frost": (_frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
        "fog": (_fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
        "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
        "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
        "elastic_transform": (
            _elastic_transform,
            (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            ),
        ),
        "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
        "jpeg_compression": (_jpeg_compression, (25, 18, 15, 10, 7)),
    }
)
CORRUPTIONS: tuple[str, ...] = tuple(_TABLE)
