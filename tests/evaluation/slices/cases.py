import numpy as np
from numpy.typing import NDArray

from pixloop.evaluation.slices.slices import Slice


def slice_of(inside: NDArray[np.bool_], name: str) -> Slice:
    return Slice("test", name, inside)


def by_chance(rng: np.random.Generator, pictures: int, count: int) -> list[Slice]:
    """Slices that overlap and have nothing to do with anything."""
    return [slice_of(rng.random(pictures) < rng.uniform(0.1, 0.5), f"{i}") for i in range(count)]
