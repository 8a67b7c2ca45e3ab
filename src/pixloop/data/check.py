"""One picture: its facts, and what is wrong with it.

``inspect`` decodes a picture once and says all that ``prepare`` needs to know, so that the pixels
need not be looked at again.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageOps

from pixloop.decoding import MAX_PIXELS, RgbArray, exif_orientation, open_image, to_rgb
from pixloop.errors import ImageError, ImageTooLarge
from pixloop.records import Finding

#: Changes whenever ``inspect`` would say something else about the same bytes, or the index would
#: keep something else of it.
VERSION = 2
#: A larger file is not even read: it would not fit in a shard of the data set.
MAX_FILE_BYTES = 200_000_000
#: A picture with a shorter side is called tiny.
TINY_PX = 8

_THUMBNAIL = (16, 16)
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
# A neighbour counts as brighter from this many gray levels on: in flat areas, what a JPEG leaves
# of the background must not decide.
_DHASH_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a readable picture.

    Attributes:
        width: in pixels, upright.
        height: in pixels, upright.
        format: as Pillow names it: JPEG, PNG, …
        mode: as Pillow names it, before anything was converted: RGB, L, P, …
        orientation: EXIF orientation, 1 to 8.
        dhash: 64-bit difference hash (N. Krawetz, "Kind of Like That", 2013).
        thumbnail: 16×16 gray pixels, row by row.
        mean: of each channel, 0 to 1.
        square: mean of each channel's square, 0 to 1.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    dhash: int
    thumbnail: bytes
    mean: tuple[float, float, float]
    square: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A picture's hash, its facts (None where it cannot be used) and the findings about it."""

    sha256: str
    facts: Facts | None
    findings: tuple[Finding, ...] = ()
    #: The picture turned upright, where its EXIF says that it lies on its side.
    upright: bytes | None = None


def inspect(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Inspection:
    """Look at one picture's bytes; ``name`` is its file's name. Nothing is raised for bad bytes."""
    with warnings.catch_warnings():
        # Pillow warns of broken metadata; what matters of it is among the findings.
        warnings.simplefilter("ignore")
        return _inspect(data, name, max_pixels)


def _inspect(data: bytes, name: str, max_pixels: int) -> Inspection:
    sha256 = hashlib.sha256(data).hexdigest()

    def rejected(kind: str, detail: str) -> Inspection:
        return Inspection(sha256, None, (Finding(kind, detail),))

    if not data:
        return rejected("empty", "0 bytes")
    try:
        image = open_image(data, max_pixels)
    except ImageTooLarge as e:
        return rejected("too_large", str(e))
    except ImageError as e:
        return rejected("not_a_picture", str(e))
    findings = _findings_of_header(image, name)
    format_, mode = image.format or "", image.mode
    orientation = exif_orientation(image)
    try:
        rgb = to_rgb(image)
        upright = None if orientation == 1 else encode_upright(data, max_pixels)
    except ImageError as e:
        return rejected("corrupt", str(e))
    if min(rgb.shape[:2]) < TINY_PX:
        findings.append(Finding("tiny", f"{rgb.shape[1]}×{rgb.shape[0]} pixels"))
    facts = _facts(rgb, format_, mode, orientation)
    return Inspection(sha256, facts, tuple(findings), upright)


def encode_upright(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """Turn a picture as its EXIF says, and encode it again without that EXIF.

    A JPEG stays a JPEG, of quality 95 without chroma subsampling; all else becomes a PNG.

    Raises:
        ImageError: the picture cannot be read or written.
    """
    image = open_image(data, max_pixels)
    jpeg = image.format in ("JPEG", "MPO")
    try:
        image.load()
        turned = ImageOps.exif_transpose(image)
    except Exception as e:  # Pillow's plugins raise nearly anything on hostile bytes
        raise ImageError(f"the picture cannot be decoded: {e}") from e
    if turned.mode not in (("L", "RGB", "CMYK") if jpeg else ("1", "L", "LA", "P", "RGB", "RGBA")):
        turned = Image.fromarray(to_rgb(image))
    encoded = io.BytesIO()
    # EXIF is dropped: what it said has been done, and it may say where the picture was taken.
    if jpeg:
        turned.save(encoded, "JPEG", quality=95, subsampling=0, exif=b"")
    else:
        turned.save(encoded, "PNG", exif=b"")
    return encoded.getvalue()


def dhash(gray: Image.Image) -> int:
    """The 64-bit difference hash of a gray picture: where a right neighbour is brighter.

    >>> hex(dhash(Image.linear_gradient("L").rotate(90)))
    '0xffffffffffffffff'
    """
    small = np.asarray(gray.resize((9, 8), Image.Resampling.BILINEAR), np.int16)
    brighter = small[:, 1:] - small[:, :-1] >= _DHASH_LEVELS
    return int.from_bytes(np.packbits(brighter).tobytes(), "big")


def _findings_of_header(image: Image.Image, name: str) -> list[Finding]:
    findings = []
    frames = getattr(image, "n_frames", 1)
    # An MPO's other frames are a camera's previews, not an animation.
    if frames > 1 and image.format != "MPO":
        findings.append(Finding("animated", f"{frames} frames"))
    suffix = PurePath(name).suffix.lower()
    if suffix and suffix not in _SUFFIXES.get(image.format or "", ()):
        findings.append(Finding("extension_mismatch", f"a {image.format} named {suffix}"))
    return findings


def _facts(rgb: RgbArray, format_: str, mode: str, orientation: int) -> Facts:
    image = Image.fromarray(rgb)
    gray = image.convert("L")
    # A histogram holds all that means and squares need, and Pillow counts it quickly.
    counts = np.asarray(image.histogram(), np.float64).reshape(3, 256)
    pixels, levels = rgb.shape[0] * rgb.shape[1], np.arange(256) / 255.0
    mean, square = counts @ levels / pixels, counts @ np.square(levels) / pixels
    return Facts(
        width=rgb.shape[1],
        height=rgb.shape[0],
        format=format_,
        mode=mode,
        orientation=orientation,
        dhash=dhash(gray),
        thumbnail=gray.resize(_THUMBNAIL, Image.Resampling.BILINEAR).tobytes(),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        square=(float(square[0]), float(square[1]), float(square[2])),
    )
