"""Pictures that are the same one, within a split and across splits.

Near-duplicates that ``data.duplicates`` knows are on one side of the split already; what is found
here differs more: it was cropped, mirrored, recoloured, blurred, or is the next frame of a film.
Candidates are each picture's nearest ones in what the model sees; what decides is their pixels.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.trust.likeness import SAME, SAME_TINY, likeness
from pixloop.evaluation.trust.pictures import Floats, Pictures
from pixloop.monitoring.extractor import measuring_threads
from pixloop.progress import progress

#: Of each picture so many nearest ones are compared with it.
NEIGHBOURS = 3
_ROWS = 512  # whose distances are in memory at once
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Twins:
    """Two pictures that are the same: rows of ``Pictures``, and how well they correlate."""

    a: int
    b: int
    likeness: float


def find_twins(pictures: Pictures) -> list[Twins]:
    """Pairs of pictures that are the same one, the most alike first."""
    pairs = _nearest(pictures.embeddings, pictures.of("test"))
    found: list[Twins] = []

    def compare(pair: tuple[int, int]) -> Twins | None:
        a, b = pair
        aligned = bool(pictures.large[a] and pictures.large[b])
        alike = likeness(pictures.thumbnails[a], pictures.thumbnails[b], aligned)
        return Twins(a, b, alike) if alike >= (SAME if aligned else SAME_TINY) else None

    with (
        ThreadPoolExecutor(measuring_threads()) as pool,
        progress("comparing pictures", len(pairs)) as advance,
    ):
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            found += [twins for twins in pool.map(compare, chunk) if twins]
            advance(len(chunk))
    return sorted(found, key=lambda twins: (-twins.likeness, twins.a, twins.b))


def groups_of(pairs: Iterable[Twins]) -> list[tuple[int, ...]]:
    """Pictures that belong together by any chain of pairs; each group's rows rise."""
    group: dict[int, set[int]] = {}
    for twins in pairs:
        both = group.get(twins.a, {twins.a}) | group.get(twins.b, {twins.b})
        for row in both:
            group[row] = both
    return sorted({tuple(sorted(rows)) for rows in group.values()})


def _nearest(embeddings: Floats, tests: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Each picture's nearest ones by cosine, and each test picture's among the others, as pairs."""
    if not embeddings.shape[1]:
        return []
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(lengths, 1e-12)
    there = np.flatnonzero(lengths[:, 0] > 0)
    others = np.setdiff1d(there, np.flatnonzero(tests))
    of_tests = np.intersect1d(there, np.flatnonzero(tests))
    pairs = _near(unit, there, there) | _near(unit, of_tests, others)
    return sorted(pairs)


def _near(unit: Floats, rows: NDArray[np.intp], among: NDArray[np.intp]) -> set[tuple[int, int]]:
    most = min(NEIGHBOURS, len(among) - 1)
    pairs: set[tuple[int, int]] = set()
    if most < 1:
        return pairs
    columns = unit[among].T
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        cosines = unit[some] @ columns
        cosines[some[:, None] == among[None, :]] = -np.inf
        near = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        pairs |= {
            (min(i, j), max(i, j))
            for i, row in zip(some.tolist(), among[near].tolist(), strict=True)
            for j in row
        }
    return pairs
