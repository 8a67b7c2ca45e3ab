"""Explained answers as pictures: what was seen, and the same with what spoke coloured."""

import base64
import io

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pixloop.decoding import RgbArray, decode_image
from pixloop.evaluation.explanations.explainer import Answer
from pixloop.evaluation.explanations.overlay import Floats, draw_overlay, place_side_by_side
from pixloop.records import Xyxy

_SIDE_PX = 168  #: the longest side of a picture in the report
_TINY_PX = 64  #: up to here, pixels stay as they are
_LEAST_WIDTH_PX = 420  #: of what is drawn with a caption
_DARK, _WHITE = (16, 20, 28), (255, 255, 255)


def draw_explanation(
    answer: Answer, shares: Floats, side: int = _SIDE_PX
) -> tuple[Image.Image, bool]:
    """A picture beside the same under its map, each at most ``side`` pixels; whether it is tiny."""
    rgb = decode_image(answer.picture)
    overlay = draw_overlay(rgb, shares)
    if answer.box is not None:
        rgb, overlay = _draw_box(rgb, answer.box), _draw_box(overlay, answer.box)
    images = [Image.fromarray(each) for each in (rgb, overlay)]
    tiny = max(rgb.shape) <= _TINY_PX
    if not tiny:
        for image in images:
            image.thumbnail((side, side))
    gap = 1 if tiny else 4
    return place_side_by_side(np.asarray(images[0]), np.asarray(images[1]), gap), tiny


def encode(image: Image.Image, tiny: bool) -> str:
    """A picture as a ``data:`` address."""
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=80, optimize=True)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _draw_box(rgb: RgbArray, box: Xyxy) -> RgbArray:
    """A white line inside a dark one: legible on any picture and any colour of a map."""
    x1, y1, x2, y2 = (round(edge) for edge in box)
    line = max(1, round(max(rgb.shape) / 160))
    drawn = cv2.rectangle(rgb.copy(), (x1, y1), (x2, y2), _DARK, 3 * line)
    return np.asarray(cv2.rectangle(drawn, (x1, y1), (x2, y2), _WHITE, line), np.uint8)


def draw_with_caption(image: Image.Image, caption: str) -> Image.Image:
    """A picture with a line of text below it; a small one is enlarged so that the line fits."""
    factor = -(-_LEAST_WIDTH_PX // image.width)
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    letters = max(13.0, image.width / 50)
    font = ImageFont.load_default(size=letters)
    room = round(letters * 1.8)
    whole = Image.new("RGB", (image.width, image.height + room), "white")
    whole.paste(image, (0, 0))
    place = (letters * 0.4, image.height + letters * 0.3)
    ImageDraw.Draw(whole).text(place, caption, fill="black", font=font)
    return whole
