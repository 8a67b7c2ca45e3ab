"""Batch normalisation over the slices of several processes, on the CPU.

Of each batch a process sees its slice; under the slice's own statistics it would learn something
else than one process does. torch has this layer for GPUs only (``SyncBatchNorm``).

Each process sums its slice's values, and their squares about zero, in float64, where the difference
of the two loses nothing that float32 has. One sum over all processes, forward and backward, makes
them the batch's (Ioffe and Szegedy 2015, "Batch Normalization", algorithm 1).
"""

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


def normalise_together(network: nn.Module, fixed_statistics: frozenset[str]) -> None:
    """Have layers of batch normalisation use the statistics of all processes' slices.

    Args:
        network: its layers are replaced, its parameters and statistics stay, under their names.
        fixed_statistics: the layers that use no batch's statistics, by name.
    """
    if torch.cuda.is_available():
        convert_sync_batchnorm(network)
        return
    replaced: dict[nn.Module, nn.Module] = {}  # a layer may be in two places
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if isinstance(layer, _BatchNorm) and name not in fixed_statistics:
            parent, _, own = name.rpartition(".")
            replaced.setdefault(layer, _BatchNormTogether(layer))
            setattr(network.get_submodule(parent), own, replaced[layer])


class _BatchNormTogether(_BatchNorm):
    """A layer of batch normalisation, of timm's kind with dropout and activation as well.

    Input and output: float (N, C, ...), where N may differ from process to process.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(
            layer.num_features,
            layer.eps,
            layer.momentum,
            layer.affine,
            layer.track_running_stats,
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.training = layer.training
        self._before, self._after = getattr(layer, "drop", None), getattr(layer, "act", None)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (torch's name)
        """Called by torch: any shape with channels."""

    def forward(self, x: Tensor) -> Tensor:
        x = self._normalise(x) if self.training else super().forward(x)
        for layer in (self._before, self._after):
            x = x if layer is None else layer(x)
        return x

    def _normalise(self, x: Tensor) -> Tensor:
        channels = [1, -1] + [1] * (x.dim() - 2)
        mean, variance, count = _statistics(x)
        self._keep(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        wide = _at_least_float32(x)
        scale, shift = scale.to(wide.dtype).view(channels), shift.to(wide.dtype).view(channels)
        return (wide * scale + shift).to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Move the running statistics, of which the variance is without bias, as torch does."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # noqa: S101  (they are tracked together)
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * (count / max(1.0, count - 1.0))
        self.running_mean += share * (mean.to(self.running_mean.dtype) - self.running_mean)
        self.running_var += share * (unbiased.to(self.running_var.dtype) - self.running_var)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Of all processes' values together: mean and variance, float64 (C,), and how many a channel.

    Raises:
        ValueError: there is one value only, as torch's own layers say it.
    """
    over = [axis for axis in range(x.dim()) if axis != 1]
    count = x.numel() / x.shape[1]
    variance, mean = torch.var_mean(_at_least_float32(x), over, correction=0)
    mean, variance = mean.double(), variance.double()
    sums = torch.stack([mean, variance + mean * mean]) * count
    told = torch.cat([sums.flatten(), sums.new_tensor([count])])
    together: Tensor = _SumOverProcesses.apply(told)
    total = float(together.detach()[-1])
    if total <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got {total:g}")
    mean, squares = (together[:-1] / total).view(2, -1)
    return mean, (squares - mean * mean).clamp_min(0), total


class _SumOverProcesses(Function):
    """The sum of every process's tensor; a gradient is the sum of every process's gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
