"""Which numbers the network is trained with, and where."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def has_gpu() -> bool:
    """Whether there is a GPU that torch can use."""
    return torch.cuda.is_available()


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """``auto``: bfloat16 where the GPU, or the CPU's matrix units, multiply it natively."""
    if wanted != "auto":
        return wanted
    if has_gpu():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "float32"
