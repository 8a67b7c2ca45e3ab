"""pixloop's own training, timed: from Parquet shards, and from batches that lie on the device."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from clock import StepClock
from subjects import Steps, build, repeated, settings
from torch.utils.data import DataLoader, Dataset

from pixloop.training.classifier import Classifier
from pixloop.training.run import TrainingRun

_DISTINCT = 4


class Resident(Dataset[Any]):
    """A few batches that never leave the device."""

    def __init__(self, steps: Steps, size: int, classes: int, device: str) -> None:
        shape = (steps.batch_size, size, size, 3)
        self._batches = [
            (
                torch.randint(0, 256, shape, dtype=torch.uint8, device=device),
                torch.randint(0, classes, (steps.batch_size,), device=device),
            )
            for _ in range(_DISTINCT)
        ]

    def __getitem__(self, items: Any) -> Any:
        return self._batches[items[0][0] % _DISTINCT]


def time_training(
    network: str,
    size: int,
    folder: Path,
    steps: Steps,
    synthetic: bool,
    benchmark: bool | None = None,
    **training: Any,
) -> dict[str, float]:
    """Pictures a second of ``TrainingRun``, with all that it does at a step."""
    data = repeated(folder, steps.pictures)
    config = settings(network, size, steps.batch_size, **training)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run = TrainingRun(config, data, build(config, data), work / "c", work / "l", "")
        if synthetic:
            resident = Resident(steps, size, len(data.info.classes), run.device)
            run._training = DataLoader(resident, sampler=run._training.sampler, batch_size=None)
        if benchmark is not None:
            torch.backends.cudnn.benchmark = benchmark
        clock = StepClock(steps)
        run._trainer.callbacks.insert(0, clock)
        run.fit()
        assert isinstance(run._trainer.lightning_module, Classifier)
    return {
        "pictures_s": round(clock.pictures_s, 1),
        "between_steps_share": round(clock.waited / clock.seconds, 4),
    }
