"""Pictures a second of training, real and synthetic, pixloop's and a plain loop's."""

import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inputs import time_loader
from ours import time_training
from plain import (
    folder_loader,
    reference_transforms,
    resident_batches,
    same_transforms,
    time_loop,
    write_folder,
)
from subjects import Steps

from pixloop.data.dataset import Dataset

Note = Callable[[str, Any], None]


def usable_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def measure_input(folder: Path, size: int, steps: Steps, note: Note) -> None:
    """The loader alone, by how many processes load."""
    cores = usable_cores()
    for workers in sorted({cores // 2, cores - 1, cores} - {0}):
        note(f"loader, {workers} workers", time_loader(size, folder, steps, workers))


def measure_network(
    network: str,
    folder: Path,
    size: int,
    steps: Steps,
    note: Note,
    compiled: bool,
    rounds: int = 1,
    **training: Any,
) -> None:
    """One network in every way, one after the other on the same machine.

    Real and synthetic steps take turns for ``rounds``, and the medians count: how fast a shared
    machine is changes within minutes. ``training``: of pixloop's settings.
    """
    data = Dataset.open(folder)
    classes, workers = len(data.info.classes), max(1, usable_cores() - 1)
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        for synthetic, taken in rates.items():
            found = time_training(network, size, folder, steps, synthetic, **training)
            taken.append(found["pictures_s"])
            name = f"{network}, pixloop{' synthetic' if synthetic else ''}"
            note(name if rounds == 1 else f"{name}, round {number + 1}", found)
    ratio = statistics.median(rates[False]) / statistics.median(rates[True])
    note(f"{network}, real against synthetic", round(ratio, 3))
    device = "cuda" if _on_gpu() else "cpu"
    resident = resident_batches(steps, size, classes, device)
    note(f"{network}, plain synthetic", time_loop(network, classes, steps, resident))
    if compiled:
        rate = time_loop(network, classes, steps, resident, compiled=True)
        note(f"{network}, plain synthetic compiled", rate)
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary)
        write_folder(data, files)
        for name, transforms in (("same", same_transforms), ("reference", reference_transforms)):
            loader = folder_loader(files, transforms(size), steps, workers)
            note(f"{network}, plain {name}", time_loop(network, classes, steps, loader))


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
