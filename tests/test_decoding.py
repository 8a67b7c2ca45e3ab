import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pixloop.decoding import RgbArray, decode_array, decode_image, load_upright, open_image, to_rgb
from pixloop.errors import ImageError, ImageTooLarge
from pixloop.imaging import Preprocessing, read_input

Reader = Callable[[bytes], RgbArray]


def read_whole(interpolation: Any) -> Reader:
    """``read_input`` with an input in which the picture lies as it is."""

    def read(data: bytes) -> RgbArray:
        side = min(max(open_image(data).size), 256)
        preprocessing = Preprocessing(
            image_size=side, resize="letterbox", interpolation=interpolation
        )
        pixels, size = read_input(data, preprocessing)
        return pixels[: size.height, : size.width]

    return read


#: Every way from encoded bytes to pixels: what is demanded of one is demanded of all.
READERS = {
    "decode_image": decode_image,
    "read_input, area": read_whole("area"),
    "read_input, bicubic": read_whole("bicubic"),
}
of_every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def picture(width: int = 40, height: int = 24) -> Image.Image:
    blobs = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format_, **options)
    return encoded.getvalue()


@of_every_reader
@pytest.mark.parametrize("format_", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_give_the_very_pixels(read: Reader, format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    rgb = read(encode(picture(), format_, **options))
    assert (rgb.dtype, rgb.shape) == (np.uint8, (24, 40, 3))
    np.testing.assert_array_equal(rgb, np.asarray(picture()))


@of_every_reader
@pytest.mark.parametrize("format_", ["JPEG", "MPO", "GIF"])
def test_lossy_formats_come_close(read: Reader, format_: str) -> None:
    rgb = read(encode(picture(), format_))
    assert np.abs(rgb.astype(int) - np.asarray(picture())).mean() < 8


@of_every_reader
def test_gray_and_bilevel_become_rgb(read: Reader) -> None:
    gray = picture().convert("L")
    rgb = read(encode(gray))
    assert all((rgb[..., c] == np.asarray(gray)).all() for c in range(3))
    assert set(np.unique(read(encode(gray.convert("1"))))) == {0, 255}


@of_every_reader
def test_palettes_become_their_colours(read: Reader) -> None:
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    np.testing.assert_array_equal(read(encode(palette)), np.asarray(palette.convert("RGB")))


@of_every_reader
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(read: Reader, mode: str) -> None:
    image = picture().convert("RGB").convert(mode)
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[:, :20] = 0
    image.putalpha(Image.fromarray(alpha))
    rgb = read(encode(image))
    assert (rgb[:, :20] == 255).all()
    opaque = np.asarray(picture().convert("L" if mode == "LA" else "RGB").convert("RGB"))
    np.testing.assert_array_equal(rgb[:, 20:], opaque[:, 20:])


@of_every_reader
def test_a_transparent_palette_colour_is_white(read: Reader) -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((0, 0), 1)
    rgb = read(encode(palette, transparency=0))
    assert rgb[0, 0].tolist() == [200, 0, 0]
    assert (rgb[1:] == 255).all()


@of_every_reader
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(read: Reader, format_: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    rgb = read(encode(Image.fromarray(levels), format_))
    np.testing.assert_array_equal(rgb[..., 0], np.arange(256).reshape(16, 16))


@of_every_reader
def test_cmyk_jpegs_keep_their_colours(read: Reader) -> None:
    rgb = read(encode(picture().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - np.asarray(picture())).mean() < 4


@of_every_reader
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(read: Reader, orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    rgb = read(encode(picture(), format_, exif=exif, **options))
    T = Image.Transpose  # noqa: N806
    turn = {
        2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
        6: T.ROTATE_270, 7: T.TRANSVERSE, 8: T.ROTATE_90,
    }.get(orientation)  # fmt: skip
    expected = np.asarray(picture() if turn is None else picture().transpose(turn))
    assert rgb.shape == expected.shape
    assert np.abs(rgb.astype(int) - expected).mean() < (8 if format_ == "JPEG" else 0.01)


@of_every_reader
def test_the_first_frame_of_an_animation_counts(read: Reader) -> None:
    second = ImageOps.invert(picture())
    for format_ in ("PNG", "TIFF"):
        data = encode(picture(), format_, save_all=True, append_images=[second])
        np.testing.assert_array_equal(read(data), np.asarray(picture()))


@of_every_reader
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_pictures_are_errors(read: Reader, format_: str) -> None:
    data = encode(picture(200, 200), format_)
    with pytest.raises(ImageError):
        read(data[: len(data) // 2])


@of_every_reader
@given(st.binary(max_size=64))
def test_random_bytes_are_errors(read: Reader, data: bytes) -> None:
    for prefix in (
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"GIF89a",
        b"II*\0",
    ):
        with pytest.raises(ImageError):
            read(prefix + data)


@of_every_reader
@given(
    position=st.floats(0, 1),
    value=st.integers(0, 255),
    format_=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]),
)
def test_a_damaged_byte_is_an_error_or_a_picture(
    read: Reader, position: float, value: int, format_: str
) -> None:
    data = bytearray(encode(picture(), format_))
    data[int(position * (len(data) - 1))] = value
    try:
        rgb = read(bytes(data))
    except ImageError:
        return
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3


@of_every_reader
def test_what_is_no_picture_is_named(read: Reader) -> None:
    with pytest.raises(ImageError, match="empty"):
        read(b"")
    with pytest.raises(ImageError, match="not a picture"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_bombs_are_refused_before_they_are_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for side in (9_000, 20_000, 2_000_000_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
        for read in (decode_image, lambda data: read_input(data, Preprocessing(image_size=8))):
            with pytest.raises(ImageTooLarge):
                read(bomb)
    with pytest.raises(ImageTooLarge, match="40×24"):
        open_image(encode(picture()), max_pixels=959)
    assert open_image(encode(picture()), max_pixels=960).size == (40, 24)


@of_every_reader
def test_a_broken_exif_does_not_lose_the_picture(read: Reader) -> None:
    jpeg = encode(picture(), "JPEG")
    for payload in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
        np.testing.assert_array_equal(read(jpeg[:2] + segment + jpeg[2:]), read(jpeg))


@st.composite
def jpegs(draw: Any, least: int = 1, most: int = 90) -> bytes:
    """JPEGs of any size, colours, sampling, quality and coding."""
    size = draw(st.integers(least, most)), draw(st.integers(least, most))
    mode = draw(st.sampled_from(["RGB", "RGB", "L", "CMYK"]))
    options = {
        "quality": draw(st.sampled_from([10, 75, 95])),
        "progressive": draw(st.booleans()),
        "restart_marker_blocks": draw(st.sampled_from([0, 1, 3])),
    }
    if mode == "RGB":
        options["subsampling"] = draw(st.sampled_from([0, 1, 2]))
    return encode(picture(*size).convert(mode), "JPEG", **options)


@given(data=jpegs())
def test_the_fastest_decoder_gives_pillows_very_pixels(data: bytes) -> None:
    expected = to_rgb(open_image(data))
    np.testing.assert_array_equal(decode_array(data, open_image(data)), expected)


@given(data=jpegs(least=4), shrink=st.sampled_from([2, 4, 8]))
def test_both_decoders_shrink_alike(data: bytes, shrink: int) -> None:
    image = open_image(data)
    assume(min(image.size) >= 2 * shrink)
    expected = np.asarray(load_upright(open_image(data), shrink))
    assert expected.shape == (round(image.height / shrink), round(image.width / shrink), 3)
    np.testing.assert_array_equal(decode_array(data, image, shrink), expected)


def outcome(read: Callable[[], RgbArray]) -> str | tuple[tuple[int, ...], bytes]:
    """What comes of reading a picture: its error's message, or its shape and pixels."""
    try:
        rgb = read()
    except ImageError as e:
        return str(e)
    return rgb.shape, rgb.tobytes()


@given(
    data=jpegs(most=40),
    place=st.floats(0, 1),
    wrong=st.binary(max_size=4),
    damage=st.sampled_from(["cut", "overwrite", "insert"]),
)
@settings(max_examples=300)
def test_damage_has_the_outcome_that_pillow_gives_it(
    data: bytes, place: float, wrong: bytes, damage: str
) -> None:
    at = int(place * len(data))
    rest = {"cut": b"", "overwrite": wrong + data[at + len(wrong) :], "insert": wrong + data[at:]}
    damaged = data[:at] + rest[damage]
    if at and open_size(damaged) < 1_000_000:  # nothing at all has an error of its own
        expected = outcome(lambda: to_rgb(open_image(damaged)))
        assert outcome(lambda: decode_image(damaged)) == expected


def open_size(data: bytes) -> int:
    """How many pixels a picture says it has."""
    try:
        image = open_image(data)
    except ImageError:
        return 0
    return image.width * image.height


def test_what_libjpeg_only_warns_of_is_read() -> None:
    jpeg = encode(picture(), "JPEG")
    scan = jpeg.index(b"\xff\xda")
    stray = jpeg[:scan] + b"stray" + jpeg[scan:]
    np.testing.assert_array_equal(decode_image(stray), decode_image(jpeg))


def test_an_array_of_a_large_picture_is_made_once() -> None:
    panorama = encode(Image.new("RGB", (20_000, 1_000), (10, 200, 30)), "JPEG")
    tracemalloc.start()
    pixels, size = read_input(
        panorama, Preprocessing(image_size=64, resize="letterbox", interpolation="area")
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == (20_000, 1_000)
    np.testing.assert_allclose(pixels[:3], np.broadcast_to([10, 200, 30], (3, 64, 3)), atol=2)
    assert peak < 1.2 * 3 * 20_000 * 1_000
