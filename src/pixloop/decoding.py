"""Encoded pictures → upright pixels.

Arrays of pictures are ``uint8`` in height × width × channel order, channels red, green, blue.
"""

import io
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pixloop.errors import ImageError, ImageTooLarge
from pixloop.file_structure import check_structure

RgbArray = NDArray[np.uint8]

MAX_PIXELS = 50_000_000
#: What pixloop reads. Formats that Pillow opens by running other programs are left out. (MPO, which
#: some cameras write, comes with JPEG.)
READ_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_JPEGS = ("JPEG", "MPO")

_BAND_PIXELS = 1_000_000
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: From 5 on, a picture lies on its side.
_LYING = 5

# Pillow warns between one and two times its own limit of pixels (ours is checked), and of broken
# metadata, which is no reason to lose the picture. For the whole process, since what is set and
# restored around a call is the same for all threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Size(NamedTuple):
    """An upright picture's size in pixels."""

    width: int
    height: int


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture without decoding its pixels: format, size and mode are known afterwards.

    Raises:
        ImageTooLarge: it has more than ``max_pixels`` pixels.
        ImageError: it is empty, no picture that pixloop reads, or made of absurdly many parts.
    """
    if not data:
        raise ImageError("the file is empty")
    check_structure(data)
    try:
        image = Image.open(io.BytesIO(data), formats=READ_FORMATS)
    except Image.DecompressionBombError as e:
        raise ImageTooLarge(f"more than {max_pixels} pixels") from e
    except UnidentifiedImageError as e:
        raise ImageError("not a picture in a format that pixloop reads") from e
    except Exception as e:  # Pillow's plugins raise nearly anything on hostile headers
        raise ImageError(f"the picture cannot be opened: {e}") from e
    if image.width * image.height > max_pixels:
        raise ImageTooLarge(f"{image.width}×{image.height} is more than {max_pixels} pixels")
    return image


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> RgbArray:
    """Decode a picture to an upright RGB array, shape (height, width, 3), ``uint8``.

    EXIF orientation is applied, transparency is laid over white, 16-bit samples are scaled (not
    clipped) to 8, CMYK, palette and grayscale become RGB, and of an animation the first frame is
    taken.

    Raises:
        ImageTooLarge: it has more than ``max_pixels`` pixels; nothing was decoded.
        ImageError: it is empty, truncated, corrupt or of an unknown format.
    """
    return decode_array(data, open_image(data, max_pixels))


def is_jpeg(image: Image.Image) -> bool:
    """Whether an opened picture is a JPEG, which can be decoded smaller than it is."""
    return image.format in _JPEGS


def exif_orientation(image: Image.Image) -> int:
    """How a picture lies, as its EXIF says: 1 to 8; 1, upright, where it says nothing readable."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly anything on hostile EXIF; the pixels are what counts
        return 1
    return value if value in range(1, 9) else 1


def upright_size(image: Image.Image) -> Size:
    """The size of an opened picture as it stands upright; only of a JPEG without decoding it.

    Raises:
        ImageError: the pixels are truncated or corrupt.
    """
    if not is_jpeg(image):
        _load(image)  # a PNG's EXIF may follow its pixels, and Pillow turns a TIFF as it loads it
    lies = exif_orientation(image) >= _LYING
    return Size(image.height, image.width) if lies else Size(image.width, image.height)


def to_rgb(image: Image.Image) -> RgbArray:
    """The pixels of an opened picture as ``decode_image`` gives them.

    Raises:
        ImageError: the pixels are truncated or corrupt.
    """
    return np.asarray(load_upright(image))


def load_upright(image: Image.Image, shrink: int = 1) -> Image.Image:
    """Decode an opened picture: upright and of mode RGB, as ``decode_image`` has it.

    Args:
        image: of ``open_image``, not yet decoded where ``shrink`` is not 1.
        shrink: 1, 2, 4 or 8: a JPEG's width and height are divided by it, in the decoder (by
            smaller inverse cosine transforms), and rounded. Both must be at least two pixels then.
            All other formats take 1 only.

    Raises:
        ImageError: the pixels are truncated or corrupt.
    """
    size = _shrunk(image, shrink)
    if shrink > 1:
        image.draft(None, (image.width // shrink, image.height // shrink))
    _load(image)
    try:
        rgb = _as_rgb(image)
        turn = _TURNS.get(exif_orientation(image))
        if rgb.size != size and shrink > 1:
            rgb = rgb.crop((0, 0, *size))
        return rgb if turn is None else rgb.transpose(turn)
    except Exception as e:  # Pillow's conversions, too, raise nearly anything
        raise ImageError(f"the picture cannot be decoded: {e}") from e


def decode_array(data: bytes, image: Image.Image, shrink: int = 1) -> RgbArray:
    """The pixels of ``load_upright`` as an array, shape (height, width, 3), by the fastest way.

    libjpeg-turbo's own interface decodes a JPEG to an array in half the time of Pillow. It refuses
    what libjpeg only warns of, such as data that Pillow reads with a few wrong pixels, and what
    Pillow refuses, such as the end missing. Pillow then has the last word.

    Args:
        data: the encoded picture.
        image: what ``open_image`` made of it.
        shrink: as for ``load_upright``.

    Raises:
        ImageError: the pixels are truncated or corrupt.
    """
    # What is to be turned is turned faster by Pillow.
    if is_jpeg(image) and image.mode in ("RGB", "L") and exif_orientation(image) == 1:
        pixels = _decode_jpeg(data, image, shrink)
        if pixels is not None:
            return pixels
    return np.asarray(load_upright(image, shrink))


def _decode_jpeg(data: bytes, image: Image.Image, shrink: int) -> RgbArray | None:
    # libjpeg rounds up.
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    # Our own buffer: a header that says one size to Pillow and another to libjpeg gets no more.
    pixels = np.empty((height, width, 3), np.uint8)
    try:
        decoded = simplejpeg.decode_jpeg(
            data, "rgb", min_height=height, min_width=width, buffer=pixels
        )
    except ValueError:
        return None
    if decoded.shape != pixels.shape:
        return None
    width, height = _shrunk(image, shrink)
    return pixels[:height, :width]


def _shrunk(image: Image.Image, shrink: int) -> tuple[int, int]:
    """Of a JPEG decoded smaller: a last pixel that is mostly beyond the edge is left out."""
    return round(image.width / shrink), round(image.height / shrink)


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as e:  # as in open_image
        raise ImageError(f"the picture cannot be decoded: {e}") from e


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # I;16 and relatives, and I, which holds 16-bit samples
        return _to_rgb(image, _scale_samples)
    if image.mode == "F":
        raise ImageError("floating-point pictures have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return _to_rgb(image, _lay_over_white)
    return image.convert("RGB")


def _to_rgb(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a band of rows after another: what is between takes many times a picture's memory."""
    rgb = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb.paste(convert(band), (0, top))
    return rgb


def _scale_samples(image: Image.Image) -> Image.Image:
    samples = np.asarray(image).astype(np.float64)
    return Image.fromarray((samples / 257.0).round().clip(0, 255).astype(np.uint8))


def _lay_over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")
