"""Augmentations by name: what is done to training pictures so that they look like the real world.

Another augmentation is one more entry in ``AUGMENTATIONS``. Of a picture with boxes, what moves
pixels moves the boxes too.
"""

import difflib
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

# albumentations asks the package index for a newer release when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812  (its documented short name)
import cv2
import numpy as np
from numpy.typing import NDArray

from pixloop.data.crops import Part, grow_around, random_part, touches
from pixloop.data.shards import Labels, Objects
from pixloop.decoding import RgbArray, Size
from pixloop.errors import ConfigError
from pixloop.imaging import (
    Boxes,
    Preprocessing,
    fit_boxes,
    fitted_size,
    mean_colour,
    pad_image,
    read_input,
)

# Pictures are small here: OpenCV's threads cost more than they bring, and do not survive the fork
# of a data loader's workers.
cv2.setNumThreads(0)

# A box of which less remains in the picture is not looked for any more.
_MIN_VISIBILITY = 0.25
_MIN_SIDE_PX = 1.0

_NOISE_STARTS = 2**20


@dataclass(frozen=True, slots=True)
class Canvas:
    """What augmentations work on.

    Attributes:
        size: the input's side in pixels.
        border: albumentations' arguments for what comes in from outside the picture.
        boxes: whether there are boxes, which are to move too.
    """

    size: int
    border: Mapping[str, Any]
    boxes: bool = False


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One entry of ``AUGMENTATIONS``.

    Attributes:
        description: what it does, in a line.
        transforms: from the canvas to albumentations transforms.
        crops: whether the picture is cut at random before it is resized.
    """

    description: str
    transforms: Callable[[Canvas], Sequence[Any]]
    crops: bool = False


def _flip(canvas: Canvas) -> list[Any]:
    return [A.HorizontalFlip(p=0.5)]


def _vflip(canvas: Canvas) -> list[Any]:
    return [A.VerticalFlip(p=0.5)]


def _rotate(canvas: Canvas) -> list[Any]:
    # The box around a turned box would be too large for most things that are in one.
    return [A.Rotate(limit=15, rotate_method="ellipse", p=0.7, **canvas.border)]


def _shift(canvas: Canvas) -> list[Any]:
    # A detector must know things in more sizes.
    scale = (0.8, 1.25) if canvas.boxes else (0.9, 1.1)
    return [
        A.Affine(
            translate_percent=(-0.08, 0.08),
            scale=scale,
            keep_ratio=canvas.boxes,
            p=0.7,
            **canvas.border,
        )
    ]


def _perspective(canvas: Canvas) -> list[Any]:
    return [A.Perspective(scale=(0.02, 0.08), p=0.5, **canvas.border)]


def _crop(canvas: Canvas) -> list[Any]:
    return []


def _color(canvas: Canvas) -> list[Any]:
    return [
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.5),
    ]


def _brightness(canvas: Canvas) -> list[Any]:
    return [A.RandomBrightnessContrast(brightness_limit=0.35, contrast_limit=0.35, p=0.7)]


def _grayscale(canvas: Canvas) -> list[Any]:
    return [A.ToGray(p=0.15)]


@cache
def _normal_table(values: int) -> NDArray[np.int8]:
    """So many values of a normal distribution, 32 to a standard deviation, cut at four of them."""
    normal = np.random.default_rng(0).standard_normal(values, np.float32)
    return np.clip(np.rint(normal * 32), -127, 127).astype(np.int8)


class _Noise(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types here
    """Gaussian noise out of a table, from any place: a tenth of the time of drawing it anew."""

    def __init__(self, std_range: tuple[float, float], p: float) -> None:
        """``std_range``: in levels of 0 to 255."""
        super().__init__(p=p)
        self.std_range = std_range

    def get_params(self) -> dict[str, Any]:
        return {"std": self.py_random.uniform(*self.std_range), "start": self.py_random.random()}

    def apply(self, img: RgbArray, std: float, start: float, **params: Any) -> RgbArray:
        first = int(start * _NOISE_STARTS)
        normal = _normal_table(img.size + _NOISE_STARTS)[first : first + img.size]
        noise = (normal * np.int16(round(std * 8)) + np.int16(128)) >> 8
        noisy: Any = cv2.add(img.reshape(-1), noise, dtype=cv2.CV_8U)
        return np.asarray(noisy, np.uint8).reshape(img.shape)


def _noise(canvas: Canvas) -> list[Any]:
    return [_Noise(std_range=(5.0, 20.0), p=0.3)]


def _blur(canvas: Canvas) -> list[Any]:
    # The kernel grows with the picture: three pixels are much of a digit and little of a photo.
    largest = max(3, canvas.size // 40 * 2 + 1)
    return [
        A.OneOf(
            [A.GaussianBlur(blur_limit=(3, largest)), A.MotionBlur(blur_limit=(3, largest))], p=0.2
        )
    ]


def _compression(canvas: Canvas) -> list[Any]:
    return [A.ImageCompression(quality_range=(30, 90), p=0.3)]


class _CoverUp(A.CoarseDropout):  # type: ignore[misc]  # albumentations has no types here
    """Leaves boxes as they are: what is covered is there all the same."""

    def apply_to_bboxes(self, bboxes: Boxes, **params: Any) -> Boxes:
        return bboxes


def _occlusion(canvas: Canvas) -> list[Any]:
    return [
        _CoverUp(
            num_holes_range=(1, 3),
            hole_height_range=(0.08, 0.25),
            hole_width_range=(0.08, 0.25),
            fill="random_uniform",
            p=0.4,
        )
    ]


def _fog(canvas: Canvas) -> list[Any]:
    # Pale and flat. A drawn fog (albumentations' RandomFog) is fifty times slower.
    return [
        A.RandomBrightnessContrast(brightness_limit=(0.1, 0.3), contrast_limit=(-0.6, -0.3), p=0.15)
    ]


def _shadow(canvas: Canvas) -> list[Any]:
    return [A.RandomShadow(shadow_roi=(0, 0, 1, 1), num_shadows_limit=(1, 2), p=0.3)]


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "flip": Augmentation("mirror left and right", _flip),
        "vflip": Augmentation("mirror top and bottom", _vflip),
        "rotate": Augmentation("turn by up to 15 degrees", _rotate),
        "shift": Augmentation("move and scale by up to a tenth (boxes: a quarter)", _shift),
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
    """Turns an encoded picture into one augmented picture of the size the network sees."""

    def __init__(self, names: Iterable[str], preprocessing: Preprocessing) -> None:
        """Prepare the augmentations ``names``, which are applied in their given order.

        Raises:
            ConfigError: there is no augmentation of a name; the message has the nearest.
        """
        chosen = [_find(name) for name in names]
        canvas = Canvas(preprocessing.image_size, {"border_mode": cv2.BORDER_REFLECT_101})
        self._crops = any(augmentation.crops for augmentation in chosen)
        self._compose = A.Compose([t for a in chosen for t in a.transforms(canvas)])
        self._preprocessing = preprocessing
        self._squash = preprocessing.model_copy(update={"resize": "squash"})

    def __call__(self, data: bytes, seed: int) -> RgbArray:
        """Augment one picture.

        Args:
            data: the encoded picture.
            seed: 0 ≤ seed < 2³²; the same seed gives the same result in any process.

        Returns:
            Shape (size, size, 3), ``uint8``. Where no augmentation happens to apply, it is what
            ``imaging.read_input`` gives.

        Raises:
            ImageError: the picture cannot be read.
        """
        if self._crops:
            # Cutting comes before resizing, so that nothing is enlarged that was just shrunk.
            small, _ = read_input(data, self._squash, part=lambda size: random_part(size, seed))
        else:
            small, _ = read_input(data, self._preprocessing)
        _seed(self._compose, seed)
        augmented: RgbArray = self._compose(image=small)["image"]
        return augmented


class BoxAugmenter:
    """Turns an encoded picture and its boxes into an augmented pair of the network's size."""

    def __init__(self, names: Iterable[str], preprocessing: Preprocessing) -> None:
        """Prepare the augmentations ``names``, which are applied in their given order.

        Raises:
            ConfigError: there is no augmentation of a name; the message has the nearest.
        """
        chosen = [_find(name) for name in names]
        # A mirrored border would show things that no box is around.
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": mean_colour(preprocessing)}
        canvas = Canvas(preprocessing.image_size, border, boxes=True)
        self._crops = any(augmentation.crops for augmentation in chosen)
        self._preprocessing = preprocessing
        self._compose = A.Compose(
            # With nothing that moves boxes, albumentations would warn.
            [*(t for a in chosen for t in a.transforms(canvas)), A.NoOp()],
            bbox_params=A.BboxParams(
                "pascal_voc",
                min_visibility=_MIN_VISIBILITY,
                min_width=_MIN_SIDE_PX,
                min_height=_MIN_SIDE_PX,
                clip=True,
                filter_invalid_bboxes=True,
            ),
        )

    def __call__(
        self, data: bytes, objects: Objects, seed: int
    ) -> tuple[RgbArray, NDArray[np.float32], Labels]:
        """Augment one picture and its boxes.

        Args:
            data: the encoded picture.
            objects: what is in it. Crowds are dropped.
            seed: 0 ≤ seed < 2³²; the same seed gives the same result in any process.

        Returns:
            The picture, shape (size, size, 3), ``uint8``; boxes, shape (M, 4), ``float32``, xyxy
            in its pixels, x1 < x2, y1 < y2; labels, shape (M,). Boxes of which less than a
            quarter remains are gone. Where no augmentation happens to apply, the picture is what
            ``imaging.read_input`` gives.

        Raises:
            ImageError: the picture cannot be read.
        """
        boxes, labels = objects.boxes[~objects.crowd], objects.labels[~objects.crowd]

        def seen(size: Size) -> Part:
            if not self._crops:
                return 0, 0, size.width, size.height
            return grow_around(random_part(size, seed), boxes)

        pixels, size = read_input(data, self._preprocessing, part=seen)
        part = left, top, right, bottom = seen(size)
        inside = touches(boxes, part)
        boxes, labels = boxes[inside] - [left, top, left, top], labels[inside]
        # The filling of a letterbox comes last, so that it is where the server has it.
        width, height = fitted_size(right - left, bottom - top, self._preprocessing)
        fitted = np.ascontiguousarray(pixels[:height, :width])
        boxes = fit_boxes(boxes, right - left, bottom - top, self._preprocessing)
        _seed(self._compose, seed)
        augmented = self._compose(image=fitted, bboxes=np.column_stack([boxes, labels]))
        kept = np.asarray(augmented["bboxes"], np.float64).reshape(-1, 5)
        padded = pad_image(augmented["image"], self._preprocessing)
        return padded, kept[:, :4].astype(np.float32), kept[:, 4].astype(np.int64)


def _seed(compose: Any, seed: int) -> None:
    """One source of chance for all transforms: each with the same seed of its own would draw alike.

    What happens in half of the cases would then always happen with whatever else does.
    """
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311


def _find(name: str) -> Augmentation:
    try:
        return AUGMENTATIONS[name]
    except KeyError:
        near = difflib.get_close_matches(name, AUGMENTATIONS, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(AUGMENTATIONS)}."
        raise ConfigError(
            f"training.augmentations: there is no augmentation {name!r}. {hint}"
        ) from None
