"""Detectors under attack: how much of their average precision is left.

The gradient is that of the loss that the network was trained by, of its proposals, classes and
edges together, as in the untargeted attack of Chow et al. (TOG, 2020). The detector's answer is
that of the graph that ships, to whole levels.

Needs torch; it is imported where a detector is attacked.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from pixloop.bundle import Manifest
from pixloop.data.dataset import Objects
from pixloop.evaluation.robustness.alterations import Scene
from pixloop.evaluation.robustness.attacks import (
    BATCH,
    METHODS,
    Json,
    PixelNetwork,
    attack_methods,
    from_levels,
    to_levels,
)
from pixloop.evaluation.robustness.figures import Figures
from pixloop.evaluation.robustness.outcomes import Examiner
from pixloop.evaluation.robustness.pictures import Pair, show_worst
from pixloop.evaluation.robustness.sample import Sample, encode
from pixloop.imaging import fit_boxes, read_input
from pixloop.progress import progress

_Targets = list[dict[str, Tensor]]


def attack_boxes(
    trained: nn.Module,
    manifest: Manifest,
    examine: Examiner,
    sample: Sample,
    classes: Sequence[str],
    strengths: Sequence[float],
) -> tuple[Json, Pair | None]:
    """Attack every picture of a sample, anew at each strength.

    Args:
        trained: the network (see ``rebuild_network``).
        manifest: of its bundle.
        examine: asks the graph that ships.
        sample: the pictures.
        classes: of the data set, whose indices the sample's objects have.
        strengths: the most that a pixel may change, in levels.

    Returns:
        Of each attack and strength the AP50 and COCO's AP of the graph that ships; and a picture
        that loses boxes at the least strength of PGD that loses any.
    """
    seen = replace(sample, scenes=tuple(_as_seen(scene, manifest) for scene in sample.scenes))
    targets = [_target(scene.objects, classes, manifest) for scene in seen.scenes]
    before = from_levels(np.stack([scene.pixels for scene in seen.scenes]))
    network = PixelNetwork(_learning(trained), manifest.preprocessing)
    # The loss needs the targets beside the pixels: the network is asked where the loss is.
    methods = attack_methods(lambda pixels: pixels, lambda pixels, own: _loss(network, pixels, own))
    clean = examine(seen.scenes)
    figures = Figures(clean, len(seen))
    content: Json = {"pictures": len(seen), "clean": figures.clean()}
    shown: Pair | None = None
    rising = sorted(strengths)
    with progress("attacking test pictures", len(METHODS) * len(rising) * len(seen)) as advance:
        for name in METHODS:
            rows = []
            for strength in rising:
                after = [
                    methods[name](before[rows_], [targets[i] for i in rows_.tolist()], strength)
                    for rows_ in torch.split(torch.arange(len(seen)), BATCH)
                ]
                altered = [
                    Scene(pixels, scene.objects)
                    for pixels, scene in zip(to_levels(torch.cat(after)), seen.scenes, strict=True)
                ]
                outcome = examine(altered)
                rows.append({"strength": strength, **figures.measure(outcome)})
                if name == "pgd" and shown is None:
                    shown = next(iter(show_worst(manifest, seen, clean, outcome, altered)), None)
                advance(len(seen), f"{name} {strength:g}")
            content[name] = rows
    return content, shown


def _as_seen(scene: Scene, manifest: Manifest) -> Scene:
    """A picture at the network's size, and what is where in it."""
    pixels, size = read_input(encode(scene.pixels), manifest.preprocessing)
    assert scene.objects is not None  # noqa: S101  (a detector's data set has no other rows)
    boxes = fit_boxes(scene.objects.boxes, size.width, size.height, manifest.preprocessing)
    return Scene(pixels, replace(scene.objects, boxes=boxes))


def _target(
    objects: Objects | None, classes: Sequence[str], manifest: Manifest
) -> dict[str, Tensor]:
    """What the network learned to find in the picture."""
    assert objects is not None  # noqa: S101  (see ``_as_seen``)
    names = [classes[label] for label in objects.labels]
    known = np.array([name in manifest.classes for name in names], np.bool_) & ~objects.crowd
    labels = [manifest.classes.index(names[i]) + 1 for i in np.flatnonzero(known)]
    return {
        "boxes": torch.from_numpy(objects.boxes[known].astype(np.float32)).view(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def _learning(network: nn.Module) -> nn.Module:
    """The network so that it gives losses, normalising and dropping as when it serves."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            module.eval()
    return network


def _loss(network: PixelNetwork, pixels: Tensor, targets: _Targets) -> Tensor:
    losses: dict[str, Tensor] = network(pixels, targets)
    return torch.stack([*losses.values()]).sum().view(1)
