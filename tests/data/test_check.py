import hashlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixloop.data.check import encode_upright, inspect
from pixloop.decoding import decode_image

KINDS_OF_BAD = [
    (b"", "empty"),
    (b"hello, I am no picture", "not_a_picture"),
    (b"%PDF-1.4", "not_a_picture"),
    (b"\xff\xd8\xff", "not_a_picture"),
]


@pytest.mark.parametrize(("data", "kind"), KINDS_OF_BAD)
def test_bad_bytes_have_a_kind_and_no_facts(data: bytes, kind: str) -> None:
    inspection = inspect(data, "x.jpg")
    assert inspection.facts is None
    assert [f.kind for f in inspection.findings] == [kind]
    assert inspection.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_truncated_pictures_are_corrupt(paint: Any, encode: Any, format_: str) -> None:
    options = {"compression": "tiff_lzw"} if format_ == "TIFF" else {}
    data = encode(paint(1, 100, 100), format_, **options)
    inspection = inspect(data[: len(data) * 2 // 3], "x")
    assert inspection.facts is None
    assert inspection.findings[0].kind in ("corrupt", "not_a_picture")


def test_facts_of_an_ordinary_picture(paint: Any, encode: Any) -> None:
    picture = paint(1, 60, 50)
    facts = inspect(encode(picture), "x.png").facts
    assert facts is not None
    assert (facts.width, facts.height, facts.format, facts.mode) == (60, 50, "PNG", "RGB")
    assert len(facts.thumbnail) == 256
    np.testing.assert_allclose(facts.mean, np.asarray(picture).mean(axis=(0, 1)) / 255)


@pytest.mark.parametrize(
    ("format_", "name", "kinds"),
    [
        ("JPEG", "x.jpg", []),
        ("JPEG", "x.JPEG", []),
        ("JPEG", "x", []),
        ("PNG", "x.jpg", ["extension_mismatch"]),
        ("WEBP", "x.png", ["extension_mismatch"]),
        ("TIFF", "x.tif", []),
    ],
)
def test_the_name_tells_the_format(
    paint: Any, encode: Any, format_: str, name: str, kinds: list[str]
) -> None:
    inspection = inspect(encode(paint(1), format_), name)
    assert [f.kind for f in inspection.findings] == kinds


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_are_found(paint: Any, encode: Any, format_: str) -> None:
    data = encode(paint(1), format_, save_all=True, append_images=[paint(2)])
    inspection = inspect(data, "x")
    assert [(f.kind, f.detail) for f in inspection.findings] == [("animated", "2 frames")]
    assert inspection.facts is not None


@pytest.mark.parametrize(("size", "tiny"), [((8, 8), False), ((7, 90), True), ((1, 1), True)])
def test_tiny_pictures(encode: Any, paint: Any, size: tuple[int, int], tiny: bool) -> None:
    inspection = inspect(encode(paint(1, *size)), "x.png")
    assert ("tiny" in [f.kind for f in inspection.findings]) == tiny


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format_", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"),
     ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB"), ("TIFF", "RGB")],
)  # fmt: skip
def test_what_is_stored_upright_is_what_the_source_shows(
    paint: Any, encode: Any, orientation: int, format_: str, mode: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = paint(3, 40, 24)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    data = encode(picture, format_, exif=exif)
    inspection = inspect(data, "x")
    assert inspection.facts is not None
    assert (inspection.facts.width, inspection.facts.height) == (
        (24, 40) if orientation >= 5 else (40, 24)
    )
    expected = decode_image(data)
    if orientation == 1:
        assert inspection.upright is None
        return
    if inspection.upright is None:
        assert format_ == "TIFF"  # whose orientation Pillow applies itself
        return
    with Image.open(io.BytesIO(inspection.upright)) as stored:
        assert 0x0112 not in stored.getexif()
        assert stored.format == ("JPEG" if format_ == "JPEG" else "PNG")
    difference = decode_image(inspection.upright).astype(int) - expected.astype(int)
    assert np.abs(difference).mean() <= (2.5 if format_ == "JPEG" else 0)


def test_a_broken_exif_does_not_lose_the_picture(paint: Any, encode: Any) -> None:
    jpeg = encode(paint(1), "JPEG")
    for payload in (
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
        inspection = inspect(jpeg[:2] + segment + jpeg[2:], "x.jpg")
        assert inspection.facts is not None
        assert inspection.facts.orientation == 1


def test_upright_jpegs_keep_their_chroma(paint: Any, encode: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(io.BytesIO(encode_upright(encode(paint(1), "JPEG", exif=exif)))) as stored:
        assert all(horizontal == vertical == 1 for _, horizontal, vertical, _ in stored.layer)


def test_an_mpo_is_a_photograph_and_no_animation(paint: Any, encode: Any) -> None:
    data = encode(paint(1), "MPO", save_all=True, append_images=[paint(2)])
    inspection = inspect(data, "x.jpg")
    assert inspection.findings == ()
