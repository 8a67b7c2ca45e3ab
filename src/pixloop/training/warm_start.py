"""From pretrained weights to a good model in a few passes: only the last layers learn.

The early layers of a pretrained network see edges, textures and parts, which are alike in all
pictures. Frozen, they give the same maps for the same picture, so these are computed once. On them
first the head is fitted, then all late layers learn, at a small part of what learning the whole
network takes (``benchmarks/training`` has the numbers).

A random head's large gradients would spoil the pretrained weights in the first steps (Kumar et al.
2022, "Fine-Tuning can Distort Pretrained Features"), so the head is fitted before anything else.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from pixloop.config import TrainingConfig
from pixloop.progress import progress
from pixloop.training.classifier import Classifier
from pixloop.training.cut import cut_network
from pixloop.training.frozen_features import FrozenFeatures
from pixloop.training.head import PENALTIES, fit_head, linear_layer
from pixloop.training.late_layers import LateLayers
from pixloop.training.maps import Batches, look
from pixloop.training.parts import WHOLE, Parts
from pixloop.training.scores import score

Scores = dict[str, float]

_QUICK_S = 2.0


def warm_start(
    classifier: Classifier,
    config: TrainingConfig,
    size: int,
    training: Batches,
    validation: Batches | None,
    *,
    bfloat16: bool = False,
    parts: Parts = WHOLE,
    after_epoch: Callable[[Scores], None] = lambda scores: None,
) -> tuple[Scores, Scores] | None:
    """Fit the head on frozen features, then let the late layers learn ``late_epochs`` epochs.

    Args:
        classifier: its network learns in place, on its device.
        config: of ``augmentations`` only ``flip`` is used: more would need maps of their own.
        size: the input's side in pixels.
        training: unaugmented pictures.
        validation: what chooses the head's regularisation and the best epoch, where there is any.
        bfloat16: whether training computes in it; validation never does.
        parts: in how many the late layers learn each batch.
        after_epoch: is told of the head's scores, then of each epoch's, the network in eval mode.

    Returns:
        The scores on the validation pictures of the head alone and of what is kept, empty where
        there are none; None where the network's last layer is not linear, and nothing was done.
    """
    network: Any = classifier.network
    layer = linear_layer(network)
    if layer is None:
        return None
    network.eval()
    try:
        cut = cut_network(network, size) if config.late_epochs else None
        with progress("fitting the head", _work_of_head(training, validation)) as advance:
            frozen, flip = FrozenFeatures(classifier, cut, bfloat16), "flip" in config.augmentations
            features, maps = look(frozen, training, flip, each=advance)
            if features.values.ndim != 2 or features.values.shape[1] != layer.in_features:
                return None
            held_out = held_maps = None
            if validation is not None:
                exact = FrozenFeatures(classifier, cut)
                held_out, held_maps = look(exact, validation, each=advance)
            head = fit_head(layer, features, held_out, advance)
            advance(0, _note(head))
        after_epoch(head)
        if cut is None:
            return head, head
        late = LateLayers(cut.late, config, bfloat16, parts)
        with progress("learning the late layers", late.steps(maps)) as advance:

            def told(scores: Scores) -> None:
                advance(0, _note(scores))
                after_epoch(scores)

            late_scores = late.learn(maps, held_maps, advance, told)
        if late_scores is None:
            return head, head
        return head, _score(classifier, layer, validation) if validation is not None else {}
    finally:
        network.train()


def _work_of_head(training: Batches, validation: Batches | None) -> int:
    """How many units: batches to look at, and penalties to fit with."""
    if validation is None:
        return len(training) + 1
    return len(training) + len(validation) + len(PENALTIES)


def _score(classifier: Classifier, layer: nn.Linear, validation: Batches) -> Scores:
    """The scores on all validation pictures, in float32, which is how later epochs are scored.

    Maps are rounded, and of many pictures only some are held.
    """
    with progress("scoring the late layers", len(validation), after_s=_QUICK_S) as advance:
        features, _ = look(FrozenFeatures(classifier), validation, each=advance)
    logits = layer(features.values.to(layer.weight.device)).detach().cpu()
    return score(logits, features.targets)


def _note(scores: Scores) -> str:
    return f"F1 {scores['f1_macro']:.3f}" if scores else ""
