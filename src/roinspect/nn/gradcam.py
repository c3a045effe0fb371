"""Gradient-weighted class activation maps (Grad-CAM; CEOD, Eq. 1 and 2) that can be trained through."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from roinspect.nn.autograd import compiled_between

SMALLEST = 1e-8
"""The least that a heatmap is divided by, so that an empty one stays empty."""

FAINT = 1.0
"""Evidence of the hottest cell, in logits, below which a heatmap's gradient fades."""


def grad_cam(
    features: Tensor,
    logits: Tensor,
    target: int | Tensor,
    *,
    against: int | None = None,
    create_graph: bool = True,
    detach_weights: bool = False,
) -> Tensor:
    """Where in the features the evidence for a class lies, by automatic differentiation.

    alpha_k is the mean over all positions of the target logit's gradient by feature map k (Eq. 1), the
    heatmap ReLU(sum_k alpha_k A_k) (Eq. 2), divided by its own maximum; where that is next to nothing its
    gradient fades, see `faded`. Works with any head; sets no hooks and changes no mode. Where the head is
    pooling and one linear layer, `linear_cam` gives the same without a second backward pass.

    A batch norm *inside the head* must be in evaluation mode while the logits are computed: in training mode
    it takes the batch's mean away, so the gradient of the logits' sum vanishes and with it the heatmap.

    Args:
        features: (N, C, h, w), output of the last convolutional block; `logits` were computed from it.
        logits: (N, K), before any softmax.
        target: the class, one for all or (N,) int64.
        against: a class whose logit is taken off the target's. With two classes only their difference
            decides, and the evidence may stand in either; None is the papers' plain logit.
        create_graph: keep the graph through alpha_k, for a loss on the heatmap. False is enough for looking.
        detach_weights: take alpha_k as constants; the heatmap's gradient then flows through the features.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1]; all 0 where nothing speaks for the class.

    Raises:
        ValueError: shapes or target do not fit, the logits do not depend on the features, or what lies
            between them has been compiled into something that cannot be differentiated twice.

    Example:
        >>> features = torch.rand(2, 8, 5, 5, requires_grad=True)
        >>> head = nn.Linear(8, 2)
        >>> heatmap = grad_cam(features, head(features.mean((2, 3))), target=1)
        >>> heatmap.shape
        torch.Size([2, 1, 5, 5])
    """
    if features.ndim != 4 or logits.ndim != 2 or len(features) != len(logits):
        raise ValueError(
            f"features must be (N, C, h, w) and logits (N, K), not {tuple(features.shape)} and "
            f"{tuple(logits.shape)}"
        )
    _check_target(target, against, *logits.shape)
    if not features.requires_grad or not logits.requires_grad:
        raise ValueError(
            "the logits must be computed from features that require a gradient; where nothing is trained, "
            "under torch.no_grad, give the heatmap of `linear_cam` instead"
        )
    if torch.compiler.is_compiling():
        # What is compiled cannot be differentiated twice, so this part of a compiled loss runs as it is.
        return cast(
            Tensor,
            torch.compiler.disable(grad_cam)(
                features,
                logits,
                target,
                against=against,
                create_graph=create_graph,
                detach_weights=detach_weights,
            ),
        )
    if create_graph and (reason := compiled_between(logits, features)):
        raise ValueError(reason)
    rows = torch.arange(len(logits), device=logits.device)
    scores = logits[rows, target] if against is None else logits[rows, target] - logits[:, against]
    try:
        # The sum over the batch gives every sample its own gradient, as no sample's logit knows the others.
        (gradient,) = torch.autograd.grad(
            scores.sum(), features, create_graph=create_graph, retain_graph=True
        )
    except RuntimeError as error:
        if "not have been used in the graph" not in str(error):
            raise
        raise ValueError("the logits do not depend on these features") from None
    weights = at_least_float32(gradient).mean((2, 3))
    return weighted_cam(features, weights.detach() if detach_weights else weights)


def linear_cam(
    features: Tensor,
    linear: nn.Linear,
    target: int | Tensor,
    *,
    against: int | None = None,
    norm: nn.BatchNorm1d | None = None,
    detach_weights: bool = False,
) -> Tensor:
    """The same heatmap in closed form, for a head of average pooling, maybe a batch norm, and a linear layer.

    There alpha_k is the target's row of the weight matrix, times the norm's scale in evaluation mode, over
    the number of positions: no second backward pass, and exportable in the inspection graph. It is the same
    where the head averages over some of the positions, as the mean of the gradient stays what it is.

    Args:
        features: (N, C, h, w), which the head pools.
        linear: the head's linear layer, C to K.
        target: the class, one for all or (N,) int64.
        against: as in `grad_cam`.
        norm: the batch norm between pooling and linear layer; its running variance is used in either mode.
        detach_weights: take alpha_k as constants.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1].

    Raises:
        ValueError: shapes or target do not fit, or the norm keeps no running variance.

    Example:
        >>> features, linear = torch.rand(2, 8, 5, 5, requires_grad=True), nn.Linear(8, 2)
        >>> closed = linear_cam(features, linear, 1)
        >>> by_autograd = grad_cam(features, linear(features.mean((2, 3))), 1)
        >>> torch.allclose(closed, by_autograd, atol=1e-5)
        True
    """
    if features.ndim != 4 or features.shape[1] != linear.in_features:
        raise ValueError(
            f"features must be (N, {linear.in_features}, h, w) as the linear layer takes them, not "
            f"{tuple(features.shape)}"
        )
    _check_target(target, against, features.shape[0], linear.out_features)
    weights = head_weights(linear, target, against=against, norm=norm)
    weights = weights / (features.shape[2] * features.shape[3])
    return weighted_cam(features, weights.detach() if detach_weights else weights)


def head_weights(
    linear: nn.Linear, target: int | Tensor, *, against: int | None = None, norm: nn.BatchNorm1d | None = None
) -> Tensor:
    """What a unit of each pooled feature adds to the target's logit, (C,) or (N, C); as in `linear_cam`.

    Example:
        >>> head_weights(nn.Linear(8, 2), 1).shape
        torch.Size([8])
    """
    weights = at_least_float32(linear.weight[target])
    if against is not None:
        weights = weights - at_least_float32(linear.weight[against])
    if norm is None:
        return weights
    if norm.running_var is None:
        raise ValueError("a batch norm without running statistics has no closed form")
    scale = torch.rsqrt(at_least_float32(norm.running_var) + norm.eps)
    return weights * (scale if norm.weight is None else scale * norm.weight)


def weighted_cam(features: Tensor, weights: Tensor) -> Tensor:
    """ReLU of the weighted sum of feature maps (Eq. 2), divided by its own maximum; its gradient is `faded`.

    Args:
        features: (N, C, h, w).
        weights: alpha, (N, C), or (C,) for all samples.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1]. Float32 also under autocast: the weights
        are small numbers.

    Example:
        >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        >>> weighted_cam(features, torch.tensor([1.0, -1.0]))  # relu(1 - 3, 2 - 0) by its maximum
        tensor([[[[0., 1.]]]])
    """
    with torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features)
        # Not `len`, which would fix the batch's size in an exported graph.
        weights = weights.to(features.dtype).expand(features.shape[0], -1)
        heat = torch.einsum("nchw,nc->nhw", features, weights).unsqueeze(1).relu()
        hottest = heat.amax((1, 2, 3), keepdim=True)
        # Not added: the ONNX exporter takes so small a summand for 0, and an empty heatmap would be 0/0.
        scaled = heat / hottest.clamp_min(SMALLEST)
        # alpha is a mean over the cells: times their number a cell's heat is what the logit would gain if all
        # cells showed what this one does.
        return faded(scaled, hottest * (heat.shape[2] * heat.shape[3]))


def faded(heatmap: Tensor, evidence: Tensor) -> Tensor:
    """The same heatmap, with a gradient that goes to 0 with the evidence that it rests on.

    A heatmap divided by its own maximum m looks the same however small m is, so its gradient grows as 1 / m:
    on good parts, whose evidence for a defect vanishes as training goes well, without bound. Times
    min(1, m / m0)^2, with m0 = `FAINT`, it is largest at m0 and vanishes with m; from m0 on it is as it was.

    Args:
        heatmap: (N, 1, h, w).
        evidence: m, in logits, (N, 1, 1, 1); taken as a constant.

    Returns:
        (N, 1, h, w), equal to `heatmap`.
    """
    return damped(heatmap, (evidence.detach() / FAINT).clamp(0, 1).square())


def damped(values: Tensor, share: Tensor) -> Tensor:
    """The same values, with that share of their gradient."""
    if not (torch.is_grad_enabled() and values.requires_grad):
        return values
    return values.detach() + share * (values - values.detach())


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision, integers and booleans as float32, float64 as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_target(target: int | Tensor, against: int | None, count: int, classes: int) -> None:
    if isinstance(target, Tensor):
        fits = target.dtype == torch.int64 and target.shape in ((), (count,))
    else:
        fits = 0 <= target < classes
    if not fits or (against is not None and not 0 <= against < classes):
        raise ValueError(
            f"target must be a class from 0 to {classes - 1}, or int64 of shape (N,); against such a class"
        )
