"""Pictures on their way to the network.

Batches travel as ``uint8`` in height × width × channel order: a quarter of the bytes of floats,
and already channels-last when the network's device normalises them.
"""

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from pixloop.bundle import Task
from pixloop.data.augment import Augmenter, BoxAugmenter
from pixloop.data.dataset import Split
from pixloop.data.inspection import cores
from pixloop.decoding import RgbArray
from pixloop.imaging import Preprocessing, fit_boxes, read_input
from pixloop.training.distributed import share
from pixloop.training.epoch_batches import EpochBatches, Item

#: Pictures, uint8 (N, size, size, 3), and labels, int64 (N,).
Batch = tuple[Tensor, Tensor]
#: What is in one picture: boxes float32 (M, 4) xyxy in pixels of the input, labels int64 (M,) from
#: 1 on (0 is torchvision's background), and, where nothing is augmented, iscrowd int64 (M,).
Target = dict[str, Tensor]
#: Pictures, uint8 (N, size, size, 3), and what is in each.
BoxBatch = tuple[Tensor, list[Target]]

_MOST_WORKERS = 32


class Pictures(TorchDataset[Batch]):
    """Reads a batch of a split at a time, augmented where an item has a seed."""

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: Sequence[str]) -> None:
        self._split, self._preprocessing = split, preprocessing
        self._augment = Augmenter(augment, preprocessing)

    def __getitem__(self, items: Sequence[Item]) -> Batch:
        batch = _empty(len(items), self._preprocessing)
        pixels, labels = batch.numpy(), torch.empty(len(items), dtype=torch.int64)
        for place in _reading_order(items):
            labels[place] = self._read(*items[place], pixels[place])
        return batch, labels

    def _read(self, row: int, seed: int | None, out: RgbArray) -> int:
        found = self._split.read(row)
        if seed is None:
            read_input(found.image, self._preprocessing, out)
        else:
            out[...] = self._augment(found.image, seed)
        return found.label


class BoxPictures(TorchDataset[BoxBatch]):
    """As ``Pictures``, with what is where in them. Crowds are not learned."""

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: Sequence[str]) -> None:
        self._split, self._preprocessing = split, preprocessing
        self._augment = BoxAugmenter(augment, preprocessing)

    def __getitem__(self, items: Sequence[Item]) -> BoxBatch:
        batch = _empty(len(items), self._preprocessing)
        pixels, targets = batch.numpy(), [Target()] * len(items)
        for place in _reading_order(items):
            targets[place] = self._read(*items[place], pixels[place])
        return batch, targets

    def _read(self, row: int, seed: int | None, out: RgbArray) -> Target:
        found = self._split.read(row)
        assert found.objects is not None  # noqa: S101  (a data set of boxes has no other rows)
        if seed is None:
            _, size = read_input(found.image, self._preprocessing, out)
            boxes = fit_boxes(found.objects.boxes, *size, self._preprocessing)
            target = _target(boxes, found.objects.labels)
            target["iscrowd"] = torch.from_numpy(found.objects.crowd.astype(np.int64))
            return target
        out[...], moved, labels = self._augment(found.image, found.objects, seed)
        return _target(moved, labels)


def training_loader(
    split: Split,
    preprocessing: Preprocessing,
    task: Task = "classification",
    *,
    augmentations: Sequence[str],
    batch_size: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
) -> "DataLoader[Any]":
    """Augmented pictures, in a new order each epoch; of each batch the slice of a process."""
    return DataLoader(
        _PICTURES[task](split, preprocessing, augmentations),
        sampler=EpochBatches(split, batch_size, seed, rank, world),
        batch_size=None,  # the sampler's items are whole batches
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_outlive_sigterm,
    )


def plain_loader(
    split: Split,
    preprocessing: Preprocessing,
    task: Task = "classification",
    *,
    batch_size: int,
    workers: int,
    limit: int,
    rank: int = 0,
    world: int = 1,
) -> "DataLoader[Any]":
    """Pictures as serving sees them, in order: those of ``plain_rows``.

    Of several processes, each gets its ``share``, in batches of ``batch_size`` of its own.
    """
    rows = share(plain_rows(split, limit), rank, world)
    batches: list[list[Item]] = [
        [(row, None) for row in rows[start : start + batch_size]]
        for start in range(0, len(rows), batch_size)
    ]
    return DataLoader(
        _PICTURES[task](split, preprocessing, ()),
        sampler=batches,
        batch_size=None,
        num_workers=min(workers, len(batches)),
        persistent_workers=workers > 0 and len(batches) > 0,  # they are asked after every epoch
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_outlive_sigterm,
    )


def plain_rows(split: Split, limit: int) -> Sequence[int]:
    """The rows that ``plain_loader`` reads: all, or of more exactly ``limit``, evenly spread.

    Of a split that streams, the first ones: those all over it would have every shard fetched. Rows
    are stored in the order of their hashes, so the first are as fair a mixture.
    """
    count = len(split)
    if count <= limit or split.streams:
        return range(min(count, limit))
    return [number * count // limit for number in range(limit)]


def suitable_workers(on_gpu: bool, local_world: int = 1) -> int:
    """How many processes should load pictures for each of the ``local_world`` that train here.

    A picture takes 0.6 (8×8 PNG) to 1.4 ms (150×150 JPEG) of one core to read, decode and augment,
    a training step of a small network on the CPU 10 to 20 ms of all cores: there, processes would
    only take cores from the network. A GPU can take all that 16 cores give: mobilenetv3_large_100
    at 224 pixels learns 7,800 pictures a second on an H200.
    """
    if not on_gpu:
        return 0
    return min(_MOST_WORKERS, max(1, cores() // local_world))


_PICTURES: Mapping[Task, Callable[[Split, Preprocessing, Sequence[str]], TorchDataset[Any]]] = {
    "classification": Pictures,
    "detection": BoxPictures,
}


def _outlive_sigterm(_: int) -> None:
    """In a worker: whoever stops a job tells all its processes, and its first one still learns."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _reading_order(items: Sequence[Item]) -> list[int]:
    """Places by row: neighbours are often in one row group, which is then read once."""
    return sorted(range(len(items)), key=lambda place: items[place][0])


def _empty(pictures: int, preprocessing: Preprocessing) -> Tensor:
    """Room for a batch; in a worker process in shared memory, where it need not be copied to."""
    shape = (pictures, preprocessing.image_size, preprocessing.image_size, 3)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # torch has no types here
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _target(boxes: NDArray[np.floating], labels: NDArray[np.int64]) -> Target:
    """Labels from 0 on become torchvision's."""
    boxes = np.ascontiguousarray(boxes, np.float32).reshape(-1, 4)
    return {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels + 1)}
