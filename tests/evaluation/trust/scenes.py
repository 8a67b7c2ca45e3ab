"""Pictures with enough in them to be recognised, and what may happen to them."""

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SIDE = 96


def scene(seed: int) -> Image.Image:
    """A picture of coloured blots, (SIDE, SIDE), as no other seed gives it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


CHANGES = {
    "compressed": lambda image: encoded(image, 20),
    "smaller": lambda image: encoded(image.resize((SIDE // 2, SIDE // 2))),
    "mirrored": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.4)),
    "gray": lambda image: encoded(image.convert("L").convert("RGB")),
    "blurred": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(1.5))),
    "cropped": lambda image: encoded(image.crop((10, 0, SIDE, SIDE - 10))),
    "turned": lambda image: encoded(
        image.rotate(4, Image.Resampling.BICUBIC).crop((6, 6, SIDE - 6, SIDE - 6))
    ),
}
