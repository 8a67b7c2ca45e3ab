"""Pictures made to break whoever reads them, each from a few bytes or a few megabytes."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from PIL import Image

#: Formats that the server reads.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

_SEGMENT = b"\xff"
_PROGRESSIVE_SCAN_OF_NOTHING = bytes.fromhex("ffda 0008 01 01 00 01 3f 00")


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    """A picture's file."""
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """A picture whose files have something in them."""
    across = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, across.transpose(Image.Transpose.ROTATE_180), across))


# PNG


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(
    width: int, height: int, pixels: bytes, extra: bytes = b"", depth: int = 8, colour: int = 0
) -> bytes:
    """A PNG of what may be nonsense.

    Args:
        width: as its header says.
        height: as its header says.
        pixels: before compression.
        extra: further chunks, before the pixels.
        depth: bits a sample.
        colour: PNG's number of the kind of pixels.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            extra,
            png_chunk(b"IDAT", zlib.compress(pixels, 9)),
            png_chunk(b"IEND"),
        )
    )


def png_with(chunk: bytes) -> bytes:
    """A small good PNG with one more chunk."""
    return png(2, 2, b"\0\0\0" * 2, chunk)


def text_bomb(size: int) -> bytes:
    """A PNG whose compressed comment is much larger than the PNG."""
    return png_with(png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size), 9)))


def profile_bomb(size: int) -> bytes:
    """A PNG whose compressed colour profile is much larger than the PNG."""
    return png_with(png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(size), 9)))


# JPEG


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """A segment with its length."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG that says that it is of another size."""
    data = bytearray(encode(gradient(16, 16), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_many_scans(scans: int, width: int = 64, height: int = 48) -> bytes:
    """A progressive JPEG that refines nothing, again and again.

    A scan says in a few bytes that it changes no block, however many there are, and costs a decoder
    a walk through all of them.
    """
    data = encode(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    # One code of one bit: "the rest of these 16,384 blocks is zero", and 14 bits: of these 32,767.
    table = jpeg_segment(0xC4, b"\x10" + b"\x01" + bytes(15) + b"\xe0")
    blocks = -(-width // 8) * -(-height // 8)
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    scan = jpeg_segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + coded
    first = data[: _second_scan(data)]
    return first + table + scan * scans + b"\xff\xd9"


def _second_scan(data: bytes) -> int:
    """Where the first scan, of all mean values, ends."""
    place = data.index(b"\xff\xda") + 2
    while True:
        place = data.index(b"\xff", place)
        if data[place + 1]:
            return place
        place += 2


# EXIF


def exif_with(entries: list[tuple[int, int, int, int]]) -> bytes:
    """An EXIF block of raw entries: tag, type, count, value or offset."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4)


def jpeg_with_exif(exif: bytes) -> bytes:
    """A good JPEG with such a block."""
    data = encode(gradient(), "JPEG")
    return data[:2] + jpeg_segment(0xE1, exif) + data[2:]


# TIFF, WebP, GIF, BMP


def tiff_of_size(width: int, height: int) -> bytes:
    """A small TIFF that says that it is of another size."""
    data = encode(Image.new("L", (16, 16)), "TIFF")
    for tag, value in ((256, width), (257, height), (278, height)):
        old = struct.pack("<HH", tag, 4) + struct.pack("<II", 1, 16)
        short = struct.pack("<HHII", tag, 3, 1, 16)
        new = struct.pack("<HHII", tag, 4, 1, value)
        data = data.replace(old, new).replace(short, new)
    return data


def webp_of_size(width: int, height: int) -> bytes:
    """An animated WebP of one small frame on a canvas that may be huge."""
    still = encode(gradient(16, 16), "WEBP", lossless=True)[12:]

    def sized(number: int) -> bytes:
        return struct.pack("<I", number - 1)[:3]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    frame = bytes(6) + sized(16) + sized(16) + bytes(3) + b"\0" + still
    chunks = (
        chunk(b"VP8X", b"\x02\0\0\0" + sized(width) + sized(height))
        + chunk(b"ANIM", bytes(6))
        + chunk(b"ANMF", frame)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def gif_of_size(width: int, height: int) -> bytes:
    """A small GIF on a canvas that may be huge."""
    data = encode(gradient(16, 16).convert("P"), "GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def bmp_of_size(width: int, height: int) -> bytes:
    """A small BMP that says that it is of another size."""
    data = encode(gradient(16, 16), "BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def too_large() -> Iterator[tuple[str, bytes]]:
    """Small files of more pixels than are read."""
    yield "PNG", encode(Image.new("1", (30_000, 30_000)), "PNG")
    yield "PNG of one row", png(2**31 - 1, 1, b"\0")
    for make in (jpeg_of_size, tiff_of_size, gif_of_size, bmp_of_size):
        name = make.__name__.partition("_")[0].upper()
        yield name, make(60_000, 60_000)
    yield "WEBP", webp_of_size(16_383, 16_383)
    yield "flat JPEG", encode(Image.new("L", (20_000, 20_000)), "JPEG")


def broken() -> Iterator[tuple[str, bytes]]:
    """Small files that cannot be read, or hardly."""
    yield "text bomb", text_bomb(200_000_000)
    yield "profile bomb", profile_bomb(200_000_000)
    yield "PNG of no size", png(0, 0, b"")
    yield "PNG whose pixels do not end", png(2, 2, bytes(50_000_000))
    yield "PNG of few pixels", png(5000, 5000, bytes(10))
    yield "JPEG of no size", jpeg_of_size(0, 0)
    yield "JPEG of few pixels", jpeg_of_size(7000, 7000)
    yield "thousands of scans", jpeg_of_many_scans(5000)
    yield "TIFF of few pixels", tiff_of_size(7000, 7000)
    yield "GIF of no size", gif_of_size(0, 0)
    yield "BMP of negative size", bmp_of_size(-5, -5)
    yield "endless EXIF", jpeg_with_exif(exif_with([(0x0112, 3, 2**31, 2**31)] * 5000))
    yield "EXIF in itself", jpeg_with_exif(exif_with([(0x8769, 4, 1, 8), (0x0112, 3, 1, 99)]))
    for format_ in FORMATS:
        whole = encode(gradient(), format_)
        yield f"half a {format_}", whole[: len(whole) // 2]
        yield f"head of a {format_}", whole[:24]
        yield f"{format_} of noise", whole[:40] + bytes(range(256)) * 20


def mutations(whole: bytes, choose: Callable[[int], int]) -> bytes:
    """A file with some of its bits turned, parts moved, and its end cut.

    Args:
        whole: the file.
        choose: from a number n to one of 0 to n - 1.
    """
    data = bytearray(whole)
    kind = choose(4)
    if kind == 0:  # bits turned
        for _ in range(1 + choose(8)):
            data[choose(len(data))] ^= 1 << choose(8)
    elif kind == 1:  # a part of it elsewhere
        start, place = choose(len(data)), choose(len(data))
        data[place:place] = data[start : start + 1 + choose(64)]
    elif kind == 2:  # a part removed
        start = choose(len(data))
        del data[start : start + 1 + choose(64)]
    else:  # a number overwritten, where sizes are
        place = choose(min(len(data), 200))
        data[place : place + 4] = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff")[choose(3)]
    return bytes(data[: choose(len(data) + 1)] if choose(4) == 0 else data)
