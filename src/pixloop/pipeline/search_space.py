"""What a search for better settings may choose from, checked: by Optuna here, by SageMaker there.

A setting is a key of ``model`` or ``training``. Each choice, and each end of a range, must be a
value that pixloop.yaml would take.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixloop.config import Config, flatten
from pixloop.config_file import nearest_key, parse_config
from pixloop.config_tuning import RangeConfig
from pixloop.errors import ConfigError

_SECTIONS = ("model.", "training.")
#: A search over seeds finds luck; the others do not change what is learned.
_FIXED = ("training.seed", "training.workers", "model.weights")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, each as pixloop.yaml would hold it."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False  #: whether only whole numbers are meant


Space = dict[str, Choice | Range]


def search_space(config: Config) -> Space:
    """The space that ``config.tuning`` describes: key → what it is chosen from; may be empty.

    Raises:
        ConfigError: a key cannot be searched, is there twice, or cannot have one of the values.
    """
    space = _named(config)
    known = [key for key in flatten(config) if _can_be_searched(key)]
    for key, given in config.tuning.space.items():
        if key not in known:
            raise ConfigError(
                f"tuning.space: {key!r} is no setting that can be searched."
                f"{nearest_key(key, known)}"
            )
        if key in space:
            raise ConfigError(f"tuning.space: {key!r} has a key of its own, which is set, too.")
        space[key] = _read(key, given, config)
    for key, part in space.items():
        ends = part.values if isinstance(part, Choice) else (part.low, part.high)
        for value in ends:
            with_settings(config, {key: value}, f"tuning, for {key}")
    return space


def default_space(config: Config) -> Space:
    """What is searched where ``config.tuning`` names nothing: how fast and how strictly it learns.

    A decade of learning rates on either side, and of weight decays.
    """
    rate, decay = config.training.learning_rate, config.training.weight_decay or 0.01
    return {
        "training.learning_rate": Range(rate / 10, rate * 10, log=True),
        "training.weight_decay": Range(decay / 10, min(decay * 10, 0.5), log=True),
        "training.optimizer": Choice(
            tuple(dict.fromkeys((config.training.optimizer, "adamw", "lamb")))
        ),
    }


def stepped(part: Range) -> tuple[float, ...] | None:
    """Every value of a range with steps; None without steps.

    >>> stepped(Range(64, 128, step=32, whole=True))
    (64, 96, 128)
    """
    if part.step is None:
        return None
    count = int((part.high - part.low) / part.step + 1e-9)
    return tuple(part.low + number * part.step for number in range(count + 1))


def with_settings(config: Config, settings: Mapping[str, Any], where: str = "tuning") -> Config:
    """The configuration with some keys at other values.

    Raises:
        ConfigError: a value is none that the key takes; the message begins with ``where``.
    """
    flat = {**flatten(config), **settings}
    return parse_config({}, [f"{key}={json.dumps(value)}" for key, value in flat.items()], where)


def _named(config: Config) -> Space:
    """What has a key of its own below ``tuning``."""
    tuning, space = config.tuning, Space()
    if tuning.models:
        space["model.name"] = Choice(tuning.models)
    if tuning.optimizers:
        space["training.optimizer"] = Choice(tuning.optimizers)
    if tuning.learning_rate is not None:
        space["training.learning_rate"] = Range(*tuning.learning_rate, log=True)
    return space


def _can_be_searched(key: str) -> bool:
    return key.startswith(_SECTIONS) and key not in _FIXED


def _read(key: str, given: RangeConfig | tuple[Any, ...], config: Config) -> Choice | Range:
    if not isinstance(given, RangeConfig):
        texts = dict.fromkeys(json.dumps(value) for value in given)  # a list cannot be hashed
        return Choice(tuple(json.loads(text) for text in texts))
    current = flatten(config)[key]
    if isinstance(current, bool) or not isinstance(current, int | float):
        raise ConfigError(
            f"tuning.space: {key!r} is {current!r} now, which is no number: it needs a list of "
            "choices, not a range."
        )
    whole = isinstance(current, int)
    if whole and any(v != int(v) for v in (given.low, given.high, given.step or 1)):
        raise ConfigError(f"tuning.space: {key!r} takes whole numbers only.")
    if not whole:
        return Range(given.low, given.high, given.log, given.step)
    step = None if given.step is None else int(given.step)
    return Range(int(given.low), int(given.high), given.log, step, whole=True)
