"""A picture as it is asked: upright, in a format that every browser shows."""

import io
from dataclasses import dataclass

from pixloop.decoding import exif_orientation, load_upright, open_image

#: What browsers show, and what a file of it is called.
_SHOWN = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture for people.

    Attributes:
        content: the file; the picture's own bytes where it stands upright already.
        suffix: without a dot.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
    """

    content: bytes
    suffix: str
    width: int
    height: int


def to_shown(picture: bytes) -> Shown:
    """A picture as people see it: turned upright once, so that no two programs turn it twice.

    Percent of what is shown are then percent of the upright picture, which pixloop counts in.

    Raises:
        ImageError: it cannot be read.
    """
    image = open_image(picture)
    upright = load_upright(image)
    suffix = _SHOWN.get(image.format or "")
    if suffix and exif_orientation(image) == 1 and not getattr(image, "is_animated", False):
        return Shown(picture, suffix, upright.width, upright.height)
    content = io.BytesIO()
    upright.save(content, "JPEG", quality=95, subsampling=0)
    return Shown(content.getvalue(), "jpg", upright.width, upright.height)
