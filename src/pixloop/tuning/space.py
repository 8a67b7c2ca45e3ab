"""The search space as Optuna knows it."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pixloop.config import Config, flatten
from pixloop.errors import ConfigError
from pixloop.pipeline.search_space import Choice, Range, Space, default_space, search_space, stepped

Distributions = dict[str, BaseDistribution]
Settings = dict[str, Any]


def tuning_space(config: Config) -> Space:
    """What is searched: what ``config.tuning`` names, or the default space.

    It always holds the current settings, which are the first trial: choices and ranges are widened
    to them.

    Raises:
        ConfigError: the space is wrong, or a current number is not on its range's steps.
    """
    space, flat = search_space(config) or default_space(config), flatten(config)
    return {key: _with_current(key, part, flat[key]) for key, part in space.items()}


def distributions(space: Space) -> Distributions:
    """The space as Optuna's distributions. A choice is its JSON text: it may be a list."""
    return {key: _distribution(part) for key, part in space.items()}


def suggest(trial: optuna.Trial, found: Distributions) -> Settings:
    """What the sampler chooses: key → value as pixloop.yaml would hold it."""
    for key, kind in found.items():
        match kind:
            case CategoricalDistribution():
                trial.suggest_categorical(key, kind.choices)
            case IntDistribution():
                trial.suggest_int(key, kind.low, kind.high, step=kind.step, log=kind.log)
            case FloatDistribution():
                trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)
    return settings_of(trial.params, found)


def settings_of(params: Mapping[str, Any], found: Distributions) -> Settings:
    """A trial's parameters as values that pixloop.yaml would hold.

    >>> settings_of({"training.optimizer": '"sgd"'},
    ...             {"training.optimizer": CategoricalDistribution(['"sgd"'])})
    {'training.optimizer': 'sgd'}
    """
    return {
        key: json.loads(value)
        if isinstance(found.get(key), CategoricalDistribution)
        else _rounded(value)
        for key, value in params.items()
    }


def params_of(settings: Settings, found: Distributions) -> dict[str, Any]:
    """The parameters of a trial with these settings."""
    return {
        key: json.dumps(settings[key]) if isinstance(kind, CategoricalDistribution) else value
        for key, kind in found.items()
        for value in (settings[key],)
    }


def size(space: Space) -> int | None:
    """How many different settings there are; None where there is no end of them."""
    values = [_values(part) for part in space.values()]
    return None if None in values else math.prod(len(each or ()) for each in values)


def all_settings(space: Space) -> Iterator[Settings]:
    """All settings of a space with an end, in order; none of another."""
    values = [_values(part) for part in space.values()]
    if None in values:
        return
    for combined in itertools.product(*(each or () for each in values)):
        yield dict(zip(space, combined, strict=True))


def _values(part: Choice | Range) -> Sequence[Any] | None:
    if isinstance(part, Choice):
        return part.values
    if part.whole and part.step is None:
        return range(int(part.low), int(part.high) + 1)
    return stepped(part)


def _with_current(key: str, part: Choice | Range, current: Any) -> Choice | Range:
    if isinstance(part, Choice):
        return part if current in part.values else Choice((current, *part.values))
    if part.step is not None and not any(abs(v - current) < 1e-9 for v in stepped(part) or ()):
        raise ConfigError(
            f"tuning: {key} is {current} now, which is none of {part.low}, "
            f"{part.low + part.step}, … up to {part.high}. Choose steps that reach it."
        )
    if part.log and current <= 0:
        raise ConfigError(f"tuning: {key} is {current} now, which no logarithmic range reaches.")
    low, high = min(part.low, current), max(part.high, current)
    return Range(low, high, part.log, part.step, part.whole)


def _distribution(part: Choice | Range) -> BaseDistribution:
    if isinstance(part, Choice):
        return CategoricalDistribution([json.dumps(value) for value in part.values])
    if part.whole:
        step = 1 if part.step is None else int(part.step)
        return IntDistribution(int(part.low), int(part.high), log=part.log, step=step)
    return FloatDistribution(part.low, part.high, log=part.log, step=part.step)


def _rounded(value: Any) -> Any:
    """A number as a person would write it: four digits tell settings apart."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
