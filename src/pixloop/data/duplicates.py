"""Near-duplicates: the same picture encoded again or resized.

Pictures whose difference hashes are a few bits apart are candidates; what decides is whether
their thumbnails agree up to a small part of their contrast. (The hash alone would call half of all
handwritten digits the same.) Works on arrays of some 70 bytes a picture; thumbnails may be a
memory map, of which no more is held than is looked at.

A picture is held against a bounded number of others, so the work grows no faster than their number.
"""

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 4
# Root mean square difference of thumbnails over their contrast. JPEG of quality 20 to 50 and
# resizing by 1/2 to 2 stay below on photographs; the nearest different digits are just above.
MAX_DIFFERENCE = 0.09
MAX_MEAN_DIFFERENCE = 0.05  # of any channel, 0..1: a recoloured picture is another one
MIN_CONTRAST = 2.0  # gray levels; in a picture of one colour there is nothing to recognise

# Hashes at most MAX_BITS apart agree in at least one of MAX_BITS + 1 bands.
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
# Within a band's bucket, pictures are held against this many neighbours in the order of their
# hashes: all of them, but in huge buckets of pictures that all look alike.
_NEIGHBOURS = 512
_BATCH = 8192
_SORTED = 65_536


def group_near_duplicates(
    dhashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], means: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Which pictures belong together.

    Args:
        dhashes: difference hashes, shape (N,).
        thumbnails: gray pixels, shape (N, 256).
        means: of the channels, 0 to 1, shape (N, 3).

    Returns:
        For each picture the index of the first picture of its group, shape (N,).
    """
    first = np.arange(len(dhashes), dtype=np.int64)
    for i, j in find_near_duplicates(dhashes, thumbnails, means):
        _join(first, i, j)
    for i in range(len(first)):
        first[i] = first[first[i]]  # roots come before their members, so this one step suffices
    return first


def find_near_duplicates(
    dhashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    means: NDArray[np.float32],
    wanted: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, int]]:
    """Pairs of pictures that look the same; some come several times.

    Args:
        dhashes: as above.
        thumbnails: as above.
        means: as above.
        wanted: shape (N,); only pairs with one of these in them. All, unless given.
    """
    for left, right in _candidates(dhashes):
        near = np.abs(means[left] - means[right]).max(axis=1) <= MAX_MEAN_DIFFERENCE
        if wanted is not None:
            near &= wanted[left] | wanted[right]
        left, right = left[near], right[near]
        for start in range(0, len(left), _BATCH):
            a, b = left[start : start + _BATCH], right[start : start + _BATCH]
            same = _same_picture(thumbnails[a], thumbnails[b])
            _let_go(thumbnails)
            yield from zip(a[same].tolist(), b[same].tolist(), strict=True)


def _candidates(dhashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of indices whose hashes differ in at most MAX_BITS bits; some come several times."""
    for shift, bits in _BANDS:
        band = (dhashes >> np.uint64(shift)) & np.uint64(2**bits - 1)
        order = np.lexsort((dhashes, band))
        del band
        for start in range(0, len(order), _SORTED):
            # Whose last bucket may go on among those that follow.
            block = order[start : start + _SORTED + _NEIGHBOURS]
            for left, right in _near_in_order(dhashes[block], shift, bits, _SORTED):
                yield block[left], block[right]


def _near_in_order(
    dhashes: NDArray[np.uint64], shift: int, bits: int, count: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of near hashes of one bucket, the first of each pair among the first ``count``."""
    band = (dhashes >> np.uint64(shift)) & np.uint64(2**bits - 1)
    left = np.arange(min(count, len(dhashes)))
    for step in range(1, _NEIGHBOURS + 1):
        # Who has left the bucket does not come back: buckets follow one another.
        left = left[left + step < len(dhashes)]
        left = left[band[left + step] == band[left]]
        if not left.size:
            break
        bits_apart = np.bitwise_count(dhashes[left + step] ^ dhashes[left])
        found = left[bits_apart <= MAX_BITS]
        yield found, found + step


def _same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    left, right = a.astype(np.float32), b.astype(np.float32)
    contrast = np.minimum(left.std(axis=1), right.std(axis=1))
    difference = np.sqrt(np.square(left - right).mean(axis=1))
    same = (contrast >= MIN_CONTRAST) & (difference <= MAX_DIFFERENCE * contrast)
    return np.asarray(same, np.bool_)


def _let_go(thumbnails: NDArray[np.uint8]) -> None:
    """Hold no longer in memory what was read of a memory map; the file keeps it."""
    file: object = thumbnails.base
    if isinstance(file, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def _join(first: NDArray[np.int64], i: int, j: int) -> None:
    a, b = _root(first, i), _root(first, j)
    first[max(a, b)] = min(a, b)


def _root(first: NDArray[np.int64], i: int) -> int:
    while first[i] != i:
        first[i] = first[first[i]]
        i = int(first[i])
    return i
