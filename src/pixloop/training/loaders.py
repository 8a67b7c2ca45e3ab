"""Pictures on their way to the network, in an order that only depends on the seed.

Batches travel as ``uint8`` in height × width × channel order: a quarter of the bytes of floats,
and already channels-last when the network's device normalises them.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from pixloop.data.augment import Augmenter
from pixloop.data.dataset import Split
from pixloop.imaging import Preprocessing, RgbArray, decode_image, resize_image

#: A row and the seed of its augmentation; without a seed the picture stays as it is.
Item = tuple[int, int | None]
#: Pictures, uint8 (N, size, size, 3), and labels, int64 (N,).
Batch = tuple[Tensor, Tensor]


class EpochBatches(Sampler[list[Item]]):
    """The batches of an epoch: which pictures, in which order, with which augmentation seeds.

    All of it follows from (seed, epoch, row), so that an epoch can be repeated exactly. Batches
    differ by at most one picture in size: no picture is dropped, and no tiny last batch upsets
    batch normalisation.
    """

    def __init__(self, pictures: int, batch_size: int, seed: int) -> None:
        self._pictures, self._seed = pictures, seed
        self._batches = -(-pictures // batch_size)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[Item]]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(self._pictures)
        seeds = random.integers(2**32, size=self._pictures)
        for rows in np.array_split(order, self._batches):
            yield [(int(row), int(seeds[row])) for row in rows]


class Pictures(TorchDataset[Batch]):
    """Reads a batch of a split at a time, augmented where an item has a seed."""

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: Sequence[str]) -> None:
        self._split, self._preprocessing = split, preprocessing
        self._augment = Augmenter(augment, preprocessing)

    def __getitem__(self, items: Sequence[Item]) -> Batch:
        pictures, labels = zip(*(self._read(*item) for item in items), strict=True)
        return torch.from_numpy(np.stack(pictures)), torch.tensor(labels)

    def _read(self, row: int, seed: int | None) -> tuple[RgbArray, int]:
        found = self._split.read(row)
        rgb = decode_image(found.image)
        if seed is None:
            return resize_image(rgb, self._preprocessing), found.label
        return self._augment(rgb, seed), found.label


def training_loader(
    split: Split,
    preprocessing: Preprocessing,
    *,
    augmentations: Sequence[str],
    batch_size: int,
    seed: int,
    workers: int,
) -> "DataLoader[Batch]":
    """Augmented pictures, in a new order each epoch."""
    return DataLoader(
        Pictures(split, preprocessing, augmentations),
        sampler=EpochBatches(len(split), batch_size, seed),
        batch_size=None,  # the sampler's items are whole batches
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def plain_loader(
    split: Split, preprocessing: Preprocessing, batch_size: int, workers: int, limit: int
) -> "DataLoader[Batch]":
    """Pictures as serving sees them, in order; at most ``limit``, evenly spread."""
    step = -(-len(split) // limit)
    rows = range(0, len(split), step)
    batches: list[list[Item]] = [
        [(row, None) for row in rows[start : start + batch_size]]
        for start in range(0, len(rows), batch_size)
    ]
    return DataLoader(
        Pictures(split, preprocessing, ()),
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def suitable_workers(on_gpu: bool) -> int:
    """How many processes should load pictures on this machine.

    A picture takes 0.6 (8×8 PNG) to 1.4 ms (150×150 JPEG) of one core to read, decode and augment,
    a training step of a small network on the CPU 10 to 20 ms of all cores: there, processes would
    only take cores from the network.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, cores or 1) if on_gpu else 0
