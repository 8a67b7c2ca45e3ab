from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixloop.training.epoch_batches import EpochBatches


@dataclass
class Files:
    """A split's shards, and what was heard of those that are read next."""

    shard_rows: tuple[int, ...]
    streams: bool = False
    heard: list[list[int]] = field(default_factory=list)

    def ahead(self, shards):
        self.heard.append(list(shards))

    def shard_of(self, row):
        return int(np.searchsorted(np.cumsum(self.shard_rows), row, side="right"))


ROWS = st.integers(1, 12)
FEW = st.builds(Files, st.lists(ROWS, min_size=1, max_size=16).map(tuple))
MANY = st.builds(Files, st.lists(ROWS, min_size=17, max_size=60).map(tuple))
FETCHED = st.builds(Files, st.lists(ROWS, min_size=1, max_size=60).map(tuple), st.just(True))
ANY = FEW | MANY | FETCHED
SIZE, SEED, EPOCH = st.integers(1, 64), st.integers(0, 5), st.integers(0, 5)


def epoch_of(files, size, seed, epoch, *place):
    batches = EpochBatches(files, size, seed, *place)
    batches.set_epoch(epoch)
    return batches


@given(ANY, SIZE, SEED, EPOCH)
def test_every_epoch_has_every_picture_once_in_even_batches(files, size, seed, epoch):
    pictures = sum(files.shard_rows)
    batches = epoch_of(files, size, seed, epoch)
    found = list(batches)
    assert len(found) == len(batches) == -(-pictures // size)
    assert Counter(row for batch in found for row, _ in batch) == Counter(range(pictures))
    sizes = {len(batch) for batch in found}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert found == list(batches)


@given(FEW, SIZE, SEED, EPOCH)
def test_a_small_data_set_is_read_at_random(files, size, seed, epoch):
    """The order that runs of earlier versions had, draw by draw."""
    pictures = sum(files.shard_rows)
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(pictures)
    seeds = random.integers(2**32, size=pictures)
    expected = [
        [(int(row), int(seeds[row])) for row in rows]
        for rows in np.array_split(order, -(-pictures // size))
    ]
    assert list(epoch_of(files, size, seed, epoch)) == expected
    assert files.heard == []


@given(MANY | FETCHED, SIZE, SEED, EPOCH)
def test_of_a_large_one_few_shards_are_being_read_at_a_time(files, size, seed, epoch):
    order = [row for batch in epoch_of(files, size, seed, epoch) for row, _ in batch]
    shards = [files.shard_of(row) for row in order]
    last = {shard: place for place, shard in enumerate(shards)}
    reading = set()
    for place, shard in enumerate(shards):
        reading.add(shard)
        assert len(reading) <= 7
        if last[shard] == place:
            reading.remove(shard)


def test_windows_are_small_and_mixed():
    files = Files((100,) * 40)
    order = [row for batch in EpochBatches(files, 50, 1) for row, _ in batch]
    windows = [order[start : start + 400] for start in range(0, 4000, 400)]
    for window in windows:
        shards = [files.shard_of(row) for row in window]
        assert len(set(shards)) == 4
        assert all(set(shards[start : start + 50]) == set(shards) for start in range(0, 400, 50))
    assert [{files.shard_of(row) for row in window} for window in windows] != [
        {files.shard_of(row) for row in window} for window in np.split(np.arange(4000), 10)
    ]


@given(MANY | FETCHED, SIZE, SEED, EPOCH, st.integers(0, 200))
def test_the_split_hears_of_a_window_and_the_next_as_it_begins(files, size, seed, epoch, first):
    batches = epoch_of(files, size, seed, epoch)
    batches.resume(epoch, min(first, len(batches) - 1))
    told = -1
    for batch in batches:
        shards = [files.shard_of(row) for row, _ in batch]
        assert set(shards) <= set(files.heard[-1])
        if len(files.heard) - 1 > told:
            told = len(files.heard) - 1
            assert shards[0] in files.heard[-1][:7]  # a window has at most seven
    for before, after in zip(files.heard, files.heard[1:], strict=False):
        assert set(before) & set(after)  # what is begun was heard of before


@given(ANY, SIZE, st.integers(1, 9), EPOCH)
def test_slices_are_the_batches_of_one_process(files, size, world, epoch):
    whole = epoch_of(files, size, 3, epoch)
    parts = [epoch_of(files, size, 3, epoch, rank, world) for rank in range(world)]
    for number, (batch, *slices) in enumerate(zip(whole, *parts, strict=True)):
        weights = [part.weight(number) for part in parts]
        counted = [items for items, weight in zip(slices, weights, strict=True) if weight]
        assert [item for items in counted for item in items] == batch
        assert all(len(items) > 0 for items in slices)
        # The mean over processes of each one's weighted mean is the mean over the batch.
        means = [np.mean([row for row, _ in items]) for items in slices]
        found = np.mean(np.array(means) * weights)
        assert found == pytest.approx(np.mean([row for row, _ in batch]))


@given(ANY, SIZE, SEED, EPOCH, st.data())
def test_an_epoch_is_resumed_at_any_batch(files, size, seed, epoch, data):
    whole = epoch_of(files, size, seed, epoch)
    following = epoch_of(files, size, seed, epoch + 1)
    first = data.draw(st.integers(0, len(whole)))
    resumed = EpochBatches(files, size, seed)
    resumed.resume(epoch, first)
    resumed.set_epoch(epoch)  # by Lightning
    assert list(resumed) == list(whole)[first:]
    assert len(resumed) == len(whole)
    resumed.set_epoch(epoch + 1)
    assert list(resumed) == list(following)


@pytest.mark.parametrize("files", [Files((50,)), Files((3,) * 20)])
def test_epochs_and_seeds_differ(files):
    def epoch(seed, number):
        return next(iter(epoch_of(files, 60, seed, number)))

    assert epoch(0, 0) != epoch(0, 1)
    assert epoch(0, 0) != epoch(1, 0)
    assert dict(epoch(0, 0)) != dict(epoch(0, 1))  # the augmentations change too
