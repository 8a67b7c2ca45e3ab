"""Which training pictures come when: an order that only depends on the data set and the seed."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

#: A row and the seed of its augmentation; without a seed the picture stays as it is.
Item = tuple[int, int | None]

#: A split of more shards (of 250 MB) may be larger than memory. Not measured: the order of the
#: pictures must not depend on the machine.
_MOST_AT_RANDOM = 16
#: What is read at random at a time, 1 GB: it fits in memory beside all else.
_WINDOW_SHARDS = 4


class Shards(Protocol):
    """What is known of a split's files."""

    @property
    def shard_rows(self) -> tuple[int, ...]:
        """How many rows each has."""

    @property
    def streams(self) -> bool:
        """Whether they lie elsewhere, and are fetched to be read."""

    def ahead(self, shards: Sequence[int]) -> None:
        """Hear which shards are read next, by number, the first ones first."""


class EpochBatches(Sampler[list[Item]]):
    """The batches of an epoch: which pictures, in which order, with which augmentation seeds.

    All of it follows from (seed, epoch, row), so that an epoch can be repeated exactly. Batches
    differ by at most one picture in size: no picture is dropped, and no tiny last batch upsets
    batch normalisation.

    The order is a random one of all rows. Of a split that may be larger than memory, or is fetched,
    every row at random would cost a read from where it lies: it is read in windows of a few shards.
    Each epoch draws which shards are a window together, and the order of the rows within it. What
    a window holds is already mixed: rows are stored in the order of their hashes.

    Of several processes, each gets its slice of every batch. Where a batch has fewer pictures than
    there are processes, some get one that is another's too, and which does not count.
    """

    def __init__(
        self, shards: Shards, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self._shards, self._seed = shards, seed
        self._pictures = sum(shards.shard_rows)
        self._rank, self._world = rank, world
        self._batches = -(-self._pictures // batch_size)
        self._epoch = self._first = 0

    def resume(self, epoch: int, batch: int) -> None:
        """Begin with this batch of this epoch, both counted from 0."""
        self._epoch, self._first = epoch, batch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also before one that is resumed."""
        if epoch != self._epoch:
            self._epoch, self._first = epoch, 0

    def __len__(self) -> int:
        """Of a whole epoch, as Lightning counts those that were learned before it was resumed."""
        return self._batches

    def __iter__(self) -> Iterator[list[Item]]:
        random = np.random.default_rng((self._seed, self._epoch))
        windows = self._draw_windows(random)
        order, ends = self._draw_order(random, windows)
        seeds = random.integers(2**32, size=self._pictures)
        begun = -1
        end = sum(self._size(batch) for batch in range(self._first))
        for batch in range(self._first, self._batches):
            start, end = end, end + self._size(batch)
            # The last window that the batch reaches into; a small one may lie within it.
            reached = int(np.searchsorted(ends, end))
            if windows and reached > begun:
                first = int(np.searchsorted(ends, start, side="right"))
                self._shards.ahead(np.concatenate(windows[first : reached + 2]).tolist())
                begun = reached
            rows = order[start:end]
            mine = np.array_split(rows, self._world)[self._rank]
            yield [(int(row), int(seeds[row])) for row in (mine if len(mine) else rows[:1])]

    def weight(self, batch: int) -> float:
        """What a slice's mean loss counts, so that the processes' mean is that of the batch."""
        size = self._size(batch)
        mine = size // self._world + (self._rank < size % self._world)
        return mine * self._world / size

    def _size(self, batch: int) -> int:
        return self._pictures // self._batches + (batch < self._pictures % self._batches)

    def _draw_windows(self, random: np.random.Generator) -> list[NDArray[np.intp]]:
        """The shards of each window; none where all rows are read at random."""
        count = len(self._shards.shard_rows)
        if count <= _MOST_AT_RANDOM and not self._shards.streams:
            return []
        return np.array_split(random.permutation(count), max(1, count // _WINDOW_SHARDS))

    def _draw_order(
        self, random: np.random.Generator, windows: list[NDArray[np.intp]]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """All rows, shape (N,), and where among them each window ends."""
        if not windows:
            return random.permutation(self._pictures), np.array([self._pictures])
        starts = np.cumsum([0, *self._shards.shard_rows])
        rows = [np.arange(start, end) for start, end in pairwise(starts)]
        parts = [
            random.permutation(np.concatenate([rows[shard] for shard in shards]))
            for shards in windows
        ]
        return np.concatenate(parts), np.cumsum([len(rows) for rows in parts])
