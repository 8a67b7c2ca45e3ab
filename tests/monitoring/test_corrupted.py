"""Pictures as files, corrupted and encoded as they were."""

import io

import numpy as np
import pytest
from PIL import Image

from pixloop.decoding import decode_image
from pixloop.errors import ImageError
from pixloop.monitoring.corrupted import MOST_PIXELS, in_full_size, open_original
from pixloop.records import DetectedBox, Detection, Prediction


def picture(width: int = 96, height: int = 64, format_: str = "JPEG", **options) -> bytes:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_stays_as_coarse_and_as_large(quality, subsampling):
    data = picture(quality=quality, subsampling=subsampling)
    original = open_original(data)
    again = original.encode(original.pixels)
    with Image.open(io.BytesIO(again)) as image, Image.open(io.BytesIO(data)) as first:
        assert image.quantization == first.quantization
    assert len(again) == pytest.approx(len(data), rel=0.1)


def test_a_png_stays_exact():
    original = open_original(picture(format_="PNG"))
    assert np.array_equal(decode_image(original.encode(original.pixels)), original.pixels)


@pytest.mark.parametrize("format_", ["WEBP", "BMP", "GIF"])
def test_other_formats_become_jpeg(format_):
    original = open_original(picture(format_=format_))
    assert original.encode(original.pixels).startswith(b"\xff\xd8")


def test_grey_jpeg_is_read_as_colours():
    file = io.BytesIO()
    Image.new("L", (40, 30), 90).save(file, "JPEG")
    original = open_original(file.getvalue())
    assert decode_image(original.encode(original.pixels)).shape == (30, 40, 3)


def test_large_pictures_are_made_smaller_and_boxes_large_again():
    original = open_original(picture(1200, 800))
    height, width = original.pixels.shape[:2]
    assert height * width <= MOST_PIXELS * 1.01
    assert width / height == pytest.approx(1.5, rel=0.01)
    small = Detection((DetectedBox("cat", 0.9, (0.0, 0.0, width, height)),), width, height)
    (large,) = in_full_size([small], [original])
    assert isinstance(large, Detection)
    assert (large.width, large.height) == (1200, pytest.approx(800, abs=2))
    assert large.boxes[0].xyxy[2:] == (pytest.approx(1200), pytest.approx(800, abs=2))


def test_other_answers_stay():
    answer = Prediction("cat", 0.9, {"cat": 0.9, "dog": 0.1})
    assert in_full_size([answer], [open_original(picture())]) == [answer]


def test_a_corruption_is_in_the_file():
    original = open_original(picture())
    corrupted = decode_image(original.corrupted("contrast", 5, 0))
    assert corrupted.std() < original.pixels.std() / 5


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError):
        open_original(b"no picture")
