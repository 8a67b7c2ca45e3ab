"""What is done to a picture: strengths of corruption, rotation, crop, compression, resolution.

What moves pixels moves the boxes too. Corruptions leave boxes where they are, as in the published
benchmark of detectors (Michaelis et al. 2019); some move a thing by a few pixels.
"""

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# albumentations asks the package index for a newer release when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812  (its documented short name)
import cv2
import numpy as np

from pixloop.data.corruptions import CORRUPTIONS, corrupt
from pixloop.data.dataset import Objects
from pixloop.decoding import RgbArray

Colour = tuple[int, int, int]

#: A box of which less remains in the picture is not looked for any more, as in training.
_MIN_VISIBILITY = 0.25
_MIN_SIDE_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture, and in detection what is in it."""

    pixels: RgbArray  #: uint8 RGB (H, W, 3)
    objects: Objects | None = None


@dataclass(frozen=True, slots=True)
class Alteration:
    """One thing that is done to pictures, at one strength."""

    kind: str  #: the corruption's name, or the curve's
    strength: float  #: a severity, or in the curve's unit
    apply: Callable[[Scene, int], Scene]  #: the same seed gives the same result


@dataclass(frozen=True, slots=True)
class Curve:
    """A kind of alteration, from slight to strong.

    Attributes:
        title: for people.
        label: a strength in words, for ``str.format``.
        strengths: the more of an effect, the later.
        transform: from a strength, the picture's height and width and what fills its outside (None
            mirrors it) to an albumentations transform.
    """

    title: str
    label: str
    strengths: tuple[float, ...]
    transform: Callable[[float, tuple[int, int], Colour | None], Any]


def corruptions(severities: Sequence[int]) -> list[Alteration]:
    """Every corruption of ImageNet-C at each of the severities."""
    return [
        Alteration(name, severity, _Corrupted(name, severity))
        for name in CORRUPTIONS
        for severity in severities
    ]


def curve_alterations(fill: Colour | None) -> list[Alteration]:
    """Every curve's strengths.

    Args:
        fill: red, green and blue of what comes in from outside of a turned picture; None mirrors
            the picture, which would show a detector things that no box is around.
    """
    return [
        Alteration(name, strength, _Curved(name, strength, fill))
        for name, curve in CURVES.items()
        for strength in curve.strengths
    ]


@dataclass(frozen=True, slots=True)
class _Corrupted:
    name: str
    severity: int

    def __call__(self, scene: Scene, seed: int) -> Scene:
        return Scene(corrupt(scene.pixels, self.name, self.severity, seed), scene.objects)


@dataclass(frozen=True, slots=True)
class _Curved:
    name: str
    strength: float
    fill: Colour | None

    def __call__(self, scene: Scene, seed: int) -> Scene:
        height, width = scene.pixels.shape[:2]
        own = int(np.random.default_rng([seed, zlib.crc32(self.name.encode())]).integers(2**32))
        # To either side, by chance; at every strength of a picture to the same one.
        strength = -self.strength if self.name == "rotation" and own % 2 else self.strength
        transform = CURVES[self.name].transform(strength, (height, width), self.fill)
        if scene.objects is None:
            return Scene(A.Compose([transform], seed=own)(image=scene.pixels)["image"])
        # With nothing that moves boxes, albumentations would warn.
        compose = A.Compose([transform, A.NoOp()], bbox_params=_box_rules(), seed=own)
        objects = scene.objects
        rows = np.column_stack([objects.boxes, objects.labels, objects.crowd])
        altered = compose(image=scene.pixels, bboxes=rows)
        kept = np.asarray(altered["bboxes"], np.float64).reshape(-1, 6)
        moved = Objects(kept[:, :4], kept[:, 4].astype(np.int64), kept[:, 5].astype(np.bool_))
        return Scene(altered["image"], moved)


def _box_rules() -> Any:
    return A.BboxParams(
        "pascal_voc",
        min_visibility=_MIN_VISIBILITY,
        min_width=_MIN_SIDE_PX,
        min_height=_MIN_SIDE_PX,
        clip=True,
        filter_invalid_bboxes=True,
    )


def _rotate(degrees: float, size: tuple[int, int], fill: Colour | None) -> Any:
    border: dict[str, Any] = {"border_mode": cv2.BORDER_REFLECT_101}
    if fill is not None:
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": fill}
    # The box around a turned box would be too large for most things that are in one.
    return A.Rotate(limit=(degrees, degrees), rotate_method="ellipse", p=1, **border)


def _crop(percent: float, size: tuple[int, int], fill: Colour | None) -> Any:
    height, width = (max(1, round(side * percent / 100)) for side in size)
    return A.RandomCrop(height, width, p=1)


def _compress(quality: float, size: tuple[int, int], fill: Colour | None) -> Any:
    return A.ImageCompression(quality_range=(int(quality), int(quality)), p=1)


def _coarsen(times: float, size: tuple[int, int], fill: Colour | None) -> Any:
    # At least one pixel has to remain.
    share = max(1 / times, 1 / min(size))
    scaling = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    return A.Downscale(scale_range=(share, share), interpolation_pair=scaling, p=1)


CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "rotation": Curve("Rotation", "{:g}°", (5, 10, 20, 30, 45, 60, 90), _rotate),
        "crop": Curve("Crop", "{:g} % of each side", (90, 80, 70, 60, 50), _crop),
        "compression": Curve("JPEG quality", "quality {:g}", (80, 50, 30, 20, 10, 5), _compress),
        "resolution": Curve("Resolution", "1/{:g} of each side", (1.5, 2, 3, 4, 6, 8), _coarsen),
    }
)
