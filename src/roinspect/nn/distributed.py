"""Values that the processes of one training share; a single process sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def here() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) for one alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def lowest(values: Sequence[Tensor]) -> list[float]:
    """The lowest of each number, scalars, over all processes."""
    if not values:
        return []
    found = torch.stack(list(values))
    if here()[1] > 1:
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
    return found.tolist()


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """Give every process the first one's buffers, in place; nothing to do for one process alone."""
    if here()[1] == 1:
        return
    for buffer in module.buffers():
        sent = buffer.contiguous()
        torch.distributed.broadcast(sent, 0)
        buffer.copy_(sent)
