import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pixloop.errors import ImageError, ImageTooLarge
from pixloop.imaging import (
    Preprocessing,
    decode_image,
    fit_boxes,
    fit_image,
    normalise,
    open_image,
    resize_image,
    to_input,
    unfit_boxes,
)


def picture(width: int = 40, height: int = 24) -> Image.Image:
    blobs = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format_, **options)
    return encoded.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_give_the_very_pixels(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    rgb = decode_image(encode(picture(), format_, **options))
    assert (rgb.dtype, rgb.shape) == (np.uint8, (24, 40, 3))
    np.testing.assert_array_equal(rgb, np.asarray(picture()))


@pytest.mark.parametrize("format_", ["JPEG", "MPO", "GIF"])
def test_lossy_formats_come_close(format_: str) -> None:
    rgb = decode_image(encode(picture(), format_))
    assert np.abs(rgb.astype(int) - np.asarray(picture())).mean() < 8


def test_gray_and_bilevel_become_rgb() -> None:
    gray = picture().convert("L")
    rgb = decode_image(encode(gray))
    assert all((rgb[..., c] == np.asarray(gray)).all() for c in range(3))
    assert set(np.unique(decode_image(encode(gray.convert("1"))))) == {0, 255}


def test_palettes_become_their_colours() -> None:
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    np.testing.assert_array_equal(decode_image(encode(palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    image = picture().convert("RGB").convert(mode)
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[:, :20] = 0
    image.putalpha(Image.fromarray(alpha))
    rgb = decode_image(encode(image))
    assert (rgb[:, :20] == 255).all()
    opaque = np.asarray(picture().convert("L" if mode == "LA" else "RGB").convert("RGB"))
    np.testing.assert_array_equal(rgb[:, 20:], opaque[:, 20:])


def test_a_transparent_palette_colour_is_white() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((0, 0), 1)
    rgb = decode_image(encode(palette, transparency=0))
    assert rgb[0, 0].tolist() == [200, 0, 0]
    assert (rgb[1:] == 255).all()


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    rgb = decode_image(encode(Image.fromarray(levels), format_))
    np.testing.assert_array_equal(rgb[..., 0], np.arange(256).reshape(16, 16))


def test_cmyk_jpegs_keep_their_colours() -> None:
    rgb = decode_image(encode(picture().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - np.asarray(picture())).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    rgb = decode_image(encode(picture(), format_, exif=exif, **options))
    T = Image.Transpose  # noqa: N806
    turn = {
        2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
        6: T.ROTATE_270, 7: T.TRANSVERSE, 8: T.ROTATE_90,
    }.get(orientation)  # fmt: skip
    expected = np.asarray(picture() if turn is None else picture().transpose(turn))
    assert rgb.shape == expected.shape
    assert np.abs(rgb.astype(int) - expected).mean() < (8 if format_ == "JPEG" else 0.01)


def test_the_first_frame_of_an_animation_counts() -> None:
    second = ImageOps.invert(picture())
    for format_ in ("PNG", "TIFF"):
        data = encode(picture(), format_, save_all=True, append_images=[second])
        np.testing.assert_array_equal(decode_image(data), np.asarray(picture()))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_pictures_are_errors(format_: str) -> None:
    data = encode(picture(200, 200), format_)
    with pytest.raises(ImageError):
        decode_image(data[: len(data) // 2])


@given(st.binary(max_size=64))
def test_random_bytes_are_errors(data: bytes) -> None:
    for prefix in (
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"GIF89a",
        b"II*\0",
    ):
        with pytest.raises(ImageError):
            decode_image(prefix + data)


@given(
    position=st.floats(0, 1),
    value=st.integers(0, 255),
    format_=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]),
)
def test_a_damaged_byte_is_an_error_or_a_picture(position: float, value: int, format_: str) -> None:
    data = bytearray(encode(picture(), format_))
    data[int(position * (len(data) - 1))] = value
    try:
        rgb = decode_image(bytes(data), max_pixels=1_000_000)
    except ImageError:
        return
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3


def test_what_is_no_picture_is_named() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")
    with pytest.raises(ImageError, match="not a picture"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_bombs_are_refused_before_they_are_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for side in (9_000, 20_000, 2_000_000_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
        with pytest.raises(ImageTooLarge):
            decode_image(bomb)
    with pytest.raises(ImageTooLarge, match="40×24"):
        open_image(encode(picture()), max_pixels=959)
    assert open_image(encode(picture()), max_pixels=960).size == (40, 24)


def test_a_broken_exif_does_not_lose_the_picture() -> None:
    jpeg = encode(picture(), "JPEG")
    for payload in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
        np.testing.assert_array_equal(
            decode_image(jpeg[:2] + segment + jpeg[2:]), decode_image(jpeg)
        )


def test_squash_scales_both_sides_and_crop_cuts_the_centre() -> None:
    rgb = np.zeros((40, 80, 3), np.uint8)
    rgb[:, 20:60] = 255
    squashed = resize_image(rgb, Preprocessing(image_size=8, resize="squash"))
    assert squashed[4, 0].max() < 30
    assert squashed[4, 7].max() < 30
    cropped = resize_image(rgb, Preprocessing(image_size=8, resize="crop", crop_share=1.0))
    assert cropped.shape == (8, 8, 3)
    assert cropped[:, 1:-1].min() > 200


@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 48))
def test_any_size_becomes_the_input_size(height: int, width: int, size: int) -> None:
    rgb = np.full((height, width, 3), 77, np.uint8)
    for resize in ("crop", "squash"):
        model_input = to_input(rgb, Preprocessing(image_size=size, resize=resize))  # type: ignore[arg-type]
        assert (model_input.shape, model_input.dtype) == ((3, size, size), np.float32)


def test_normalise_is_what_its_formula_says() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    preprocessing = Preprocessing(image_size=5)
    expected = (rgb / 255.0 - preprocessing.mean) / preprocessing.std
    actual = normalise(rgb, preprocessing)
    assert actual.flags.c_contiguous
    np.testing.assert_allclose(actual, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


def test_a_crop_keeps_the_centre_and_a_squash_keeps_everything() -> None:
    framed = np.full((80, 120, 3), 255, np.uint8)
    framed[20:60, 40:80] = 0  # a black square of half the short side, in the very middle

    cropped = resize_image(framed, Preprocessing(image_size=40, crop_share=0.5))
    squashed = resize_image(framed, Preprocessing(image_size=40, resize="squash"))

    assert cropped.max() == 0
    assert squashed[0, 0].min() == 255
    assert squashed[20, 20].max() == 0


WHOLE = st.sampled_from(["squash", "letterbox"])


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size=st.integers(1, 1024),
    resize=WHOLE,
    shares=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
)
def test_unfit_undoes_fit(
    width: int, height: int, size: int, resize: Any, shares: list[tuple[float, ...]]
) -> None:
    preprocessing = Preprocessing(image_size=size, resize=resize)
    boxes = np.array(shares).reshape(-1, 4) * [width, height, width, height]
    fitted = fit_boxes(boxes, width, height, preprocessing)
    assert fitted.shape == boxes.shape
    assert ((fitted >= 0) & (fitted <= size + 1e-9)).all()
    np.testing.assert_allclose(
        unfit_boxes(fitted, width, height, preprocessing), boxes, rtol=0, atol=1e-9 * 3000
    )


def test_unfit_clips_to_the_picture() -> None:
    preprocessing = Preprocessing(image_size=100, resize="letterbox")
    box = np.array([[-5.0, -5.0, 120.0, 90.0]], np.float32)
    assert unfit_boxes(box, 200, 100, preprocessing).tolist() == [[0.0, 0.0, 200.0, 100.0]]


@given(height=st.integers(20, 200), width=st.integers(20, 200), resize=WHOLE)
def test_a_fitted_box_is_where_its_pixels_are(height: int, width: int, resize: Any) -> None:
    box = np.array([[width // 4, height // 3, width * 3 // 4, height * 2 // 3]])
    rgb = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box[0]
    rgb[top:bottom, left:right] = 255
    preprocessing = Preprocessing(image_size=96, resize=resize, mean=(0.0, 0.0, 0.0))
    ys, xs = np.nonzero(resize_image(rgb, preprocessing)[:, :, 0] > 127)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(fit_boxes(box, width, height, preprocessing)[0], seen, atol=1.01)


def test_boxes_cannot_be_fitted_to_a_crop() -> None:
    with pytest.raises(ValueError, match="whole picture"):
        fit_boxes(np.zeros((1, 4)), 10, 10, Preprocessing(image_size=8, resize="crop"))
    with pytest.raises(ValueError, match="whole picture"):
        fit_image(np.zeros((4, 4, 3), np.uint8), Preprocessing(image_size=8, resize="crop"))


def test_a_letterbox_is_filled_with_the_mean_colour() -> None:
    preprocessing = Preprocessing(image_size=8, resize="letterbox", mean=(1.0, 0.5, 0.0))
    boxed = resize_image(np.zeros((4, 8, 3), np.uint8), preprocessing)
    assert (boxed[:4] == 0).all()
    assert (boxed[4:] == [255, 128, 0]).all()
