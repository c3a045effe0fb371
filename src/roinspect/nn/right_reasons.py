"""Right for the right reasons: a penalty on input gradients outside the region of interest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from roinspect.nn.gradcam import at_least_float32


def right_reasons(logits: Tensor, inputs: Tensor, roi_mask: Tensor, *, create_graph: bool = True) -> Tensor:
    """``sum_d [ (1 - R_d) d/dx_d sum_k log p_k ]^2``: the squared input gradient outside the ROI (RRR).

    Ross, Hughes, Doshi-Velez: *Right for the Right Reasons: Training Differentiable Models by Constraining
    their Explanations*, IJCAI 2017. p = softmax(logits); d are the elements of one part's input, and 1 - R is
    the paper's mask A. The attribution is the plain gradient of the *log-probabilities, summed over all
    classes*, not of one logit and not multiplied by the input. With two classes it is
    (1 - 2 p_1) d(z_1 - z_0)/dx, so a part without a verdict, p = 0.5, is not penalised.

    Args:
        logits: (N, K), before softmax, computed from `inputs`.
        inputs: (N, C, h, w), that require a gradient: the image, as in the paper, or features. Their scale is
            that of the penalty, so they should be standardised.
        roi_mask: (N, 1, H, W) in [0, 1] at any size, 1 = inspect; averaged to the size of the inputs.
        create_graph: keep the graph, for training.

    Returns:
        (N,), >= 0, at least float32. 0 where the ROI is the whole image; with an empty one the gradient
        counts everywhere. Adding a constant to all logits changes nothing.

    Raises:
        ValueError: shapes do not fit, or the logits do not depend on the inputs.

    Example:
        >>> inputs, roi_mask = torch.rand(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 1, 4, 4)
        >>> roi_mask[..., :2] = 1
        >>> looks_left = torch.stack((inputs[..., :2].sum((1, 2, 3)), torch.zeros(2)), 1)
        >>> right_reasons(looks_left, inputs, roi_mask).tolist()
        [0.0, 0.0]
        >>> bool((right_reasons(looks_left, inputs, 1 - roi_mask) > 0).all())
        True
    """
    shapes = [tuple(tensor.shape) for tensor in (logits, inputs, roi_mask)]
    if (
        [len(shape) for shape in shapes] != [2, 4, 4]
        or len({shape[0] for shape in shapes}) > 1
        or roi_mask.shape[1] != 1
    ):
        raise ValueError(
            "logits, inputs and roi_mask must be (N, K), (N, C, h, w) and (N, 1, H, W), not "
            f"{', '.join(map(str, shapes))}"
        )
    if not inputs.requires_grad or not logits.requires_grad:
        raise ValueError("the logits must be computed from inputs that require a gradient")
    chances = at_least_float32(logits).log_softmax(1)
    # Samples are independent, so the gradient of the sum over the batch is that of each sample.
    (gradient,) = torch.autograd.grad(
        chances.sum(), inputs, create_graph=create_graph, retain_graph=True, allow_unused=True
    )
    if gradient is None:
        raise ValueError("the logits do not depend on these inputs")
    gradient = at_least_float32(gradient)
    outside = 1 - F.adaptive_avg_pool2d(roi_mask.to(gradient.dtype), (inputs.shape[2], inputs.shape[3]))
    return (outside * gradient).square().sum((1, 2, 3))
