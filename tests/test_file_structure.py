import pytest
from PIL import Image
from tests.serving.bad_pictures import (
    encode,
    gradient,
    jpeg_of_many_scans,
    jpeg_segment,
    png_chunk,
    png_with,
)

from pixloop.decoding import decode_image
from pixloop.errors import ImageError
from pixloop.file_structure import MAX_PARTS, MAX_SCANS, check_structure

FLAT = encode(gradient(), "JPEG")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_usual_files_pass(format_: str) -> None:
    check_structure(encode(gradient(600, 400), format_))
    check_structure(encode(gradient(600, 400), format_)[:100])
    check_structure(b"")


def test_scans_are_counted() -> None:
    assert decode_image(jpeg_of_many_scans(MAX_SCANS - 10)).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="scans"):
        decode_image(jpeg_of_many_scans(MAX_SCANS + 1))
    with pytest.raises(ImageError, match="scans"):  # what is passed over hides nothing
        check_structure(b"\xff\xd8\xff\xff" + jpeg_of_many_scans(5000)[2:])


def test_a_film_behind_a_picture_counts_as_nothing() -> None:
    progressive = encode(gradient(), "JPEG", progressive=True)
    check_structure(progressive + b"\xff\xda" * 1000)


def test_segments_are_counted() -> None:
    few, many = MAX_PARTS - 100, MAX_PARTS + 1
    check_structure(FLAT[:2] + jpeg_segment(0xE5, b"") * few + FLAT[2:])
    with pytest.raises(ImageError, match="segments"):
        check_structure(FLAT[:2] + jpeg_segment(0xE5, b"") * many + FLAT[2:])


def test_chunks_are_counted() -> None:
    check_structure(png_with(png_chunk(b"tEXt", b"a\0b") * (MAX_PARTS - 10)))
    with pytest.raises(ImageError, match="chunks"):
        check_structure(png_with(png_chunk(b"tEXt", b"a\0b") * (MAX_PARTS + 1)))


@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_pictures_of_several_bands_are_converted_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = gradient(40, 30).convert("L")
    if mode == "RGBA":
        picture = Image.merge("RGBA", (picture, picture, picture, picture.transpose(1)))
    else:
        picture = picture.convert("I").point(lambda v: v * 257).convert("I;16")
    data = encode(picture, "PNG")
    whole = decode_image(data)
    monkeypatch.setattr("pixloop.decoding._BAND_PIXELS", 70)
    assert (decode_image(data) == whole).all()
