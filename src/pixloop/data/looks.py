"""What the kept pictures look like, as arrays: for finding near-duplicates."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixloop.data.index import Index


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
    found = Looks(
        np.empty(count, np.int64),
        np.empty(count, np.uint64),
        np.memmap(file, np.uint8, "w+", shape=(count, 256)),
        np.empty((count, 3), np.float32),
    )
    rows = index.db.execute("SELECT id, dhash, colours, thumbnail FROM kept ORDER BY sha256, id")
    for i, (id_, dhash, colours, thumbnail) in enumerate(rows):
        found.ids[i], found.dhashes[i] = id_, int.from_bytes(dhash, "little")
        found.means[i] = np.frombuffer(colours, np.float64, count=3)
        found.thumbnails[i] = np.frombuffer(thumbnail, np.uint8)
    try:
        yield found
    finally:
        file.unlink()
