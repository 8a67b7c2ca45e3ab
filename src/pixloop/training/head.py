"""The head of a classifier, fitted on what the frozen layers before it see."""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixloop.training.scores import score

#: What is tried where there are validation pictures to choose by.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_UNCHOSEN_PENALTY = 0.1
_STEPS = 100


class Features(NamedTuple):
    """What a network's last layer sees of pictures, float32 (N, D), and their labels (N,)."""

    values: Tensor
    targets: Tensor


def linear_layer(network: Any) -> nn.Linear | None:
    """The last layer of one of timm's networks; None where it is not a linear one with a bias."""
    layer = network.get_classifier() if hasattr(network, "get_classifier") else None
    return layer if isinstance(layer, nn.Linear) and layer.bias is not None else None


def fit_head(
    layer: nn.Linear,
    training: Features,
    validation: Features | None,
    each: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Fit a network's last layer by logistic regression, in place.

    Args:
        layer: the last layer, on any device; there it is fitted.
        training: what is fitted.
        validation: what chooses the strength of the regularisation, where there is anything.
        each: is called after each of ``PENALTIES``; without validation one is taken.

    Returns:
        The scores on the validation pictures, empty where there are none.
    """
    values, targets = (tensor.to(layer.weight.device) for tensor in training)
    mean, std = values.mean(dim=0), values.std(dim=0).clamp_min(1e-6)
    features = (values - mean) / std
    head = nn.Linear(layer.in_features, layer.out_features).to(layer.weight.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    scores: dict[str, float] = {}
    if validation is None:
        _fit(head, features, targets, _UNCHOSEN_PENALTY)
        each()
    else:
        held_values, held_targets = (tensor.to(layer.weight.device) for tensor in validation)
        held_out = (held_values - mean) / std
        head = _fit_best(head, features, targets, held_out, held_targets, each)
        scores = score(head(held_out).detach().cpu(), validation.targets)
    with torch.no_grad():  # the layer sees features that are not standardised
        layer.weight.copy_(head.weight / std)
        layer.bias.copy_(head.bias - (head.weight / std) @ mean)
    return scores


def _fit_best(
    head: nn.Linear,
    features: Tensor,
    targets: Tensor,
    held_out: Tensor,
    held_targets: Tensor,
    each: Callable[[], None],
) -> nn.Linear:
    """The head, of all penalties, with the least loss on the pictures held out."""
    best, least = head, math.inf
    for penalty in PENALTIES:  # from strong to weak, each starts where the last ended
        _fit(head, features, targets, penalty)
        each()
        loss = float(functional.cross_entropy(head(held_out).detach(), held_targets))
        if loss < least:
            best, least = copy.deepcopy(head), loss
    return best


def _fit(head: nn.Linear, features: Tensor, targets: Tensor, penalty: float) -> None:
    """Minimise cross-entropy + penalty / 2 · |weight|² in place, by L-BFGS."""
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = functional.cross_entropy(head(features), targets)
        value = value + penalty / 2 * head.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return float(value.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # as above
