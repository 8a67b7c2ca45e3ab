"""Pictures that need no network: handwritten digits of a dependency, and drawn shapes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pixloop.data.formats import write_samples
from pixloop.decoding import RgbArray
from pixloop.records import Box, Sample, Xyxy

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEST_SHARE = 0.2


def write_digits(folder: Path) -> None:
    """Write scikit-learn's 1,797 handwritten digits as ``train`` and ``test`` class folders.

    8×8 grayscale PNGs (Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI).
    A fifth of each class is for the test, always the same.
    """
    # scikit-learn takes seconds to import, and every command knows this file.
    from sklearn.model_selection import train_test_split

    digits = read_digits()
    labels = [DIGITS.index(label) for _, label in digits]
    numbers = np.arange(len(digits))
    _, test = train_test_split(numbers, test_size=_TEST_SHARE, stratify=labels, random_state=0)
    held_out = frozenset(test.tolist())
    for number, (pixels, label) in enumerate(digits):
        split = "test" if number in held_out else "train"
        target = folder / split / label / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)


def read_digits() -> list[tuple[NDArray[np.uint8], str]]:
    """The pixels, 8×8, and the class of each of scikit-learn's handwritten digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return [(each, DIGITS[target]) for each, target in zip(pixels, digits.target, strict=True)]


SHAPES = ("circle", "square", "triangle", "star")
_SHAPES_SIDE_PX = 128
_RADIUS_PX = (12.0, 30.0)
_MOST_SHAPES = 6
_MOST_TRIES = 40  # to find gaps for them
_EMPTY_SHARE = 0.05
_SMOOTH = 4  # drawn this many times larger, then shrunk, so that edges are smooth


class Shape(NamedTuple):
    """A drawn shape."""

    kind: str  #: one of SHAPES
    xyxy: Xyxy  #: its exact edges


def write_shapes(folder: Path) -> None:
    """Write drawn shapes with their exact boxes, in COCO's format: 600 to train, 150 to test."""
    samples: list[Sample] = []
    for split, count, seed in (("train", 600, 0), ("test", 150, 1)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number, (rgb, shapes) in enumerate(draw_shapes(count, seed)):
            path = folder / split / f"{number:04d}.jpg"
            Image.fromarray(rgb).save(path, quality=95)
            boxes = tuple(Box(shape.kind, shape.xyxy) for shape in shapes)
            size = (rgb.shape[1], rgb.shape[0])
            samples.append(Sample(path, None, split, path.name, boxes, size))
    write_samples(samples, folder, "coco")


def draw_shapes(count: int, seed: int) -> Iterator[tuple[RgbArray, list[Shape]]]:
    """Pictures, uint8 (128, 128, 3), of up to six shapes each on a soft background with noise.

    Shapes differ in size, colour and rotation and overlap at most a little; one picture in twenty
    has none. The same seed gives the same pictures.
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield _draw_picture(random)


def _draw_picture(random: np.random.Generator) -> tuple[RgbArray, list[Shape]]:
    side = _SHAPES_SIDE_PX
    background = _soft_noise(random, side)
    image = Image.fromarray(background).resize((side * _SMOOTH, side * _SMOOTH))
    draw = ImageDraw.Draw(image)
    shapes: list[Shape] = []
    wanted = 0 if random.random() < _EMPTY_SHARE else int(random.integers(1, _MOST_SHAPES + 1))
    for _ in range(_MOST_TRIES):
        if len(shapes) == wanted:
            break
        kind = SHAPES[random.integers(len(SHAPES))]
        radius = random.uniform(*_RADIUS_PX)
        centre = random.uniform(radius, side - radius, 2)
        points = _outline(kind, radius, random.uniform(0, 2 * np.pi)) + centre
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        new = Shape(kind, (left, top, right, bottom))
        if any(_overlap(new.xyxy, other.xyxy) > 0.1 for other in shapes):
            continue
        around = background[round(centre[1]), round(centre[0])].astype(int)
        corners = [(x * _SMOOTH, y * _SMOOTH) for x, y in points.tolist()]
        draw.polygon(corners, fill=_contrasting(random, around))
        shapes.append(new)
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BOX), np.int16)
    noisy = pixels + random.normal(0, 6, pixels.shape).round().astype(np.int16)
    return noisy.clip(0, 255).astype(np.uint8), shapes


def _outline(kind: str, radius: float, turned: float) -> NDArray[np.float64]:
    """The corners of a shape around (0, 0), shape (N, 2)."""
    corners = {"circle": 90, "square": 4, "triangle": 3, "star": 10}[kind]
    angles = turned + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = np.full(corners, radius)
    if kind == "star":
        radii[1::2] *= 0.45
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def _soft_noise(random: np.random.Generator, side: int) -> RgbArray:
    coarse = random.integers(40, 216, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _contrasting(random: np.random.Generator, around: NDArray[np.int64]) -> tuple[int, int, int]:
    """A colour that one can tell from the one around it."""
    while True:
        red, green, blue = random.integers(0, 256, 3).tolist()
        if np.abs(np.array((red, green, blue)) - around).sum() > 180:
            return red, green, blue


def _overlap(a: Xyxy, b: Xyxy) -> float:
    """Intersection over the smaller area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b))
    return max(0.0, width) * max(0.0, height) / smaller
