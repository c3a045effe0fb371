"""Focal loss (GRD-Net, Eq. 4 as corrected; Lin et al. 2017)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def focal_loss(
    prediction: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    from_logits: bool = True,
    eps: float = 1e-7,
    reduction: Reduction = "mean",
) -> Tensor:
    """FL = -(1 - p_t)^gamma log p_t, with p_t the predicted probability of the true class.

    Args:
        prediction: logits, or probabilities in [0, 1] with ``from_logits=False``; any shape.
        target: same shape, in {0, 1}.
        gamma: exponent >= 0 that reduces the weight of well-classified pixels; 0 is cross-entropy.
        alpha: weight of the positives in [0, 1], 1 - alpha for the negatives; None weighs both by 1.
        from_logits: whether `prediction` holds logits.
        eps: probabilities are scaled to [eps, 1 - eps], so that certain but wrong ones keep a gradient;
            unused for logits.
        reduction: "mean", "sum" or "none".

    Returns:
        A scalar, or the prediction's shape with ``reduction="none"``; >= 0, at least float32.

    Raises:
        ValueError: shapes differ, gamma < 0, alpha outside [0, 1] or an unknown reduction.

    Reference:
        GRD-Net, Eq. 4; T.-Y. Lin et al., *Focal loss for dense object detection*, 2017.

    Example:
        >>> logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
        >>> loss = focal_loss(logits, torch.ones(2, 1, 4, 4))
        >>> loss.backward()
        >>> round(loss.item(), 4)
        0.1733
    """
    if prediction.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(prediction.shape)} and {tuple(target.shape)}")
    if gamma < 0 or (alpha is not None and not 0 <= alpha <= 1):
        raise ValueError(f"gamma must be >= 0 and alpha in [0, 1], not {gamma}, {alpha}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not {reduction!r}")
    # Half precision would lose eps and overflow in the sum over a map.
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    prediction, target = prediction.to(dtype), target.to(dtype)
    if from_logits:
        cross_entropy = F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        # 1 - p_t as a sigmoid, without a subtraction that loses digits.
        miss = torch.sigmoid(prediction * (1 - 2 * target))
    else:
        p_t = (prediction * target + (1 - prediction) * (1 - target)) * (1 - 2 * eps) + eps
        cross_entropy, miss = -p_t.log(), 1 - p_t
    # For gamma < 1 the slope at 0 is infinite; times a cross-entropy of 0 it would be NaN.
    smallest = torch.finfo(miss.dtype).tiny
    loss = (miss.square() if gamma == 2 else miss.clamp_min(smallest).pow(gamma)) * cross_entropy
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()
