"""A plain PyTorch loop as PyTorch's tuning guide and torchvision's documentation have it.

``ImageFolder`` with transforms v2 on ``uint8`` tensors, workers, pinned memory, non-blocking
copies; bfloat16 autocast, channels-last, fused AdamW, ``set_to_none``, ``cudnn.benchmark``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import timm
import torch
from clock import now
from subjects import Steps
from torch.nn import functional
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from pixloop.data.dataset import Dataset

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_folder(
    data: Dataset, folder: Path, split: str = "train", each: int | None = None
) -> None:
    """A split's pictures as files, a folder a class; ``each``: no more than so many of a class."""
    written: Counter[int] = Counter()
    for number, row in enumerate(data.split(split)):
        if each is not None and written[row.label] == each:
            continue
        written[row.label] += 1
        path = folder / data.info.classes[row.label] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.image)


def same_transforms(size: int) -> v2.Compose:
    """Those of pixloop's default augmentations, with the same chances and strengths."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((size, size), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.RandomRotation(15)], p=0.7),
            v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.5),
            v2.RandomApply([v2.ColorJitter(saturation=0.1, hue=0.04)], p=0.5),
            v2.RandomApply([v2.GaussianNoise(sigma=0.05)], p=0.3),
            v2.RandomApply([v2.GaussianBlur(5, (0.5, 2.0))], p=0.2),
        ]
    )


def reference_transforms(size: int) -> v2.Compose:
    """Those of torchvision's reference training: crop and mirror."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )


def folder_loader(
    folder: Path, transforms: v2.Compose, steps: Steps, workers: int
) -> "DataLoader[Any]":
    """Batches uint8 (N, 3, size, size), shuffled, for at least the steps."""
    files = ImageFolder(str(folder), transforms)
    times = -(-steps.pictures // len(files))
    return DataLoader(
        ConcatDataset([files] * times),
        batch_size=steps.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def resident_batches(steps: Steps, size: int, classes: int, device: str) -> Iterator[Any]:
    """Synthetic batches that lie on the device."""
    batches = [
        (
            torch.randint(0, 256, (steps.batch_size, 3, size, size), device=device).byte(),
            torch.randint(0, classes, (steps.batch_size,), device=device),
        )
        for _ in range(4)
    ]
    return cycle(batches)


def time_loop(
    network: str, classes: int, steps: Steps, batches: Iterable[Any], compiled: bool = False
) -> float:
    """Pictures a second of the loop on these batches."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    model: Any = timm.create_model(network, num_classes=classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    trained = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05, fused=True)
    mean = torch.tensor(_MEAN, device=device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(_STD, device=device).view(1, 3, 1, 1) * 255)
    started = 0.0
    for step, (pictures, targets) in enumerate(islice(batches, steps.warm_up + steps.measured)):
        pictures = pictures.to(device, non_blocking=True, memory_format=torch.channels_last)
        targets = targets.to(device, non_blocking=True)
        with torch.autocast(device, torch.bfloat16):
            logits = trained((pictures - mean) * scale)
            loss = functional.cross_entropy(logits, targets, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 == steps.warm_up:
            started = now()
    return round(steps.measured * steps.batch_size / (now() - started), 1)
