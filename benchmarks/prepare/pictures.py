"""Any number of small JPEGs, no two of them alike, with some of what real pictures come with.

Of every thousand, two are cut off, two are the same as another, two are another one encoded anew,
two lie on their side and say so in EXIF, one is empty and one is no picture. What a picture shows
depends on its number alone: the same folder comes out however many processes write it.
"""

import io
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 96
CLASSES = 10
_A_FOLDER = 2_000  # more files in one folder slow down some file systems
_BLOCK = 5_000
_ODD_EVERY = 1_000


def write_pictures(folder: Path, count: int, processes: int) -> None:
    """Write ``count`` files into class folders, which hold folders of at most 2,000 files."""
    blocks = [(folder, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(_write_block, blocks):
            pass


def place(folder: Path, number: int) -> Path:
    """Where the file of a number lies."""
    label, within = number % CLASSES, number // CLASSES
    return folder / f"class-{label}" / f"{within // _A_FOLDER:03}" / f"{number:07}.jpg"


def content(number: int) -> bytes:
    """The bytes of a file."""
    odd = number % _ODD_EVERY
    if odd in (100, 200):
        return content(number + 1)[:1000]
    if odd in (110, 210):  # in the same class as the other
        return content(number + CLASSES)
    if odd in (120, 220):
        return encode(_pixels(number + CLASSES), quality=60)
    if odd in (130, 230):
        return _turned(_pixels(number))
    if odd == 140:
        return b""
    if odd == 150:
        return f"no picture, but words {number}".encode()
    return encode(_pixels(number))


def encode(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality))


def _pixels(number: int) -> NDArray[np.uint8]:
    """Soft blobs of colour with a disc on them."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
    pixels = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    x, y, radius = (int(v) for v in random.integers((20, 20, 6), (76, 76, 20)))
    colour = [int(v) for v in random.integers(0, 256, 3)]
    return np.asarray(cv2.circle(pixels, (x, y), radius, colour, -1), np.uint8)


def _turned(pixels: NDArray[np.uint8]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=85, exif=exif)
    return encoded.getvalue()


def _write_block(block: tuple[Path, int, int]) -> None:
    folder, start, stop = block
    cv2.setNumThreads(1)
    for target, number in _places(folder, start, stop):
        with open(target, "wb") as file:  # noqa: PTH123 (a million times)
            file.write(content(number))


def _places(folder: Path, start: int, stop: int) -> Iterator[tuple[str, int]]:
    made: set[str] = set()
    for number in range(start, stop):
        target = str(place(folder, number))
        parent = os.path.dirname(target)  # noqa: PTH120 (as above)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103
            made.add(parent)
        yield target, number
