"""The floating-point precision of a training, by method and device."""

from __future__ import annotations

import torch

AUTO = "auto"


def precision_of(asked: str, accelerator: str, *, mixes: bool, has_bfloat16: bool | None = None) -> str:
    """The precision for Lightning's Trainer that a setting stands for.

    Args:
        asked: "auto", or any precision that Lightning knows, which is taken as it is.
        accelerator: of the training, "auto", "cpu", "gpu" or "cuda".
        mixes: whether the method trains as well in mixed precision, see `Learner.mixes`.
        has_bfloat16: whether a GPU is there and computes in bfloat16; None asks it.

    Returns:
        For "auto": "bf16-mixed" where method and GPU allow it, else "32-true".

    Example:
        >>> precision_of("auto", "gpu", mixes=True, has_bfloat16=True)
        'bf16-mixed'
        >>> precision_of("auto", "cpu", mixes=True, has_bfloat16=True)
        '32-true'
    """
    if asked != AUTO:
        return asked
    if not mixes or accelerator not in ("auto", "gpu", "cuda"):
        return "32-true"
    if has_bfloat16 is None:
        # Without emulation, which older GPUs offer and which is slower than float32.
        has_bfloat16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if has_bfloat16 else "32-true"
