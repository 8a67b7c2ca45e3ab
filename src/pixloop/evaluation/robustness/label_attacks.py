"""Classifiers under attack: how many pictures are still answered right.

Needs torch; it is imported where a classifier is attacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixloop.decoding import Size
from pixloop.evaluation.metrics import wilson_interval
from pixloop.evaluation.robustness.attacks import (
    BATCH,
    Attack,
    Json,
    PixelNetwork,
    Pixels,
    attack_methods,
    from_levels,
    to_levels,
)
from pixloop.evaluation.robustness.sample import Sample, encode
from pixloop.imaging import read_input
from pixloop.progress import progress
from pixloop.serving.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """A picture as it is and as it was attacked, both uint8 (size, size, 3)."""

    index: int  #: in the sample
    before: Pixels
    after: Pixels
    strength: float
    answer: str


def attack_labels(
    trained: nn.Module,
    predictor: Classifier,
    sample: Sample,
    targets: Sequence[str],
    strengths: Sequence[float],
) -> tuple[Json, Attacked | None]:
    """Attack every picture of a sample.

    Args:
        trained: the network, from normalised input to logits (see ``rebuild_network``).
        predictor: of the graph that ships.
        sample: the pictures.
        targets: what they are, among the predictor's classes.
        strengths: the most that a pixel may change, in levels.

    Returns:
        Of each attack and strength the accuracy of the network, and of the graph that ships on the
        same pictures, rounded to whole levels; and a picture that PGD changed least to fool it.
    """
    preprocessing = predictor.manifest.preprocessing
    network = PixelNetwork(trained, preprocessing).eval()
    pixels = np.stack([read_input(encode(s.pixels), preprocessing)[0] for s in sample.scenes])
    classes = list(predictor.manifest.classes)
    truth = torch.tensor([classes.index(target) for target in targets])
    rising = sorted(strengths)
    methods = attack_methods(network, _loss)
    content: Json = {
        "pictures": len(sample),
        "clean": _Victim(network, predictor, pixels, truth).accuracy(),
    }
    shown: Attacked | None = None
    with progress("attacking test pictures", len(methods) * len(rising) * len(pixels)) as advance:
        for name, method in methods.items():
            victim = _Victim(network, predictor, pixels, truth)
            rows = []
            for strength in rising:
                fallen = victim.endure(method, strength)
                rows.append({"strength": strength, **victim.accuracy()})
                if name == "pgd" and shown is None and len(fallen):
                    shown = victim.show(int(fallen[0]), strength)
                advance(len(pixels), f"{name} {strength:g}")
            content[name] = rows
    return content, shown


class _Victim:
    """Pictures under one attack that grows stronger; those that it has fooled stay fooled."""

    def __init__(
        self, network: PixelNetwork, predictor: Classifier, pixels: Pixels, truth: Tensor
    ) -> None:
        self._network, self._predictor, self._truth = network, predictor, truth
        self._before = from_levels(pixels)
        self._after = self._before.clone()
        self._right = self._answers(self._before) == truth

    def endure(self, method: Attack, strength: float) -> Tensor:
        """Attack what is still answered right; the indices of what no longer is."""
        standing = torch.nonzero(self._right).flatten()
        for rows in torch.split(standing, BATCH):
            self._after[rows] = method(self._before[rows], self._truth[rows], strength)
        self._right[standing] = self._answers(self._after[standing]) == self._truth[standing]
        return standing[~self._right[standing]]

    def accuracy(self) -> Json:
        """Of the network, and of the graph that ships."""
        total, right = len(self._truth), int(self._right.sum())
        served = int((self._serve() == self._truth.numpy()).sum())
        return {
            "accuracy": right / total,
            "interval": list(wilson_interval(right, total)),
            "served_accuracy": served / total,
        }

    def show(self, index: int, strength: float) -> Attacked:
        """A picture, before and after."""
        answer = int(self._answers(self._after[index : index + 1])[0])
        name = self._predictor.manifest.classes[answer]
        before, after = (to_levels(t[index : index + 1])[0] for t in (self._before, self._after))
        return Attacked(index, before, after, strength, name)

    def _answers(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            answers = [self._network(batch).argmax(dim=1) for batch in torch.split(pixels, BATCH)]
        return torch.cat([torch.zeros(0, dtype=torch.int64), *answers])

    def _serve(self) -> NDArray[np.int64]:
        classes = self._predictor.manifest.classes
        side = self._predictor.manifest.preprocessing.image_size
        answers = []
        for batch in torch.split(self._after, BATCH):
            sizes = [Size(side, side)] * len(batch)
            answers += self._predictor.answer(to_levels(batch), sizes, alone=True)
        return np.array([classes.index(answer.label) for answer in answers], np.int64)


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Of a batch as one number: a gradient for each picture costs one pass all the same."""
    return nn.functional.cross_entropy(logits, targets, reduction="sum").view(1)
