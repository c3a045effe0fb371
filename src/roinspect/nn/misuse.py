"""Detect silent misuse of `CeodLoss` and report it in one line."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roinspect.nn.autograd import nodes_between

_ACTIVATIONS = (
    "Relu", "LeakyRelu", "PreluKernel", "Silu", "Hardswish", "Hardtanh", "Gelu", "Elu", "Mish", "Softplus",
)  # fmt: skip
_NORMS = ("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormWithUpdate")
_APART = 2.0
"""Factor between two aspect ratios too large for rounding of the grid."""


def refuse_misuse(logits: Tensor, heat: Tensor, roi_mask: Tensor, defect_class: int) -> None:
    """Raise if the inputs of `CeodLoss` are not those that Grad-CAM and cross-entropy are defined for.

    Detects probabilities instead of logits; features (N, h, w, C); features before their norm or activation;
    and a head in which a part's logit depends on other parts, such as a batch norm in training mode. Costs
    one backward pass through the head.

    Args:
        logits: (N, K), connected to the features by the autograd graph.
        heat: the features (N, C, h, w), or a heatmap (N, 1, h, w).
        roi_mask: (N, 1, H, W).
        defect_class: the class of the heatmap.

    Raises:
        ValueError: one of these was detected; the message says what to do.
    """
    _refuse_probabilities(logits.detach(), logits.grad_fn)
    if heat.shape[1] == 1:
        return
    _refuse_channels_at_the_end(heat.shape, roi_mask.shape)
    _refuse_before_activation(logits, heat)
    if len(logits) > 1:
        _refuse_coupled_parts(logits, heat, defect_class)


def _refuse_probabilities(logits: Tensor, origin: Any) -> None:
    values = logits.double()
    exact = 1e-5 if logits.dtype in (torch.float32, torch.float64) else 1e-2
    one = torch.ones((), dtype=values.dtype, device=values.device)
    is_share = (values >= 0).all() & torch.isclose(values.sum(1), one, atol=exact).all()
    is_log_share = (values <= 0).all() & torch.isclose(values.exp().sum(1), one, atol=exact).all()
    squashed = origin is not None and origin.name().startswith(("Softmax", "LogSoftmax", "Sigmoid"))
    if squashed or (len(values) > 1 and bool(is_share | is_log_share)):
        raise ValueError(
            "the logits look like probabilities, or their logarithms: pass the output of the last linear "
            "layer, before softmax or sigmoid"
        )


def _refuse_channels_at_the_end(features: torch.Size, roi_mask: torch.Size) -> None:
    sides = features[1:]
    aspect = roi_mask[2] / roi_mask[3]

    def fits(height: int, width: int) -> bool:
        # One cell of tolerance, as strides do not divide every size.
        low, high = max(height - 1, 0.5) / (width + 1), (height + 1) / max(width - 1, 0.5)
        return low / _APART <= aspect <= high * _APART

    if not fits(*sides[1:]) and fits(*sides[:2]):
        height, width, channels = sides
        raise ValueError(
            f"the features look like (N, h, w, C), {tuple(features)} for masks of {roi_mask[2]} x "
            f"{roi_mask[3]}, and are read as {height} channels of {width} x {channels}. Permute them before "
            "the head: x = body(image).permute(0, 3, 1, 2); logits = head(x.permute(0, 2, 3, 1))"
        )


def _refuse_before_activation(logits: Tensor, features: Tensor) -> None:
    origin = torch.autograd.graph.get_gradient_edge(features)
    for node in nodes_between(logits, features):
        takes = any(link == (origin.node, origin.output_nr) for link in node.next_functions)
        if takes and node.name().startswith((*_ACTIVATIONS, *_NORMS)):
            kind = "norm" if node.name().startswith(_NORMS) else "activation"
            raise ValueError(
                f"the features are those before the last {kind} ({node.name()} follows): pass its "
                "output, as Grad-CAM explains the input of the pooling"
            )


def _refuse_coupled_parts(logits: Tensor, features: Tensor, defect_class: int) -> None:
    (gradient,) = torch.autograd.grad(
        logits[0, defect_class], features, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    own, others = gradient[0].abs().amax(), gradient[1:].abs().amax()
    if others > 1e-6 * own:
        raise ValueError(
            "a part's logits depend on the other parts of the batch, so its Grad-CAM is undefined: set the "
            "batch norms of the head to evaluation mode, or pass `linear_cam(features, linear, 1, norm=norm)`"
        )
