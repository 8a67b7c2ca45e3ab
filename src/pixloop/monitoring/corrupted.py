"""Pictures as files, corrupted, and encoded as they were."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from pixloop.data.corruptions import corrupt
from pixloop.decoding import RgbArray, decode_image
from pixloop.monitoring.signals import Answer
from pixloop.records import Detection, Xyxy

# Larger pictures would take most of the time, and show the same.
MOST_PIXELS = 160_000
_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A picture to corrupt.

    Attributes:
        pixels: upright RGB, not larger than ``MOST_PIXELS``.
        format: what it is encoded as, for Pillow.
        options: how.
        scale: its width before it was made smaller, over its width now.
    """

    pixels: RgbArray
    format: str
    options: dict[str, Any]
    scale: float

    def encode(self, pixels: RgbArray) -> bytes:
        """Other pixels, as this picture was encoded."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.format, **self.options)
        return file.getvalue()

    def corrupted(self, name: str, severity: int, seed: int) -> bytes:
        """The picture with a corruption, as a file."""
        return self.encode(corrupt(self.pixels, name, severity, seed))


def open_original(data: bytes) -> Original:
    """Read a picture, and how it is encoded.

    Raises:
        ImageError: it cannot be read.
    """
    pixels = decode_image(data)
    height, width = pixels.shape[:2]
    share = (MOST_PIXELS / (height * width)) ** 0.5
    if share < 1:
        size = max(1, round(width * share)), max(1, round(height * share))
        smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(smaller, np.uint8)
    return Original(pixels, *_encoding(data), scale=width / pixels.shape[1])


def _encoding(data: bytes) -> tuple[str, dict[str, Any]]:
    """The format of a file and what makes it as coarse; JPEG for what is rarely written."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "PNG":
            return "PNG", {"compress_level": 3}
        if isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode == "RGB":
            sampling = JpegImagePlugin.get_sampling(image)
            return "JPEG", {"qtables": image.quantization, "subsampling": max(sampling, 0)}
    return "JPEG", {"quality": _QUALITY}


def in_full_size(answers: Sequence[Answer], originals: Sequence[Original]) -> list[Answer]:
    """Answers to pictures that were made smaller, with boxes where they are in the large ones."""
    return [_enlarge(a, o.scale) for a, o in zip(answers, originals, strict=True)]


def _enlarge(answer: Answer, scale: float) -> Answer:
    if not isinstance(answer, Detection) or scale == 1:
        return answer
    boxes = tuple(replace(box, xyxy=_times(box.xyxy, scale)) for box in answer.boxes)
    return Detection(boxes, round(answer.width * scale), round(answer.height * scale))


def _times(edges: Xyxy, scale: float) -> Xyxy:
    x1, y1, x2, y2 = edges
    return x1 * scale, y1 * scale, x2 * scale, y2 * scale
