"""Random masks, as RISE (Petsiuk et al. 2018) draws them."""

import torch
from torch import Tensor, nn

_CELLS = 8  #: of a mask before it is enlarged, along each side
_SEEN = 0.5  #: the share of cells that are seen
_SEED = 0


def random_masks(count: int, size: int, cells: int = _CELLS) -> Tensor:
    """Smooth random masks, the same at every call.

    Args:
        count: how many.
        size: their side, in pixels.
        cells: of the coarse mask along each side; it is enlarged, and moved by up to a cell.

    Returns:
        float32 (count, size, size): 1 where a pixel is seen, 0 where it is not.
    """
    generator = torch.Generator().manual_seed(_SEED)
    coarse = (torch.rand(count, 1, cells + 1, cells + 1, generator=generator) < _SEEN).float()
    cell = -(-size // cells)
    enlarged = nn.functional.interpolate(
        coarse, size=(cells + 1) * cell, mode="bilinear", align_corners=False
    )[:, 0]
    moves = torch.randint(0, cell, (count, 2), generator=generator).tolist()
    return torch.stack(
        [mask[y : y + size, x : x + size] for mask, (y, x) in zip(enlarged, moves, strict=True)]
    )
