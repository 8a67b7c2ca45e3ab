"""What the kept pictures look like, as arrays: for finding near-duplicates."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixloop.data.index import BY_HASH, Index


class Looks(NamedTuple):
    """Of N pictures in the order of their SHA-256."""

    ids: NDArray[np.int64]  #: of the samples, (N,)
    dhashes: NDArray[np.uint64]  #: difference hashes, (N,)
    thumbnails: NDArray[np.uint8]  #: gray, (N, 256), on disk
    means: NDArray[np.float32]  #: of the channels, 0 to 1, (N, 3)


@contextmanager
def looks(index: Index, work: Path) -> Iterator[Looks]:
    """The looks of what is kept, at least one picture; their file in ``work`` goes afterwards."""
    count = index.db.execute("SELECT COUNT(*) FROM kept").fetchone()[0]
    file = work / "thumbnails.bin"
    ids, dhashes = np.empty(count, np.int64), np.empty(count, np.uint64)
    means = np.empty((count, 3), np.float32)
    rows = index.db.execute(f"SELECT id, dhash, colours, thumbnail FROM kept {BY_HASH}, id")  # noqa: S608
    try:
        with file.open("wb") as thumbnails:
            for i, (id_, dhash, colours, thumbnail) in enumerate(rows):
                ids[i], dhashes[i] = id_, int.from_bytes(dhash, "little")
                means[i] = np.frombuffer(colours, np.float64, count=3)
                thumbnails.write(thumbnail)
        yield Looks(ids, dhashes, np.memmap(file, np.uint8, "r", shape=(count, 256)), means)
    finally:
        file.unlink()
