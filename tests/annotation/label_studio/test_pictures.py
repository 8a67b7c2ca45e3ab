import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pixloop.annotation.label_studio.pictures import to_shown
from pixloop.errors import ImageError


def encoded(format_: str = "JPEG", orientation: int = 1) -> bytes:
    image = Image.new("RGB", (60, 40), "white")
    image.paste((255, 0, 0), (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    image.save(content, format_, exif=exif)
    return content.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_an_upright_picture_is_shown_as_it_is(format_):
    picture = encoded(format_)
    shown = to_shown(picture)
    assert shown.content == picture
    assert (shown.width, shown.height) == (60, 40)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_is_turned_upright_once(orientation):
    picture = encoded(orientation=orientation)
    shown = to_shown(picture)
    image = Image.open(io.BytesIO(shown.content))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
    assert image.getexif().get(0x0112, 1) == 1
    assert image.size == upright.size == (shown.width, shown.height)
    assert np.abs(np.asarray(image, float) - np.asarray(upright, float)).mean() < 3


def test_a_format_that_browsers_do_not_show_becomes_one_that_they_do():
    shown = to_shown(encoded("TIFF"))
    assert Image.open(io.BytesIO(shown.content)).format == "JPEG"
    assert shown.suffix == "jpg"


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError):
        to_shown(b"no picture")
