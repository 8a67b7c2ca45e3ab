"""How many pictures a second pixloop's loader gives, with nobody training on them."""

import time
from itertools import islice
from pathlib import Path
from typing import Any

from subjects import Steps, build, repeated, settings

from pixloop.training.loaders import training_loader


def time_loader(size: int, folder: Path, steps: Steps, workers: int, **training: Any) -> float:
    """Pictures a second out of the training loader, after warming up."""
    data = repeated(folder, steps.pictures)
    config = settings("test_resnet", size, steps.batch_size, **training)
    loader = training_loader(
        data.split("train"),
        build(config, data).preprocessing,
        augmentations=config.training.augmentations,
        batch_size=steps.batch_size,
        seed=0,
        workers=workers,
    )
    started = 0.0
    for step, _ in enumerate(islice(loader, steps.warm_up + steps.measured)):
        if step + 1 == steps.warm_up:
            started = time.perf_counter()
    return round(steps.measured * steps.batch_size / (time.perf_counter() - started), 1)
