"""The pictures that a bundle carries to be verified by."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pixloop.export.stored_pictures import scale_down


def encode(size: tuple[int, int], format_: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def test_a_small_picture_is_carried_as_it_is() -> None:
    image = encode((200, 100), "PNG")
    assert scale_down(image) is image


@pytest.mark.parametrize(("size", "format_"), [((3000, 2000), "JPEG"), ((500, 900), "PNG")])
def test_a_large_one_is_scaled_down_and_keeps_its_shape(
    size: tuple[int, int], format_: str
) -> None:
    image = encode(size, format_)
    assert len(image) > 200_000
    smaller = scale_down(image)
    assert len(smaller) <= 200_000
    with Image.open(BytesIO(smaller)) as picture:
        assert picture.format == "JPEG"
        assert picture.width / picture.height == pytest.approx(size[0] / size[1], abs=0.01)
