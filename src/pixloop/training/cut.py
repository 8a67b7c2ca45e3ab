"""A network cut in two: early layers, which may stay as they are, and late ones, which learn."""

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Of one picture's logits; what is left of rounding is far below it.
_TOLERANCE = 1e-3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CutNetwork:
    """Two networks which one after the other do what the whole one does, and share its layers.

    Attributes:
        early: its ``forward_features`` gives maps, float32 (N, C, height, width).
        late: takes these maps where the whole network takes pictures.
    """

    early: nn.Module
    late: nn.Module


def cut_network(network: nn.Module, size: int) -> CutNetwork | None:
    """Cut one of timm's networks before the stage that makes its maps smaller for the last time.

    What comes after is at the coarsest resolution: most of the weights, a small share of the work.

    Args:
        network: float32 (N, 3, size, size) → logits; stays as it is.
        size: the input's side in pixels.

    Returns:
        None where there is no such place, as in a network whose maps have one size throughout, or
        where layers are put together in a way that cannot be cut: what the two halves give is held
        against what the whole network gives.
    """
    mode = network.training
    network.eval()
    try:
        with torch.no_grad():
            return _cut(network, size)
    except Exception as e:  # any network may come here, and fail in its own way
        _log.debug("This network cannot be cut (%s: %s).", type(e).__name__, e)
        return None
    finally:
        network.train(mode)


def _cut(network: Any, size: int) -> CutNetwork | None:
    like = next(network.parameters())
    example = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(like)
    whole = network(example)
    coarsest = _pixels(network.forward_features(example))
    names = [name for name, _ in _stages(network)]
    sizes = _map_sizes(network, example)
    larger = [place for place, name in enumerate(names) if sizes.get(name, 0) > coarsest]
    if not larger or larger[-1] + 1 == len(names):
        return None
    first_late = larger[-1] + 1
    early = _without(network, names[first_late:])
    late = _without(network, names[:first_late])
    close = torch.allclose(late(early.forward_features(example)), whole, atol=_TOLERANCE)
    return CutNetwork(early, late) if close else None


def _stages(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A network's layers and blocks by name, in the order of their definition."""
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential):
            yield from ((f"{name}.{inner}", block) for inner, block in child.named_children())
        else:
            yield name, child


def _map_sizes(network: nn.Module, example: Tensor) -> dict[str, int]:
    """How many pixels the maps have that each stage gives, by its name."""
    sizes: dict[str, int] = {}

    def note(name: str) -> Any:
        return lambda module, given, out: sizes.update({name: _pixels(out)})

    hooks = [stage.register_forward_hook(note(name)) for name, stage in _stages(network)]
    try:
        network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _pixels(maps: Any) -> int:
    return maps.shape[-2] * maps.shape[-1] if isinstance(maps, Tensor) and maps.ndim == 4 else 0


def _without(network: nn.Module, names: Iterable[str]) -> Any:
    """A network in which these stages do nothing, and which shares all others."""
    found = _shallow(network)
    for name in names:
        stage, _, block = name.partition(".")
        if not block:
            found._modules[stage] = nn.Identity()
            continue
        if found._modules[stage] is network._modules[stage]:
            found._modules[stage] = _shallow(getattr(network, stage))
        found._modules[stage]._modules[block] = nn.Identity()
    return found


def _shallow(module: nn.Module) -> Any:
    found = copy.copy(module)
    found.__dict__["_modules"] = dict(module._modules)
    return found
