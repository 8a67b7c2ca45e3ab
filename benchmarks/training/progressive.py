"""Whether the whole network learns faster from pictures that grow: one size an epoch.

    python benchmarks/training/progressive.py DATASET WEIGHTS --sizes 128,128,176,224
                                              [--set training.late_epochs=0]

Prints the curve as ``accuracy.py`` does, which looks at test pictures of the last size.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from accuracy import parse_settings, time_to_accuracy
from lightning.pytorch.callbacks import Callback

from pixloop.training.loaders import Pictures
from pixloop.training.run import TrainingRun


class Growing(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Each epoch's pictures have a size of their own; the process that trains reads them."""

    def __init__(self, run: TrainingRun, sizes: list[int]) -> None:
        assert run._training.num_workers == 0, "processes that load pictures would not be told"
        self._run, self._sizes = run, sizes
        self._take(sizes[0])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        done = trainer.current_epoch + 1
        if done < len(self._sizes):
            self._take(self._sizes[done])

    def _take(self, size: int) -> None:
        run = self._run
        preprocessing = run._built.preprocessing.model_copy(update={"image_size": size})
        changed = Pictures(
            run._data.split("train"), preprocessing, run._config.training.augmentations
        )
        run._training.dataset.__dict__.update(changed.__dict__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a data set as the step Prepare writes it")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--sizes", required=True, help="in pixels, one an epoch")
    parser.add_argument("--set", action="append", default=[], metavar="training.KEY=VALUE")
    a = parser.parse_args()
    logging.disable(logging.INFO)
    sizes = [int(size) for size in a.sizes.split(",")]
    settings = parse_settings(a.set) | {"epochs": len(sizes)}

    def grow(run: TrainingRun) -> None:
        run._trainer.callbacks.append(Growing(run, sizes))

    found = time_to_accuracy(a.data, a.weights, sizes[-1], change=grow, **settings)
    print(json.dumps({"recipe": "pixloop, growing", "sizes": sizes} | found), flush=True)


if __name__ == "__main__":
    main()
