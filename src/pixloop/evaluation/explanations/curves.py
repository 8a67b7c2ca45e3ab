"""Deletion and insertion (Petsiuk et al. 2018, RISE): whether what a map points at matters.

Cells of a picture are emptied, or put into an empty picture, in the order in which a map ranks
them. Chance is the same map elsewhere: turned and moved. A map's cells in random order would be
scattered, and scattered cells disturb a network by their edges alone, whatever is in them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from pixloop.evaluation.explanations.questions import Question

CELLS = 14  #: along each side, at most
_STEPS = 10
_BLUR = 4  #: the side of a picture / the standard deviation of its blurring

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Areas:
    """The mean portion of an answer that holds along both curves, 0 to 1."""

    deletion: float  #: the lower the better
    insertion: float  #: the higher the better


def cell_means(values: NDArray[np.floating]) -> Floats:
    """A map averaged over cells, flat."""
    cells = min(CELLS, len(values))
    tensor = torch.from_numpy(np.asarray(values, np.float64))[None]
    return nn.functional.adaptive_avg_pool2d(tensor, cells).flatten().numpy().astype(np.float64)


def move_map(ranks: Floats, rng: np.random.Generator) -> Floats:
    """A map of cells at a random place: turned, and moved over its edges to the other side."""
    side = round(len(ranks) ** 0.5)
    turned: Floats = np.rot90(ranks.reshape(side, side), int(rng.integers(4)))
    down, right = rng.integers(side, size=2).tolist()
    return np.roll(turned, (down, right), axis=(0, 1)).ravel()


def measure_areas(question: Question, ranks: Floats) -> Areas:
    """What deleting and inserting cells does, the highest rank first.

    Args:
        question: its picture is changed.
        ranks: a value a cell, as ``cell_means`` gives them.
    """
    image, size = question.image, question.image.shape[-1]
    reached = _first_cells(ranks, size)
    empty = _empty(question)
    deleted = torch.where(reached, empty, image)
    inserted = torch.where(reached, image, empty)
    portions = question.measure(torch.cat([deleted, inserted])).double().numpy()
    area = np.trapezoid(portions.reshape(2, -1), dx=1 / _STEPS, axis=1)
    return Areas(float(area[0]), float(area[1]))


def _empty(question: Question) -> Tensor:
    """The picture blurred, or nothing but the mean colour: where less of the answer is left.

    A blurred picture is the more natural, but where colours decide it still tells the answer.
    """
    image, size = question.image, question.image.shape[-1]
    kernel, deviation = 2 * (size // 2) - 1, size / _BLUR
    blurred = gaussian_blur(image, [kernel, kernel], [deviation, deviation])
    empty = torch.stack([blurred, torch.zeros_like(image)])  # 0 is the mean colour
    return empty[int(question.measure(empty).argmin())]


def _first_cells(ranks: Floats, size: int) -> Tensor:
    """Which pixels have been reached at each step: bool (_STEPS + 1, 1, size, size)."""
    cells = round(len(ranks) ** 0.5)
    place = np.empty(len(ranks), np.int64)
    place[np.argsort(-ranks, kind="stable")] = np.arange(len(ranks))
    limits = np.round(np.linspace(0, len(ranks), _STEPS + 1))[:, None]
    first = torch.from_numpy(place[None] < limits).view(-1, 1, cells, cells)
    return nn.functional.interpolate(first.float(), size=(size, size)) > 0.5
