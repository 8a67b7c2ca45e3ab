"""Augmentations by name: what is done to training pictures so that they look like the real world.

Another augmentation is one more entry in ``AUGMENTATIONS``.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# albumentations asks the package index for a newer release when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812  (its documented short name)
import cv2
import numpy as np

from pixloop.errors import ConfigError
from pixloop.imaging import Preprocessing, RgbArray, resize_image

# Pictures are small here: OpenCV's threads cost more than they bring, and do not survive the fork
# of a data loader's workers.
cv2.setNumThreads(0)

_REFLECT = cv2.BORDER_REFLECT_101
_CROP_AREA = (0.4, 1.0)  # share of the picture
_CROP_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One entry of ``AUGMENTATIONS``.

    Attributes:
        description: what it does, in a line.
        transforms: from the input's side in pixels to albumentations transforms.
        crops: whether the picture is cut at random before it is resized.
    """

    description: str
    transforms: Callable[[int], Sequence[Any]]
    crops: bool = False


def _flip(size: int) -> list[Any]:
    return [A.HorizontalFlip(p=0.5)]


def _vflip(size: int) -> list[Any]:
    return [A.VerticalFlip(p=0.5)]


def _rotate(size: int) -> list[Any]:
    return [A.Rotate(limit=15, border_mode=_REFLECT, p=0.7)]


def _shift(size: int) -> list[Any]:
    return [
        A.Affine(translate_percent=(-0.08, 0.08), scale=(0.9, 1.1), border_mode=_REFLECT, p=0.7)
    ]


def _perspective(size: int) -> list[Any]:
    return [A.Perspective(scale=(0.02, 0.08), border_mode=_REFLECT, p=0.5)]


def _crop(size: int) -> list[Any]:
    return []


def _color(size: int) -> list[Any]:
    return [
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.5),
    ]


def _brightness(size: int) -> list[Any]:
    return [A.RandomBrightnessContrast(brightness_limit=0.35, contrast_limit=0.35, p=0.7)]


def _grayscale(size: int) -> list[Any]:
    return [A.ToGray(p=0.15)]


def _noise(size: int) -> list[Any]:
    # One noise field a picture would be three times the work for no visible difference.
    return [A.GaussNoise(std_range=(0.02, 0.08), p=0.3)]


def _blur(size: int) -> list[Any]:
    # The kernel grows with the picture: three pixels are much of a digit and little of a photo.
    largest = max(3, size // 40 * 2 + 1)
    return [
        A.OneOf(
            [A.GaussianBlur(blur_limit=(3, largest)), A.MotionBlur(blur_limit=(3, largest))], p=0.2
        )
    ]


def _compression(size: int) -> list[Any]:
    return [A.ImageCompression(quality_range=(30, 90), p=0.3)]


def _occlusion(size: int) -> list[Any]:
    return [
        A.CoarseDropout(
            num_holes_range=(1, 3),
            hole_height_range=(0.08, 0.25),
            hole_width_range=(0.08, 0.25),
            fill="random_uniform",
            p=0.4,
        )
    ]


def _fog(size: int) -> list[Any]:
    # Pale and flat. A drawn fog (albumentations' RandomFog) is fifty times slower.
    return [
        A.RandomBrightnessContrast(brightness_limit=(0.1, 0.3), contrast_limit=(-0.6, -0.3), p=0.15)
    ]


def _shadow(size: int) -> list[Any]:
    return [A.RandomShadow(shadow_roi=(0, 0, 1, 1), num_shadows_limit=(1, 2), p=0.3)]


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "flip": Augmentation("mirror left and right", _flip),
        "vflip": Augmentation("mirror top and bottom", _vflip),
        "rotate": Augmentation("turn by up to 15 degrees", _rotate),
        "shift": Augmentation("move and scale by up to a tenth", _shift),
        "perspective": Augmentation("look from a slightly different angle", _perspective),
        "crop": Augmentation("take a random part of the whole picture", _crop, crops=True),
        "color": Augmentation("vary brightness, contrast, hue and saturation a little", _color),
        "brightness": Augmentation("vary brightness and contrast strongly", _brightness),
        "grayscale": Augmentation("take the colours away from some pictures", _grayscale),
        "noise": Augmentation("add a sensor's noise", _noise),
        "blur": Augmentation("out of focus, or moving", _blur),
        "compression": Augmentation("JPEG artefacts", _compression),
        "occlusion": Augmentation("cover up to three small rectangles", _occlusion),
        "fog": Augmentation("pale and flat, as in fog", _fog),
        "shadow": Augmentation("cast shadows on it", _shadow),
    }
)


class Augmenter:
    """Turns an upright picture into one augmented picture of the size the network sees."""

    def __init__(self, names: Iterable[str], preprocessing: Preprocessing) -> None:
        """Prepare the augmentations ``names``, which are applied in their given order.

        Raises:
            ConfigError: there is no augmentation of a name; the message has the nearest.
        """
        chosen = [_find(name) for name in names]
        size = preprocessing.image_size
        self._crops = any(augmentation.crops for augmentation in chosen)
        self._compose = A.Compose([t for a in chosen for t in a.transforms(size)])
        self._resize = preprocessing
        self._squash = preprocessing.model_copy(update={"resize": "squash"})

    def __call__(self, rgb: RgbArray, seed: int) -> RgbArray:
        """Augment one picture.

        Args:
            rgb: shape (height, width, 3), ``uint8``.
            seed: 0 ≤ seed < 2³²; the same seed gives the same result in any process.

        Returns:
            Shape (size, size, 3), ``uint8``. Where no augmentation happens to apply, it is what
            ``imaging.resize_image`` gives.
        """
        if self._crops:
            # Cutting comes before resizing, so that nothing is enlarged that was just shrunk.
            small = resize_image(_random_part(rgb, seed), self._squash)
        else:
            small = resize_image(rgb, self._resize)
        self._compose.set_random_seed(seed)
        augmented: RgbArray = self._compose(image=small)["image"]
        return augmented


def _find(name: str) -> Augmentation:
    try:
        return AUGMENTATIONS[name]
    except KeyError:
        near = difflib.get_close_matches(name, AUGMENTATIONS, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(AUGMENTATIONS)}."
        raise ConfigError(
            f"training.augmentations: there is no augmentation {name!r}. {hint}"
        ) from None


def _random_part(rgb: RgbArray, seed: int) -> RgbArray:
    """A random rectangle of the picture, after Inception's crop (Szegedy et al. 2015)."""
    random = np.random.default_rng((seed, 1))
    height, width = rgb.shape[:2]
    area = random.uniform(*_CROP_AREA) * height * width
    aspect = np.exp(random.uniform(*np.log(_CROP_ASPECT)))
    part_width = min(width, max(1, round(np.sqrt(area * aspect))))
    part_height = min(height, max(1, round(np.sqrt(area / aspect))))
    left = int(random.integers(width - part_width + 1))
    top = int(random.integers(height - part_height + 1))
    return rgb[top : top + part_height, left : left + part_width]
