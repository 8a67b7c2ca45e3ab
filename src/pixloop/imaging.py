"""Bytes → upright RGB array → model input: the one preprocessing of training and serving.

Arrays of pictures are ``uint8`` in height × width × channel order, channels red, green, blue.
Model inputs are ``float32`` in channel × height × width order, normalised.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from pixloop.errors import ImageError, ImageTooLarge

RgbArray = NDArray[np.uint8]
InputArray = NDArray[np.float32]
Boxes = NDArray[np.float64]  #: shape (M, 4), xyxy

MAX_PIXELS = 50_000_000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: What pixloop reads. Formats that Pillow opens by running other programs are left out. (MPO, which
#: some cameras write, comes with JPEG.)
READ_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

#: crop: scale the short side, cut the centre. squash: scale both sides, cut nothing. letterbox:
#: scale the long side, fill what is left on the right or at the bottom with the mean colour.
Resize = Literal["crop", "squash", "letterbox"]

_ORIENTATION = 0x0112
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocessing(BaseModel):
    """How an upright picture becomes model input. Travels in the bundle, beside the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: int = Field(ge=1, le=8192)  #: side of the square input, in pixels
    resize: Resize = "crop"
    crop_share: float = Field(default=0.875, gt=0, le=1)  #: side of the crop / scaled short side
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN  #: of RGB in 0..1
    std: tuple[float, float, float] = IMAGENET_STD


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture without decoding its pixels: format, size and mode are known afterwards.

    Raises:
        ImageTooLarge: it has more than ``max_pixels`` pixels.
        ImageError: it is empty, or no picture that pixloop reads.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns between one and two times its own limit (ours is checked below), and of
            # broken metadata, which is no reason to lose the picture.
            warnings.simplefilter("ignore")
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
    return to_rgb(open_image(data, max_pixels))


def exif_orientation(image: Image.Image) -> int:
    """How a picture lies, as its EXIF says: 1 to 8; 1, upright, where it says nothing readable."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises nearly anything on hostile EXIF; the pixels are what counts
        return 1
    return value if value in range(1, 9) else 1


def to_rgb(image: Image.Image) -> RgbArray:
    """The pixels of an opened picture as ``decode_image`` gives them.

    Raises:
        ImageError: the pixels are truncated or corrupt.
    """
    try:
        image.load()
        return np.asarray(_as_rgb(_upright(image)))
    except Exception as e:  # as above
        raise ImageError(f"the picture cannot be decoded: {e}") from e


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above; an EXIF that cannot be read says nothing about the pixels
        return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # I;16 and relatives, and I, which holds 16-bit samples
        samples = np.asarray(image).astype(np.float64)
        return Image.fromarray((samples / 257.0).round().clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode == "F":
        raise ImageError("floating-point pictures have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def to_input(rgb: RgbArray, preprocessing: Preprocessing) -> InputArray:
    """Resize, crop and normalise an upright RGB array to model input, shape (3, size, size).

    Bilinear and bicubic are Pillow's antialiased filters, as in timm and torchvision.
    """
    return normalise(resize_image(rgb, preprocessing), preprocessing)


def resize_image(rgb: RgbArray, preprocessing: Preprocessing) -> RgbArray:
    """The geometric half of ``to_input``: shape (size, size, 3), ``uint8``."""
    if preprocessing.resize != "crop":
        return pad_image(fit_image(rgb, preprocessing), preprocessing)
    image, size = Image.fromarray(rgb), preprocessing.image_size
    # The crop's box in the source picture, so that one resize does the scaling and the cutting.
    side = min(image.width, image.height) * preprocessing.crop_share
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    filter_ = _RESAMPLING[preprocessing.interpolation]
    return np.asarray(image.resize((size, size), filter_, box=box))


def fitted_size(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height, in input pixels, that the whole of an upright picture takes of the input.

    The picture's upper left corner is the input's, so a box in the picture times
    ``(fitted width / width, fitted height / height)`` is the box in the input.

    Raises:
        ValueError: the preprocessing crops, which loses a part of the picture.

    >>> fitted_size(640, 480, Preprocessing(image_size=320, resize="letterbox"))
    (320, 240)
    """
    size = preprocessing.image_size
    if preprocessing.resize == "squash":
        return size, size
    if preprocessing.resize != "letterbox":
        raise ValueError(f"resize={preprocessing.resize!r} does not keep the whole picture")
    longest = max(width, height)
    return max(1, round(width * size / longest)), max(1, round(height * size / longest))


def fit_boxes(
    boxes: NDArray[np.floating], width: int, height: int, preprocessing: Preprocessing
) -> Boxes:
    """Boxes in an upright picture → boxes in the input that ``resize_image`` makes of it.

    Args:
        boxes: shape (M, 4), xyxy in pixels of the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        preprocessing: it must not crop.

    Returns:
        Shape (M, 4), xyxy in pixels of the input.

    Raises:
        ValueError: the preprocessing crops.

    >>> letterbox = Preprocessing(image_size=320, resize="letterbox")
    >>> fit_boxes(np.array([[64, 48, 128, 96]]), 640, 480, letterbox).tolist()
    [[32.0, 24.0, 64.0, 48.0]]
    """
    return _as_boxes(boxes) * _fitted_scale(width, height, preprocessing)


def unfit_boxes(
    boxes: NDArray[np.floating], width: int, height: int, preprocessing: Preprocessing
) -> Boxes:
    """Boxes in the input → boxes in the upright picture, clipped to it: undoes ``fit_boxes``.

    Args and errors are those of ``fit_boxes``, with the pixels the other way round.

    >>> letterbox = Preprocessing(image_size=320, resize="letterbox")
    >>> unfit_boxes(np.array([[32, 24, 64, 300]]), 640, 480, letterbox).tolist()
    [[64.0, 48.0, 128.0, 480.0]]
    """
    whole = np.array([width, height, width, height], np.float64)
    unfitted = _as_boxes(boxes) / _fitted_scale(width, height, preprocessing)
    return np.asarray(np.clip(unfitted, 0.0, whole))


def _fitted_scale(width: int, height: int, preprocessing: Preprocessing) -> Boxes:
    fitted_width, fitted_height = fitted_size(width, height, preprocessing)
    return np.array([fitted_width / width, fitted_height / height] * 2)


def _as_boxes(boxes: NDArray[np.floating]) -> Boxes:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def fit_image(rgb: RgbArray, preprocessing: Preprocessing) -> RgbArray:
    """Scale the whole of an upright picture to its ``fitted_size``: shape (height, width, 3).

    Raises:
        ValueError: the preprocessing crops.
    """
    image = Image.fromarray(rgb)
    fitted = fitted_size(image.width, image.height, preprocessing)
    return np.asarray(image.resize(fitted, _RESAMPLING[preprocessing.interpolation]))


def pad_image(fitted: RgbArray, preprocessing: Preprocessing) -> RgbArray:
    """Fill a fitted picture up to the input's square: shape (size, size, 3), ``uint8``."""
    size = preprocessing.image_size
    padded = np.empty((size, size, 3), np.uint8)
    padded[:] = mean_colour(preprocessing)
    padded[: fitted.shape[0], : fitted.shape[1]] = fitted
    return padded


def mean_colour(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of what a letterbox is filled with.

    >>> mean_colour(Preprocessing(image_size=320))
    (124, 116, 104)
    """
    red, green, blue = (round(255 * mean) for mean in preprocessing.mean)
    return red, green, blue


def normalise(rgb: RgbArray, preprocessing: Preprocessing) -> InputArray:
    """``(rgb / 255 - mean) / std`` in channel × height × width order, ``float32``."""
    mean = np.asarray(preprocessing.mean, np.float32) * 255.0
    scale = 1.0 / (np.asarray(preprocessing.std, np.float32) * 255.0)
    return np.ascontiguousarray(((rgb - mean) * scale).transpose(2, 0, 1), dtype=np.float32)
