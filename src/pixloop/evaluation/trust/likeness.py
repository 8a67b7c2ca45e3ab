"""Whether two pictures are the same one, though it was cropped, mirrored, recoloured or compressed.

Compared are gray thumbnails without their coarse shading, in which any two skies agree. Of both
ways round and a few scales the one is taken in which the two correlate best at any shift; from
there the second is laid over the first as well as a small affine motion allows (Evangelidis and
Psarakis, Parametric image alignment using enhanced correlation coefficient maximization, 2008), and
what counts is how well they correlate then.
"""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixloop.decoding import decode_image

Floats = NDArray[np.float32]
Gray = NDArray[np.uint8]

#: Sides of a thumbnail, in pixels.
SIDE = 64
#: The correlation from which on two pictures are the same.
SAME = 0.85
#: Smaller pictures are not moved against one another: any two strokes of the pen would fit.
LEAST_ALIGNED_PX = 32
#: The correlation of such small pictures that are the same; as ``data.duplicates`` has it.
SAME_TINY = 0.996

_SHADING_PX = 4.0  # what is coarser is taken away
_LEAST_DETAIL = 2.0  # gray levels; in less there is nothing to recognise
_SCALES = (1.0, 0.9, 0.8, 1.11, 1.25)
#: The correlation at the best shift from which on a motion is looked for.
_PROMISING = 0.2
_LEAST_OVERLAP = 0.5  # of a thumbnail
_MOST_STRETCH = 1.6  # of any direction, either way
_ITERATIONS, _PRECISION, _SMOOTHING_PX = 40, 1e-4, 3


def thumbnail_of(picture: bytes) -> tuple[Gray, bool]:
    """A picture as gray pixels, uint8 (SIDE, SIDE), and whether it is large enough to be moved.

    Raises:
        ImageError: it cannot be read.
    """
    image = Image.fromarray(decode_image(picture)).convert("L")
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small), min(image.size) >= LEAST_ALIGNED_PX


def likeness(a: Gray, b: Gray, aligned: bool = True) -> float:
    """How well two thumbnails correlate, -1 to 1; 0 where either shows nothing.

    Args:
        a: uint8 (SIDE, SIDE).
        b: likewise.
        aligned: whether they are moved against one another first.
    """
    if not aligned:
        return _correlation(a.astype(np.float32), b.astype(np.float32))
    first, second = _detail(a), _detail(b)
    if min(first.std(), second.std()) < _LEAST_DETAIL:
        return 0.0
    found, motion, mirrored = _shift(first, second)
    if found < _PROMISING:
        return found
    turned = np.ascontiguousarray(second[:, ::-1]) if mirrored else second
    return max(found, _aligned(first, turned, motion))


def _detail(gray: Gray) -> Floats:
    """The pixels without their coarse shading, float32 (SIDE, SIDE)."""
    pixels = gray.astype(np.float32)
    shading = _opencv().GaussianBlur(pixels, (0, 0), _SHADING_PX)
    return np.asarray(pixels - shading, np.float32)


def _shift(a: Floats, b: Floats) -> tuple[float, Floats, bool]:
    """The best of a few scales, both ways round: correlation, motion (2, 3), whether mirrored."""
    cv2, best = _opencv(), (0.0, np.eye(2, 3, dtype=np.float32), False)
    spectrum = np.fft.rfft2(a / max(float(np.linalg.norm(a)), 1e-6))
    for scale in _SCALES:
        centre = (1 - scale) * (SIDE - 1) / 2
        zoom = np.array([[scale, 0, centre], [0, scale, centre]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        scaled = cv2.warpAffine(b, zoom, (SIDE, SIDE), flags=flags)
        for mirrored in (False, True):
            other = scaled[:, ::-1] if mirrored else scaled
            seen = np.fft.rfft2(other / max(float(np.linalg.norm(other)), 1e-6))
            shifts = np.fft.irfft2(spectrum.conj() * seen, a.shape)
            y, x = np.unravel_index(shifts.argmax(), shifts.shape)
            if shifts[y, x] > best[0]:
                motion = zoom.copy()
                motion[:, 2] += scale * ((np.array([x, y]) + SIDE // 2) % SIDE - SIDE // 2)
                best = float(shifts[y, x]), motion, mirrored
    return best


def _aligned(a: Floats, b: Floats, motion: Floats) -> float:
    """The correlation where both are seen, after the motion was made better; 0 without any."""
    cv2 = _opencv()
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, _PRECISION)
    try:
        _, motion = cv2.findTransformECC(
            a, b, motion, cv2.MOTION_AFFINE, criteria, None, _SMOOTHING_PX
        )
    except cv2.error:  # it does not converge: they have nothing in common
        return 0.0
    stretches = np.linalg.svd(motion[:, :2], compute_uv=False)
    if stretches[0] > _MOST_STRETCH or stretches[1] < 1 / _MOST_STRETCH:
        return 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, motion, (SIDE, SIDE), flags=flags)
    seen = cv2.warpAffine(np.ones_like(b), motion, (SIDE, SIDE), flags=flags) > 0.99
    return _correlation(a[seen], moved[seen]) if seen.mean() >= _LEAST_OVERLAP else 0.0


def _correlation(a: Floats, b: Floats) -> float:
    if min(a.std(), b.std()) < _LEAST_DETAIL:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


@cache
def _opencv() -> ModuleType:
    import cv2

    cv2.setNumThreads(1)  # as ``resampling`` does, for the whole process
    return cv2
