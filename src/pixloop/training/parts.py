"""A batch learned a part at a time, where memory does not hold all of it at once.

The gradients of parts add up to that of the whole, and each part's activations are gone before the
next one's come. The batch that the optimizer sees, the learning rate and the schedule stay as they
were configured, which a smaller batch would not (how they should then change differs by optimizer;
see Goyal et al. 2017, "Accurate, Large Minibatch SGD"). Only layers of batch normalisation that use
a batch's own statistics then see a part's: what Hoffer et al. 2017, "Train longer, generalize
better", call ghost batch normalisation.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Parts:
    """In how many parts a process learns each of its batches.

    Attributes:
        count: how many; a batch of too few pictures has fewer.
        fewest: the pictures that every part has at least.
    """

    count: int
    fewest: int = 1

    def split(self, batch: Any) -> list[Any]:
        """Pictures (N, ...) and N targets → the same in parts that differ by one picture at most.

        >>> Parts(4, 2).split(("abcdefg", "1234567"))
        [('abc', '123'), ('de', '45'), ('fg', '67')]
        """
        pictures, targets = batch
        count = self.within(len(pictures))
        size, larger = divmod(len(pictures), count)
        starts = [number * size + min(number, larger) for number in range(count + 1)]
        return [(pictures[start:end], targets[start:end]) for start, end in pairwise(starts)]

    def within(self, pictures: int) -> int:
        """In how many parts a batch of so many pictures is learned."""
        return max(1, min(self.count, pictures // self.fewest))

    def smaller(self, pictures: int) -> "Parts | None":
        """Twice as many, as far as a batch of so many pictures has them; None where it has not."""
        doubled = Parts(Parts(2 * self.count, self.fewest).within(pictures), self.fewest)
        return doubled if doubled.count > self.count else None


#: All of a batch at once.
WHOLE = Parts(1)


def fewest_pictures(network: nn.Module, fixed_statistics: frozenset[str]) -> int:
    """Of how many pictures a part is at least: two where batch normalisation takes a variance."""
    takes = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and name not in fixed_statistics
        for name, module in network.named_modules()
    )
    return 2 if takes else 1
