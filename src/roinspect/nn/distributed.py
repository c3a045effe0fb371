"""Exchange values between the processes of a training; a single process sends nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def here() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) for a single process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def lowest(values: Sequence[Tensor]) -> list[float]:
    """Minimum of each scalar over all processes."""
    if not values:
        return []
    minima = torch.stack(list(values))
    if here()[1] > 1:
        torch.distributed.all_reduce(minima, torch.distributed.ReduceOp.MIN)
    return minima.tolist()


@torch.no_grad()
def share_values(tensors: Iterable[Tensor]) -> None:
    """Overwrite the values, in place, with those of the first process."""
    if here()[1] == 1:
        return
    for tensor in tensors:
        sent = tensor.contiguous()
        torch.distributed.broadcast(sent, 0)
        tensor.copy_(sent)
