"""torch.compile, and whether this machine can use it."""

from __future__ import annotations

import torch
from torch import Tensor

from roinspect.errors import UserError


def refuse_no_compiler(device: torch.device, where: str) -> None:
    """Compile and run one addition, as a missing compiler would otherwise end a training in its first step.

    Args:
        device: of the networks.
        where: the setting that asks for compiled networks.

    Raises:
        UserError: nothing can be compiled for the device.
    """
    try:
        torch.compile(_probe, fullgraph=True)(torch.zeros(8, device=device))
    except Exception as error:  # each backend has errors of its own
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        needs = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler"
        raise UserError(
            f"torch.compile does not work on this machine ({reason.strip()})",
            where=where,
            remedy=f"leave it off, or install {needs}",
        ) from error


def _probe(x: Tensor) -> Tensor:
    return x + 1
