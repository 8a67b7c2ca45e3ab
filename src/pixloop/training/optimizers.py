"""Optimizers: any of timm's, by name."""

import difflib
import inspect
from typing import Any

import timm.optim
import torch
from torch import nn

from pixloop.config import TrainingConfig
from pixloop.errors import TrainingError


def create_optimizer(
    network: nn.Module, config: TrainingConfig, **options: Any
) -> torch.optim.Optimizer:
    """The optimizer that ``training.optimizer`` names, for a network's parameters.

    Args:
        network: what is trained.
        config: its ``optimizer`` and ``learning_rate`` are used.
        options: what ``timm.optim.create_optimizer_v2`` is told besides.

    Raises:
        TrainingError: there is none of that name, or it refuses its settings.
    """
    try:
        optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
            network, opt=config.optimizer, lr=config.learning_rate, **options
        )
    except Exception as e:  # timm asserts, and optimizers check their own arguments
        raise TrainingError(
            f"training.optimizer: {config.optimizer!r} cannot be used: {e}."
            f" {_others(config.optimizer)}"
        ) from e
    return optimizer


def takes_fused(name: str) -> bool:
    """Whether an optimizer can update all parameters of a GPU in one kernel."""
    if name.lower() not in timm.optim.list_optimizers():
        return False  # the error is for ``create_optimizer``
    kind: Any = timm.optim.get_optimizer_class(name, bind_defaults=False)
    return "fused" in inspect.signature(kind).parameters


def _others(name: str) -> str:
    known = timm.optim.list_optimizers()
    near = [] if name in known else difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"timm has {', '.join(known)}."
