"""Gradient-weighted class activation maps (Grad-CAM; CEOD, Eq. 1 and 2) that can be trained through."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from roinspect.nn.autograd import compiled_between

SMALLEST = 1e-8
"""Smallest divisor of a heatmap, so that an empty one stays empty."""

FAINT = 1.0
"""Evidence of the hottest cell, in logits, below which the gradient of a heatmap is damped."""


def grad_cam(
    features: Tensor,
    logits: Tensor,
    target: int | Tensor,
    *,
    against: int | None = None,
    create_graph: bool = True,
    detach_weights: bool = False,
) -> Tensor:
    """Grad-CAM heatmap of a class by automatic differentiation.

    alpha_k is the gradient of the target logit with respect to feature map k, averaged over all positions
    (Eq. 1). The heatmap is ReLU(sum_k alpha_k A_k) (Eq. 2), divided by its maximum; the gradient of a weak
    heatmap is damped, see `faded`. Works with any head, sets no hooks and changes no mode. For a head of
    pooling and one linear layer, `linear_cam` gives the same result without a second backward pass.

    A batch norm *inside the head* must be in evaluation mode while the logits are computed: in training mode
    it subtracts the batch mean, so the gradient of the summed logits vanishes, and with it the heatmap.

    Args:
        features: (N, C, h, w), output of the last convolutional block, from which `logits` were computed.
        logits: (N, K), before any softmax.
        target: the class, one for all or (N,) int64.
        against: a class whose logit is subtracted from the target's. With two classes only the difference
            decides, and either logit may carry the evidence. None uses the target logit, as in the papers.
        create_graph: keep the graph through alpha_k, for a loss on the heatmap; not needed for display.
        detach_weights: treat alpha_k as constants, so that gradients flow through the features only.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1]; all 0 without evidence for the class.

    Raises:
        ValueError: shapes or target do not fit, the logits do not depend on the features, or the layers
            between them are compiled and cannot be differentiated twice.

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
            "the logits must be computed from features that require a gradient; under torch.no_grad, pass "
            "the heatmap of `linear_cam` instead"
        )
    if torch.compiler.is_compiling():
        # Compiled code cannot be differentiated twice, so this part of a compiled loss runs in eager mode.
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
        # Samples are independent, so the gradient of the sum over the batch is that of each sample.
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
    """The heatmap of `grad_cam` in closed form: average pooling, optional batch norm, linear layer.

    alpha_k is the target's row of the weight matrix, times the scale of the norm in evaluation mode, divided
    by the number of positions. This needs no second backward pass and can be exported. It also holds if the
    head averages over some of the positions only, which leaves the mean of the gradient unchanged.

    Args:
        features: (N, C, h, w), the input of the pooling.
        linear: the head's linear layer, C to K.
        target: the class, one for all or (N,) int64.
        against: see `grad_cam`.
        norm: the batch norm between pooling and linear layer; its running variance is used in both modes.
        detach_weights: treat alpha_k as constants.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1].

    Raises:
        ValueError: shapes or target do not fit, or the norm has no running variance.

    Example:
        >>> features, linear = torch.rand(2, 8, 5, 5, requires_grad=True), nn.Linear(8, 2)
        >>> closed = linear_cam(features, linear, 1)
        >>> by_autograd = grad_cam(features, linear(features.mean((2, 3))), 1)
        >>> torch.allclose(closed, by_autograd, atol=1e-5)
        True
    """
    _check_linear(features, linear, target, against)
    weights = head_weights(linear, target, against=against, norm=norm)
    weights = weights / (features.shape[2] * features.shape[3])
    return weighted_cam(features, weights.detach() if detach_weights else weights)


def linear_evidence(
    features: Tensor,
    linear: nn.Linear,
    target: int | Tensor,
    *,
    against: int | None = None,
    norm: nn.BatchNorm1d | None = None,
) -> Tensor:
    """What each cell contributes to the target logit: the weighted sum of `linear_cam` before its ReLU.

    Args:
        features: (N, C, h, w), the input of the pooling.
        linear: see `linear_cam`.
        target: see `linear_cam`.
        against: see `grad_cam`.
        norm: see `linear_cam`.

    Returns:
        (N, 1, h, w) float32 (float64 for such features), of either sign, in logits: the gain if all pooled
        cells had the features of this one, up to the constant of biases and norm.

    Raises:
        ValueError: see `linear_cam`.

    Example:
        >>> features, linear = torch.rand(2, 8, 5, 5), nn.Linear(8, 2)
        >>> evidence = linear_evidence(features, linear, 1)
        >>> logit = evidence.mean((1, 2, 3)) + linear.bias[1]
        >>> torch.allclose(logit, linear(features.mean((2, 3)))[:, 1], atol=1e-5)
        True
    """
    _check_linear(features, linear, target, against)
    return _weighted_sum(features, head_weights(linear, target, against=against, norm=norm))


def head_weights(
    linear: nn.Linear, target: int | Tensor, *, against: int | None = None, norm: nn.BatchNorm1d | None = None
) -> Tensor:
    """Derivative of the target logit by the pooled features, (C,) or (N, C); arguments as in `linear_cam`.

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
    """ReLU of the weighted sum of feature maps (Eq. 2), divided by its maximum, with a `faded` gradient.

    Args:
        features: (N, C, h, w).
        weights: alpha, (N, C), or (C,) for all samples.

    Returns:
        (N, 1, h, w) float32 (float64 for such features) in [0, 1]. Float32 also under autocast, as the
        weights are small.

    Example:
        >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        >>> weighted_cam(features, torch.tensor([1.0, -1.0]))  # relu(1 - 3, 2 - 0) / maximum
        tensor([[[[0., 1.]]]])
    """
    with torch.autocast(features.device.type, enabled=False):
        heat = _weighted_sum(features, weights).relu()
        hottest = heat.amax((1, 2, 3), keepdim=True)
        # Clamp instead of adding: the ONNX exporter rounds so small a summand to 0, which gives 0/0.
        scaled = heat / hottest.clamp_min(SMALLEST)
        # alpha is a mean over the cells: heat times the number of cells is the logit's gain if all cells
        # had the features of this one.
        return faded(scaled, hottest * (heat.shape[2] * heat.shape[3]))


def faded(heatmap: Tensor, evidence: Tensor) -> Tensor:
    """The same heatmap, with a gradient that vanishes with its evidence.

    The gradient of a heatmap that is divided by its maximum m grows as 1 / m. On good parts m approaches 0
    during training, so the gradient would be unbounded. The factor min(1, m / m0)^2, with m0 = `FAINT`, makes
    it largest at m0 and 0 at m = 0, and leaves it unchanged for m >= m0.

    Args:
        heatmap: (N, 1, h, w).
        evidence: m, in logits, (N, 1, 1, 1); treated as a constant.

    Returns:
        (N, 1, h, w), equal to `heatmap`.
    """
    return damped(heatmap, (evidence.detach() / FAINT).clamp(0, 1).square())


def damped(values: Tensor, share: Tensor) -> Tensor:
    """The same values, with their gradient times `share`."""
    if not (torch.is_grad_enabled() and values.requires_grad):
        return values
    return values.detach() + share * (values - values.detach())


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half precision, integers and booleans to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """(N, C, h, w) and (N, C) or (C,) to (N, 1, h, w), at least float32, also under autocast."""
    with torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features)
        # Not `len`, which would fix the batch size in an exported graph.
        weights = weights.to(features.dtype).expand(features.shape[0], -1)
        return torch.einsum("nchw,nc->nhw", features, weights).unsqueeze(1)


def _check_linear(features: Tensor, linear: nn.Linear, target: int | Tensor, against: int | None) -> None:
    if features.ndim != 4 or features.shape[1] != linear.in_features:
        raise ValueError(
            f"features must be (N, {linear.in_features}, h, w) for this linear layer, not "
            f"{tuple(features.shape)}"
        )
    _check_target(target, against, features.shape[0], linear.out_features)


def _check_target(target: int | Tensor, against: int | None, count: int, classes: int) -> None:
    if isinstance(target, Tensor):
        fits = target.dtype == torch.int64 and target.shape in ((), (count,))
    else:
        fits = 0 <= target < classes
    if not fits or (against is not None and not 0 <= against < classes):
        raise ValueError(
            f"target must be a class from 0 to {classes - 1}, or int64 of shape (N,); against such a class"
        )
