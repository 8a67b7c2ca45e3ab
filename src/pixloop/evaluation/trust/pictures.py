"""The pictures of a data set that are looked through: what the model sees in each, and a thumbnail.

They are read once, a few in memory at a time; a picture leaves some 5 kB and its embedding.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.data.dataset import SPLITS, Dataset, Row, SplitName
from pixloop.errors import ImageError
from pixloop.evaluation.trust.likeness import SIDE, Gray, thumbnail_of
from pixloop.monitoring.embedding import Embedder, Projection, load_projection
from pixloop.monitoring.extractor import measuring_threads
from pixloop.monitoring.reference import EMBEDDING, FOLDER
from pixloop.progress import progress

Floats = NDArray[np.float32]

#: Pictures in memory at once.
_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """N pictures of a data set's splits.

    Attributes:
        splits: of each.
        indices: int64 (N,), the row in its split.
        paths: of each.
        sha256: of each.
        labels: int64 (N,), -1 in detection.
        embeddings: float32 (N, D), what the model sees; D is 0 where the bundle has no embedding.
            Zeros where a picture cannot be read.
        projected: float32 (N, E), along the principal components of the bundle's reference.
        thumbnails: uint8 (N, SIDE, SIDE), gray.
        large: bool (N,), whether the picture is large enough to be moved against another.
    """

    splits: tuple[SplitName, ...]
    indices: NDArray[np.int64]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: NDArray[np.int64]
    embeddings: Floats
    projected: Floats
    thumbnails: Gray
    large: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.paths)

    def of(self, split: str) -> NDArray[np.bool_]:
        """Which are of a split, (N,)."""
        return np.array([each == split for each in self.splits], np.bool_)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one picture leaves."""

    embedding: Floats
    thumbnail: Gray
    large: bool


class _Eye:
    """Looks at a picture with the bundle's embedding, where it has one."""

    def __init__(self, bundle: Bundle) -> None:
        self._embedder: Embedder | None = None
        self.projection: Projection | None = None
        record = bundle.manifest.reference
        if record is not None and record.embedding is not None:
            bundle.verify(bundle.graph_files(record.embedding.graph))
            self._embedder = Embedder(
                bundle.path, bundle.manifest, record.embedding, measuring_threads()
            )
            self.projection = load_projection(bundle.path / FOLDER / EMBEDDING)
        self._width = 0 if self.projection is None else len(self.projection.mean)

    def __call__(self, row: Row) -> _Seen:
        try:
            thumbnail, large = thumbnail_of(row.image)
            seen = self._embedder(row.image) if self._embedder else np.zeros(0, np.float32)
        except ImageError:
            nothing = np.zeros(self._width, np.float32)
            return _Seen(nothing, np.zeros((SIDE, SIDE), np.uint8), large=False)
        return _Seen(seen, thumbnail, large)

    def project(self, embeddings: Floats) -> Floats:
        if self.projection is None:
            return embeddings
        there = embeddings.any(axis=1, keepdims=True)
        return np.where(there, self.projection.project(embeddings), np.float32(0))


def look_through(
    data: Dataset, bundle: Bundle, most: int, splits: Sequence[SplitName] = SPLITS
) -> Pictures:
    """Look at the pictures of a data set.

    Args:
        data: the data set.
        bundle: whose embedding is used.
        most: of more pictures so many are drawn, of the test split and of the others half each as
            far as they go.
        splits: those that are looked through.
    """
    chosen = _choose({split: len(data.split(split)) for split in splits}, most)
    eye, total = _Eye(bundle), sum(map(len, chosen.values()))
    names: list[SplitName] = []
    indices: list[int] = []
    rows: list[tuple[str, str, int]] = []
    seen: list[_Seen] = []
    with (
        ThreadPoolExecutor(measuring_threads()) as pool,
        progress("looking through the data", total) as advance,
    ):
        for split, wanted in chosen.items():
            each = ((i, row) for i, row in enumerate(data.split(split)) if i in wanted)
            for batch in _batches(each):
                seen += pool.map(eye, [row for _, row in batch])
                indices += [i for i, _ in batch]
                rows += [(row.path, row.sha256, row.label) for _, row in batch]
                names += [split] * len(batch)
                advance(len(batch))
    width = len(seen[0].embedding) if seen else 0
    embeddings = np.array([each.embedding for each in seen], np.float32).reshape(total, width)
    return Pictures(
        splits=tuple(names),
        indices=np.array(indices, np.int64),
        paths=tuple(path for path, _, _ in rows),
        sha256=tuple(sha256 for _, sha256, _ in rows),
        labels=np.array([label for _, _, label in rows], np.int64),
        embeddings=embeddings,
        projected=eye.project(embeddings),
        thumbnails=np.array([each.thumbnail for each in seen], np.uint8).reshape(total, SIDE, SIDE),
        large=np.array([each.large for each in seen], np.bool_),
    )


def _choose(sizes: dict[SplitName, int], most: int) -> dict[SplitName, set[int]]:
    """Which rows of each split are looked at; always the same ones."""
    tests = sizes.get("test", 0)
    others = sum(sizes.values()) - tests
    of_test = min(tests, max(most // 2, most - others))
    of_others = min(others, most - of_test)
    rng = np.random.default_rng(0)
    picked = set(rng.permutation(others)[:of_others].tolist())
    chosen: dict[SplitName, set[int]] = {}
    start = 0
    for split, size in sizes.items():
        if split == "test":
            chosen[split] = set(rng.permutation(size)[:of_test].tolist())
            continue
        chosen[split] = {i for i in range(size) if start + i in picked}
        start += size
    return chosen


def _batches(rows: Iterator[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
