"""What is measured: networks, settings, and a training split of any length."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.training.built_model import BuiltModel
from pixloop.training.models import build_model


@dataclass(frozen=True)
class Steps:
    """How many steps of how many pictures: some to warm up, the rest are measured."""

    batch_size: int
    warm_up: int
    measured: int

    @property
    def pictures(self) -> int:
        """All that an epoch of these steps sees."""
        return self.batch_size * (self.warm_up + self.measured)


def settings(network: str, size: int, batch_size: int, **training: Any) -> Config:
    """pixloop's defaults, with random weights: throughput does not depend on them."""
    return Config.model_validate(
        {
            "task": "classification",
            "data": ".",
            "model": {"name": network, "image_size": size, "pretrained": False},
            "training": {"batch_size": batch_size, "epochs": 1, "head_first": False, **training},
        }
    )


def build(config: Config, data: Dataset) -> BuiltModel:
    """The network, with its first weights from a seed."""
    torch.manual_seed(config.training.seed)
    return build_model(config.model, len(data.info.classes), None, config.task)


def repeated(folder: Path, pictures: int) -> Dataset:
    """A data set whose training split names its shards again until it has enough pictures.

    To the loader these are further shards: none of their rows is remembered from an earlier one.
    Nothing is held out.
    """
    data = Dataset.open(folder)
    shards = [shard for shard in data.info.shards if shard.split == "train"]
    times = -(-pictures // sum(shard.rows for shard in shards))
    counts = {"train": data.info.counts["train"]}
    info = data.info.model_copy(update={"shards": tuple(shards * times), "counts": counts})
    return Dataset(folder, info)
