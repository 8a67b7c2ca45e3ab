"""The conditions under which a detector's graph is held against the trained model.

Test pictures in batches of 1, 3 and 5, of which none is the batch that the exporters see; pictures
of other shapes and sizes, made of test pictures; and pictures with no object at all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pixloop.decoding import RgbArray, decode_image
from pixloop.imaging import Preprocessing, fitted_size, resize_image
from pixloop.serving.engines import PixelBatch

BOX_BATCH_SIZES = (5, 3, 1)
_RESHAPED = 3  # test pictures that are given other shapes
_TINY_PX, _LARGE_PX = 24, 3000


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pictures that an engine gets at once."""

    condition: str
    pixels: PixelBatch  #: (N, size, size, 3)
    fitted: tuple[tuple[int, int], ...]  #: of each: ``imaging.fitted_size``


def box_batches(
    read: Callable[[int], bytes], pictures: Sequence[int], preprocessing: Preprocessing
) -> Iterator[Batch]:
    """Batches of every condition; few pictures are taken more than once.

    Args:
        read: the encoded picture of an index; pictures are read when they are needed.
        pictures: the indices, at least one.
        preprocessing: how a picture becomes input; it must keep the whole picture.
    """

    def test_picture(i: int) -> RgbArray:
        return decode_image(read(pictures[i % len(pictures)]))

    def batch(condition: str, *images: RgbArray) -> Batch:
        inputs = [resize_image(rgb, preprocessing) for rgb in images]
        fitted = [fitted_size(rgb.shape[1], rgb.shape[0], preprocessing) for rgb in images]
        return Batch(condition, np.stack(inputs), tuple(fitted))

    start = turn = 0
    while start < len(pictures) or turn < len(BOX_BATCH_SIZES):
        size = BOX_BATCH_SIZES[turn % len(BOX_BATCH_SIZES)]
        chosen = [test_picture(i) for i in range(start, start + size)]
        yield batch(f"test pictures, {size} at a time", *chosen)
        start, turn = start + size, turn + 1

    for i in range(min(_RESHAPED, len(pictures))):
        shapes = _reshape(test_picture(i))
        for name, rgb in shapes.items():
            yield batch(f"{name} pictures", rgb)
        yield batch("pictures of all shapes together", *shapes.values(), test_picture(i))

    blank = _blank(preprocessing.image_size)
    for rgb in blank:
        yield batch("pictures with no object", rgb)
    mixed = [rgb for i, empty in enumerate(blank) for rgb in (test_picture(i), empty)]
    yield batch("pictures with no object among others", *mixed[:3])
    yield batch("pictures with no object among others", *mixed[-5:])


def _reshape(rgb: RgbArray) -> dict[str, RgbArray]:
    height, width = rgb.shape[:2]
    strip, pillar = max(1, height // 6), max(1, width // 6)
    top, left = (height - strip) // 2, (width - pillar) // 2
    return {
        "very wide": rgb[top : top + strip],
        "very tall": rgb[:, left : left + pillar],
        "tiny": _scale(rgb, _TINY_PX),
        "large": _scale(rgb, _LARGE_PX),
    }


def _scale(rgb: RgbArray, longest: int) -> RgbArray:
    height, width = rgb.shape[:2]
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))


def _blank(side: int) -> list[RgbArray]:
    """Gray, light, and noise; square, so that nothing of the input is margin."""
    random = np.random.default_rng(0)
    shape = (side, side, 3)
    # Not quite plain: as every camera's, they are a little noisy. On an exactly plain picture all
    # boxes but those at the border would have the same score, and rounding would choose among them.
    gray, light = (random.normal(level, 4, shape) for level in (128, 235))
    noise = random.integers(0, 256, shape)
    return [np.clip(each, 0, 255).astype(np.uint8) for each in (gray, light, noise)]
