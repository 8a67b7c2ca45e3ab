"""Pictures that look like pictures, for the data room's tests."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """``paint(seed, width, height)``: a smooth RGB picture unlike that of any other seed."""

    def paint(seed: int, width: int = 48, height: int = 40) -> Image.Image:
        blobs = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
        return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)

    return paint


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(image, format, **options)``: the picture's bytes."""

    def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: A002
        encoded = io.BytesIO()
        image.save(encoded, format, **options)
        return encoded.getvalue()

    return encode


@pytest.fixture
def put(paint: Paint, encode: Encode) -> Callable[..., Path]:
    """``put(file, content)``: write bytes, or the picture of a seed, as the suffix says."""

    def put(file: Path, content: bytes | int) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            content = encode(paint(content), "JPEG" if file.suffix == ".jpg" else "PNG")
        file.write_bytes(content)
        return file

    return put
