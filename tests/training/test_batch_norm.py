"""Batch normalisation by several processes, held against torch's own in one."""

import multiprocessing
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from pixloop.training.batch_norm import normalise_together

FORK = multiprocessing.get_context("fork")  # torch is loaded, and need not be again


def build(kind: str) -> nn.Module:
    """In training mode, always of the same weights."""
    torch.manual_seed(0)
    if kind == "plain":
        layer = nn.BatchNorm2d(3)
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        return nn.Sequential(layer)
    if kind == "cumulative":
        return nn.Sequential(nn.BatchNorm2d(3, momentum=None, affine=False))
    return timm.create_model(kind, num_classes=3).train()


def learn(network: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two passes forward, one back from a weighted sum, so that pictures differ in gradient."""
    network(x)
    x = x.clone().requires_grad_()
    output = network(x)
    (output.flatten(1).mean(1) * weight).sum().backward()
    found = {"output": output.detach(), "grad_x": x.grad}
    found |= {f"grad.{name}": p.grad for name, p in network.named_parameters()}
    return found | {f"state.{name}": value for name, value in network.state_dict().items()}


def learn_slice(folder: Path, kind: str, rank: int, world: int) -> None:
    """What each of several processes does: its slice of the batch through the network, and back."""
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    network, batch = build(kind), load_file(folder / "batch.safetensors")
    normalise_together(network, frozenset())
    found = learn(network, *(batch[name].tensor_split(world)[rank] for name in ("x", "weight")))
    for name in found:
        if name.startswith("grad."):  # a parameter's gradient is the sum of the slices'
            dist.all_reduce(found[name])
    save_file(found, folder / f"{rank}.safetensors")
    dist.barrier()


def run_processes(folder: Path, kind: str, world: int) -> list[dict[str, torch.Tensor]]:
    processes = [
        FORK.Process(target=learn_slice, args=(folder, kind, rank, world)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * world
    return [load_file(folder / f"{rank}.safetensors") for rank in range(world)]


@pytest.mark.parametrize(
    ("kind", "world", "tolerance"),
    [
        ("plain", 3, 1e-5),
        ("cumulative", 2, 1e-5),
        ("test_resnet", 2, 1e-4),  # sums in another order, in 14 layers one after the other
        ("test_efficientnet", 4, 1e-4),
    ],
)
def test_slices_are_normalised_as_the_whole_batch(
    tmp_path: Path, kind: str, world: int, tolerance: float
) -> None:
    random = torch.Generator().manual_seed(1)
    # Far from zero and of slices that are unlike: their own statistics would be quite wrong.
    x = torch.randn(9, 3, 32, 32, generator=random) + torch.arange(9).view(9, 1, 1, 1) + 20.0
    weight = torch.rand(9, generator=random)
    save_file({"x": x, "weight": weight}, tmp_path / "batch.safetensors")
    expected = learn(build(kind), x, weight)
    found = run_processes(tmp_path, kind, world)
    for name, value in expected.items():
        mine = [part[name] for part in found]
        together = torch.cat(mine) if name in ("output", "grad_x") else mine[-1]
        scale = max(1.0, float(value.abs().max()))
        assert float((together - value).abs().max()) <= tolerance * scale, name
    for name, value in found[0].items():
        if name.startswith("state."):
            assert all(torch.equal(value, part[name]) for part in found)
