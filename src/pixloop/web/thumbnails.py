"""Small copies of pictures. Imports little: a process that may die of a picture begins here."""

import io

from PIL import Image

from pixloop.decoding import is_jpeg, load_upright, open_image

#: Up to this side a picture is shown by its own pixels, enlarged, and sent without loss.
TINY_PX = 96


def shrink(data: bytes, size: int) -> tuple[bytes, str]:
    """An encoded picture, made anew with at most ``size`` pixels along each side.

    Returns:
        The new picture and its media type.

    Raises:
        ImageError: the picture cannot be read.
    """
    image = open_image(data)
    longest = max(image.size)
    # A large JPEG is decoded smaller, where enough is left to shrink well.
    steps = (step for step in (8, 4, 2) if is_jpeg(image) and longest >= 2 * step * size)
    rgb = load_upright(image, next(steps, 1) if min(image.size) >= 16 else 1)
    rgb.thumbnail((size, size))
    return encode(rgb)


def encode(rgb: Image.Image) -> tuple[bytes, str]:
    """A picture without anything but its pixels: PNG where it is tiny, else JPEG."""
    buffer, tiny = io.BytesIO(), max(rgb.size) <= TINY_PX
    bare = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    if tiny:
        bare.save(buffer, "PNG")
    else:
        bare.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), "image/png" if tiny else "image/jpeg"
