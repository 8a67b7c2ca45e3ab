"""Head first: fit the classifier on a frozen, pretrained network's features.

A random head's large gradients would spoil the pretrained weights in the first steps (Kumar et al.
2022, "Fine-Tuning can Distort Pretrained Features"), so the head is fitted before.
"""

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixloop.training.classifier import Classifier
from pixloop.training.frozen_features import FrozenFeatures
from pixloop.training.loaders import Batch
from pixloop.training.scores import score

_PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_UNCHOSEN_PENALTY = 0.1
_STEPS = 100


def fit_head(
    classifier: Classifier, training: Iterable[Batch], validation: Iterable[Batch] | None
) -> dict[str, float] | None:
    """Fit the network's last layer by logistic regression and put it there.

    Args:
        classifier: its network's last layer is replaced in place; it stays on its device.
        training: batches to fit, unaugmented.
        validation: batches that choose the strength of the regularisation, where there are any.

    Returns:
        The scores on the validation pictures, empty where there are none; None where the network's
        last layer is not linear, and nothing was done.
    """
    layer = _linear_layer(classifier.network)
    if layer is None:
        return None
    classifier.network.eval()
    extract = FrozenFeatures(classifier)
    features, targets = _extract(extract, training)
    if features.ndim != 2 or features.shape[1] != layer.in_features:
        classifier.network.train()
        return None
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    head = nn.Linear(layer.in_features, layer.out_features)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    scores: dict[str, float] = {}
    if validation is None:
        _fit(head, (features - mean) / std, targets, _UNCHOSEN_PENALTY)
    else:
        held_out, held_targets = _extract(extract, validation)
        held_out = (held_out - mean) / std
        head = _fit_best(head, (features - mean) / std, targets, held_out, held_targets)
        scores = score(head(held_out).detach(), held_targets)
    with torch.no_grad():  # the layer sees features that are not standardised
        layer.weight.copy_(head.weight / std)
        layer.bias.copy_(head.bias - (head.weight / std) @ mean)
    classifier.network.train()
    return scores


def _linear_layer(network: Any) -> nn.Linear | None:
    layer = network.get_classifier() if hasattr(network, "get_classifier") else None
    return layer if isinstance(layer, nn.Linear) and layer.bias is not None else None


def _extract(extract: FrozenFeatures, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """What the network's last layer sees, float32 (N, D), and the targets (N,)."""
    features, targets = [], []
    for pictures, labels in batches:
        features.append(extract(pictures))
        targets.append(labels)
    return torch.cat(features), torch.cat(targets)


def _fit_best(
    head: nn.Linear, features: Tensor, targets: Tensor, held_out: Tensor, held_targets: Tensor
) -> nn.Linear:
    """The head, of all penalties, with the least loss on the pictures held out."""
    best, least = head, math.inf
    for penalty in _PENALTIES:  # from strong to weak, each starts where the last ended
        _fit(head, features, targets, penalty)
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
