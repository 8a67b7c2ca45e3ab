"""Maps of many pictures: what a network's late layers learn from, computed once."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pixloop.training.frozen_features import FrozenFeatures
from pixloop.training.head import Features
from pixloop.training.loaders import Batch

#: What they may take of memory. Where those of all pictures would take more, every second, every
#: third, ... picture's are kept.
MOST_BYTES = 2 << 30

_HALF = torch.finfo(torch.float16)


class Batches(Protocol):
    """Batches of unaugmented pictures, all but the last of one size."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Maps:
    """Maps of pictures, those of one picture's views side by side.

    Attributes:
        values: float16 (N · views, C, height, width), on the CPU.
        targets: int64 (N · views,).
        views: 2 with mirror images, else 1.
    """

    values: Tensor
    targets: Tensor
    views: int = 1

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self.targets) // self.views


def look(
    frozen: FrozenFeatures,
    batches: Batches,
    flip: bool = False,
    each: Callable[[], None] = lambda: None,
    most_bytes: int = MOST_BYTES,
) -> tuple[Features, Maps]:
    """The features of all pictures, and the maps of as many as there is room for.

    Args:
        frozen: what looks.
        batches: what it looks at.
        flip: whether also at the mirror image of each picture.
        each: is called after each batch.
        most_bytes: of the maps.
    """
    views = 2 if flip else 1
    features, targets, store = [], [], _Store(views, most_bytes)
    for batch, batch_labels in batches:
        pictures, labels = _with_mirrored(batch, batch_labels) if flip else (batch, batch_labels)
        seen, maps = frozen(pictures)
        features.append(seen)
        targets.append(labels)
        if len(maps):
            store.add(maps, labels, len(batches) * len(batch))
        each()
    return Features(torch.cat(features), torch.cat(targets)), store.maps()


def _with_mirrored(pictures: Tensor, labels: Tensor) -> Batch:
    """Each picture and its mirror image, side by side: however they come in batches."""
    both = torch.stack([pictures, pictures.flip(2)], dim=1)
    return both.flatten(0, 1), labels.repeat_interleave(2)


class _Store:
    """Room for maps, taken when the first come."""

    def __init__(self, views: int, most_bytes: int) -> None:
        self._views, self._most_bytes = views, most_bytes
        self._values, self._targets = torch.empty(0), torch.empty(0, dtype=torch.int64)
        self._stride, self._seen, self._kept = 0, 0, 0

    def add(self, maps: Tensor, labels: Tensor, pictures: int) -> None:
        """Keep the maps of some or all; ``pictures``: how many there will be at most."""
        if not self._stride:
            self._take_room(maps[0], pictures)
        chosen = slice(-self._seen % self._stride, None, self._stride)
        new = self._of(maps, chosen).clamp(_HALF.min, _HALF.max)
        place = slice(self._kept, self._kept + len(new))
        self._values[place], self._targets[place] = new, self._of(labels, chosen)
        self._seen, self._kept = self._seen + len(maps) // self._views, place.stop

    def maps(self) -> Maps:
        return Maps(self._values[: self._kept], self._targets[: self._kept], self._views)

    def _take_room(self, example: Tensor, pictures: int) -> None:
        bytes_each = self._views * example.numel() * _HALF.bits // 8
        self._stride = math.ceil(pictures * bytes_each / self._most_bytes)
        count = math.ceil(pictures / self._stride) * self._views
        self._values = torch.empty(
            (count, *example.shape), dtype=torch.float16, memory_format=torch.channels_last
        )
        self._targets = torch.empty(count, dtype=torch.int64)

    def _of(self, tensor: Tensor, pictures: slice) -> Tensor:
        of_pictures = tensor.reshape(-1, self._views, *tensor.shape[1:])
        return of_pictures[pictures].flatten(0, 1)
