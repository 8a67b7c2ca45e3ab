"""Upright pictures → model input: the one preprocessing of training and serving.

Arrays of pictures are ``uint8`` in height × width × channel order, channels red, green, blue.
Model inputs are ``float32`` in channel × height × width order, normalised.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from pixloop.decoding import (
    RgbArray,
    Size,
    decode_array,
    is_jpeg,
    load_upright,
    open_image,
    upright_size,
)
from pixloop.resampling import Box, Interpolation, resample

InputArray = NDArray[np.float32]
Boxes = NDArray[np.float64]  #: shape (M, 4), xyxy

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: crop: scale the short side, cut the centre. squash: scale both sides, cut nothing. letterbox:
#: scale the long side, fill what is left on the right or at the bottom with the mean colour.
Resize = Literal["crop", "squash", "letterbox"]

#: A JPEG decoded smaller keeps at least so many pixels for each of the input's, along each side.
_PIXELS_KEPT = 2


class Preprocessing(BaseModel):
    """How an upright picture becomes model input. Travels in the bundle, beside the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: int = Field(ge=1, le=8192)  #: side of the square input, in pixels
    resize: Resize = "crop"
    crop_share: float = Field(default=0.875, gt=0, le=1)  #: side of the crop / scaled short side
    interpolation: Interpolation = "bicubic"
    #: whether a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves at least twice
    #: the pixels of the input along each side
    scaled_decoding: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN  #: of RGB in 0..1
    std: tuple[float, float, float] = IMAGENET_STD


def read_input(
    data: bytes,
    preprocessing: Preprocessing,
    out: RgbArray | None = None,
    part: Callable[[Size], Box] | None = None,
) -> tuple[RgbArray, Size]:
    """Encoded picture → the pixels that a network sees: the only way there, wherever one is used.

    Without ``scaled_decoding`` the pixels are those of ``resize_image(decode_image(data))``.

    Args:
        data: the encoded picture.
        preprocessing: how it becomes input.
        out: where the pixels are written, shape (size, size, 3), ``uint8``: a slot of a batch, say.
        part: from the upright picture's size to the part of it that is taken for the whole. Its
            result lies in the picture.

    Returns:
        The pixels, shape (size, size, 3), ``uint8``, and the size of the upright picture.

    Raises:
        ImageTooLarge: it has more than ``decoding.MAX_PIXELS`` pixels; nothing was decoded.
        ImageError: it is empty, truncated, corrupt or of an unknown format.
    """
    image = open_image(data)
    size = upright_size(image)
    whole = (0.0, 0.0, float(size.width), float(size.height)) if part is None else part(size)
    box, target = frame_picture(whole, preprocessing)
    shrinks = preprocessing.scaled_decoding and is_jpeg(image)
    shrink = _suitable_shrink(box, target) if shrinks else 1
    picture: Image.Image | RgbArray
    if preprocessing.interpolation == "area":
        picture = decode_array(data, image, shrink)
        shrunk = Size(picture.shape[1], picture.shape[0])
    else:
        picture = load_upright(image, shrink)
        shrunk = Size(*picture.size)
    return _fill(out, picture, _scale_box(box, size, shrunk), target, preprocessing), size


def _suitable_shrink(box: Box, target: Size) -> int:
    """8, 4 or 2, the first that leaves a box enough pixels for its target, or else 1."""
    width, height = (box[2] - box[0]) / _PIXELS_KEPT, (box[3] - box[1]) / _PIXELS_KEPT
    enough = (s for s in (8, 4, 2) if width >= s * target.width and height >= s * target.height)
    return next(enough, 1)


def _scale_box(box: Box, size: Size, scaled: Size) -> Box:
    # Multiplied first: what ends at the picture's edge ends exactly at the scaled one's.
    left, right = (edge * scaled.width / size.width for edge in box[::2])
    top, bottom = (edge * scaled.height / size.height for edge in box[1::2])
    return left, top, right, bottom


def to_input(rgb: RgbArray, preprocessing: Preprocessing) -> InputArray:
    """Resize, crop and normalise an upright RGB array to model input, shape (3, size, size)."""
    return normalise(resize_image(rgb, preprocessing), preprocessing)


def resize_image(rgb: RgbArray, preprocessing: Preprocessing) -> RgbArray:
    """The geometric half of ``to_input``: shape (size, size, 3), ``uint8``."""
    box, target = frame_picture((0.0, 0.0, rgb.shape[1], rgb.shape[0]), preprocessing)
    return _fill(None, rgb, box, target, preprocessing)


def frame_picture(whole: Box, preprocessing: Preprocessing) -> tuple[Box, Size]:
    """The part of a picture that is seen, and the input pixels, from the upper left, it fills."""
    left, top, right, bottom = whole
    width, height = right - left, bottom - top
    if preprocessing.resize != "crop":
        return whole, Size(*fitted_size(width, height, preprocessing))
    # The crop's box in the source picture, so that one resize does the scaling and the cutting.
    side = min(width, height) * preprocessing.crop_share
    left, top = left + (width - side) / 2, top + (height - side) / 2
    size = preprocessing.image_size
    return (left, top, left + side, top + side), Size(size, size)


def _fill(
    out: RgbArray | None,
    picture: Image.Image | RgbArray,
    box: Box,
    target: Size,
    preprocessing: Preprocessing,
) -> RgbArray:
    size = preprocessing.image_size
    if out is None:
        out = np.empty((size, size, 3), np.uint8)
    if target != (size, size):
        out[:] = mean_colour(preprocessing)
    resample(picture, box, preprocessing.interpolation, out[: target.height, : target.width])
    return out


def fitted_size(width: float, height: float, preprocessing: Preprocessing) -> tuple[int, int]:
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
