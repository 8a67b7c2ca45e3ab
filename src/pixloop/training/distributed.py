"""Training by several processes: who they are, and what they tell one another.

A launcher (``pipeline.launch``, or torchrun) starts them and says in the environment who each is.
Without a launcher there is one process, which these functions then never leave.

Every process runs the same program and holds the same network. Of each batch, each learns its
slice, and gradients are averaged. What must be decided or written once, the first process does.
Every collective function must be called by all of them, in the same order.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

#: How long the others wait for one, for example while the first fits a head.
_PATIENCE = timedelta(minutes=30)

T = TypeVar("T")


def rank() -> int:
    """Which process this is, of ``world()``; 0 is the first."""
    return int(os.environ["RANK"]) if dist.is_torchelastic_launched() else 0


def world() -> int:
    """How many processes there are, on all hosts."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def local_world() -> int:
    """How many of them are on this host."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


@contextmanager
def connected() -> Iterator[None]:
    """Connect the processes for as long as the block runs."""
    if world() == 1:
        yield
        return
    # Gradients go from GPU to GPU; what is decided once is small, and goes by the CPU.
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    yield
    # Not after an error: the others may wait in the middle of a collective, and then so would this.
    dist.destroy_process_group()


def from_first(compute: Callable[[], T]) -> T:
    """What the first process computes, for all of them; only there is ``compute`` called."""
    if world() == 1:
        return compute()
    box: list[Any] = [compute() if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    result: T = box[0]
    return result


def mean(value: float) -> float:
    """The mean of every process's value."""
    if world() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / world()


def largest(value: int) -> int:
    """The largest of every process's value."""
    if world() == 1:
        return value
    found = torch.tensor(value)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gather(rows: T, total: int) -> T:
    """All rows in their order, in the first process; in the others, what they gave.

    Args:
        rows: a tensor or a list: the rows of this process, as ``share`` chose them.
        total: how many there are altogether.
    """
    if world() == 1:
        return rows
    parts: list[Any] = [None] * world()
    dist.gather_object(rows, parts if rank() == 0 else None, dst=0)
    if rank() != 0:
        return rows
    ordered: Any
    if isinstance(rows, Tensor):
        ordered = torch.stack(parts, dim=1).flatten(0, 1)[:total]
    else:
        ordered = list(chain.from_iterable(zip(*parts, strict=True)))[:total]
    result: T = ordered
    return result


def share(rows: Sequence[int], rank: int, world: int) -> Sequence[int]:
    """Every ``world``-th row, from the ``rank``-th on.

    Each process gets as many, so that none waits for another's; the last rows of some are then
    rows that others have too, which ``gather`` leaves out.

    >>> share(range(5), 0, 2), share(range(5), 1, 2)
    (range(0, 5, 2), [1, 3, 0])
    """
    mine = rows[rank::world]
    missing = math.ceil(len(rows) / world) - len(mine)
    return [*mine, *rows[:missing]] if missing else mine
