"""Cross-entropy overlap distance (CEOD): cross-entropy plus the distance of the heatmap from the ROI.

Fraccaroli, Bizzarri, Casellati, Lamma: *Exploiting CNN's visual explanations to drive anomaly detection*,
2024 (Eq. 5 to 8), and *Cross Entropy Overlap Distance*, 2022.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roinspect.nn.forms import Gate, Resolution
from roinspect.nn.gradcam import at_least_float32, damped, faded, grad_cam
from roinspect.nn.misuse import refuse_misuse
from roinspect.nn.overlap import overlap_distance

IGNORED = -100
"""The label of parts that are ignored, same as in torch."""


class CeodTerms(NamedTuple):
    """The loss and its parts, scalars; `loss = cross_entropy + omega * distance`."""

    loss: Tensor
    cross_entropy: Tensor
    distance: Tensor
    """Sum of the gated overlap distances, divided by the batch size."""
    empty: Tensor
    """Share of the batch with an empty heatmap, whose distance is 0."""


def ceod_loss(
    logits: Tensor,
    label: Tensor,
    heat: Tensor,
    roi_mask: Tensor,
    omega: float = 0.001,
    *,
    gate: Gate = "defects",
    weight: Tensor | None = None,
    defect_class: int = 1,
    resolution: Resolution = "grid",
    **overlap: Any,
) -> Tensor:
    """``1/N sum_i [ w_i ce_i + omega g_i OD_i ]``: cross-entropy plus overlap distance (Eq. 5 to 8).

    The 2022 form is ``variant="linear", gate="all"``.

    Args:
        logits: (N, K), before softmax.
        label: (N,) int64, `defect_class` for parts with a defect inside the ROI. Parts labelled -100 are
            ignored, same as in `torch.nn.functional.cross_entropy`.
        heat: either the features (N, C, h, w), C > 1, from which the logits were computed; they must require
            a gradient, and their Grad-CAM for the defect class is used. Or a heatmap (N, 1, h, w) >= 0, for
            example of `linear_cam`. The gradient of a weak heatmap is damped, see `faded`; for a heatmap that
            you pass, if its maximum is below 1. The ReLU of Grad-CAM blocks the gradient of cells without
            heat: if no heat lies inside the ROI or on its softened rim, OD is constant and only the
            cross-entropy has a gradient. ``soften="falloff"`` with a long reach avoids this;
            `evidence_distance` has no such limit.
        roi_mask: (N, 1, H, W) in [0, 1] at any size, 1 = inspect; averaged to the heatmap's cells.
        omega: weight of the distance, >= 0. The paper's 0.001 has almost no effect; see our ablation.
        gate: "defects" applies OD to parts of the defect class (2024), "all" to every part (2022). Only "all"
            learns from good parts with a defect outside the ROI. The gradient of a good part is multiplied by
            its defect probability; otherwise parts that are correctly classified as good would be pushed
            towards evidence inside.
        weight: (K,) class weights of the cross-entropy, against imbalance.
        defect_class: the class whose heatmap is steered.
        resolution: "grid" compares on the heatmap's cells, "image" enlarges the heatmap to the mask's size.
        **overlap: passed to `overlap_distance`: variant, denominator, soften, reach, clip, eps, areas.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: shapes do not fit, omega is negative, or an option is unknown.

    Example:
        >>> import torch
        >>> features, head = torch.rand(4, 8, 5, 5, requires_grad=True), nn.Linear(8, 2)
        >>> logits, label = head(features.mean((2, 3))), torch.tensor([0, 1, 1, 0])
        >>> roi_mask = torch.zeros(4, 1, 20, 20)
        >>> roi_mask[..., :10] = 1
        >>> ceod_loss(logits, label, features, roi_mask, omega=1.0).backward()
    """
    return ceod_terms(
        logits,
        label,
        heat,
        roi_mask,
        omega,
        gate=gate,
        weight=weight,
        defect_class=defect_class,
        resolution=resolution,
        **overlap,
    ).loss


def ceod_terms(
    logits: Tensor,
    label: Tensor,
    heat: Tensor,
    roi_mask: Tensor,
    omega: float = 0.001,
    *,
    gate: Gate = "defects",
    weight: Tensor | None = None,
    defect_class: int = 1,
    resolution: Resolution = "grid",
    **overlap: Any,
) -> CeodTerms:
    """`ceod_loss` and its terms, for logging; the same arguments and errors.

    Example:
        >>> logits, label = torch.zeros(2, 2), torch.tensor([0, 1])
        >>> terms = ceod_terms(logits, label, torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        >>> f"{float(terms.cross_entropy):.3f} {float(terms.loss):.3f}"  # all heat lies inside
        '0.693 0.693'
    """
    _refuse_options(omega, gate, resolution)
    shapes = [tuple(tensor.shape) for tensor in (logits, label, heat, roi_mask)]
    if shapes[0] in (shapes[1], (*shapes[1], 1)):
        raise ValueError(
            f"logits must be (N, K), one for each class, not a single one of shape {shapes[0]}; for z of "
            "shape (N,), torch.stack((torch.zeros_like(z), z), 1) gives two with the same cross-entropy"
        )
    if [len(shape) for shape in shapes] != [2, 1, 4, 4] or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            "logits, label, heat and roi_mask must be (N, K), (N,), (N, C, h, w) and (N, 1, H, W), not "
            f"{', '.join(map(str, shapes))}"
        )
    classes = logits.shape[1]
    if roi_mask.shape[1] != 1 or not 0 <= defect_class < classes:
        raise ValueError(
            f"roi_mask must have 1 channel, not {roi_mask.shape[1]}; defect_class be below {classes}, not "
            f"{defect_class}"
        )
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight must be ({classes},), not {tuple(weight.shape)}")
    if heat.shape[1] == 1:
        # Half precision would lose the logarithm's epsilon.
        heatmap = at_least_float32(heat)
        heatmap = faded(heatmap, heatmap.amax((1, 2, 3), keepdim=True))
    else:
        heatmap = grad_cam(heat, logits, defect_class, create_graph=omega > 0)
    roi_mask = roi_mask.to(heatmap.dtype)
    if resolution == "grid":
        # Average pooling instead of sampling: a narrow ROI keeps its share of a coarse cell.
        roi_mask = F.adaptive_avg_pool2d(roi_mask, (heatmap.shape[2], heatmap.shape[3]))
    else:
        heatmap = F.interpolate(heatmap, roi_mask.shape[2:], mode="bilinear", align_corners=False)
    distance = overlap_distance(heatmap, roi_mask, reduction="none", **overlap)
    empty = (heatmap.detach().amax((1, 2, 3)) <= 0).float().mean()
    return steered_terms(
        logits, label, distance, omega, gate=gate, weight=weight, defect_class=defect_class, empty=empty
    )


def steered_terms(
    logits: Tensor,
    label: Tensor,
    distance: Tensor,
    omega: float,
    *,
    gate: Gate = "defects",
    weight: Tensor | None = None,
    defect_class: int = 1,
    has_direction: bool = True,
    empty: Tensor | None = None,
) -> CeodTerms:
    """Cross-entropy plus a gated loss on the explanation of each part (Eq. 7), for any such loss.

    Args:
        logits: (N, K), before softmax.
        label: (N,) int64; see `ceod_loss`.
        distance: (N,), the loss on each part's explanation, >= 0.
        omega: weight of the distance, >= 0.
        gate: see `ceod_loss`.
        weight: see `ceod_loss`.
        defect_class: see `ceod_loss`.
        has_direction: whether more evidence *for a defect* inside lowers the distance. If so, the gradient of
            a part that is no defect is multiplied by its defect probability, see `gate` of `ceod_loss`.
        empty: (), share of parts with an empty heatmap, for logging; None is 0.

    Returns:
        The loss and its terms, scalars.

    Example:
        >>> logits, label = torch.zeros(2, 2), torch.tensor([0, 1])
        >>> terms = steered_terms(logits, label, torch.tensor([5.0, 1.0]), omega=2.0)
        >>> f"{float(terms.distance):.1f} {float(terms.loss - terms.cross_entropy):.1f}"  # only the defect's
        '0.5 1.0'
    """
    cross_entropy = F.cross_entropy(at_least_float32(logits), label, reduction="none")
    if weight is not None:
        # Divided by N, not by the sum of the weights, so that several devices give the same as one.
        cross_entropy = cross_entropy * weight[label.clamp_min(0)]
    is_counted = label != IGNORED
    is_defective = label == defect_class
    if gate == "defects":
        distance = distance * is_defective
    elif has_direction:
        suspicion = at_least_float32(logits.detach()).softmax(1)[:, defect_class].to(distance.dtype)
        distance = damped(distance * is_counted, suspicion.masked_fill(is_defective, 1))
    else:
        distance = distance * is_counted
    count = is_counted.sum().clamp_min(1)
    ce, od = cross_entropy.sum() / count, distance.sum() / count
    # At omega 0 the distance is only reported; it must not cost a backward pass or contribute a NaN.
    loss = ce + omega * od if omega > 0 else ce
    return CeodTerms(loss, ce.detach(), od.detach(), torch.zeros_like(ce) if empty is None else empty)


def _refuse_options(omega: float, gate: str, resolution: str) -> None:
    if gate not in get_args(Gate) or resolution not in get_args(Resolution):
        raise ValueError(
            f"gate is one of {', '.join(get_args(Gate))}, resolution of {', '.join(get_args(Resolution))}; "
            f"not {gate!r} and {resolution!r}"
        )
    if omega < 0:
        raise ValueError(f"omega must be at least 0, not {omega}")


class CeodLoss(nn.Module):
    """`ceod_loss` as a module, for any PyTorch training loop.

    The first call in training mode with more than one part checks for silent misuse, see `refuse_misuse`.
    This costs one backward pass through the head. `ceod_loss` has no such check.

    Args:
        omega: see `ceod_loss`.
        **options: see `ceod_loss`; `weight` is a buffer of the module.

    Raises:
        TypeError: an option is unknown.
        ValueError: an option has an invalid value; or, at the first call, the inputs are misused.

    Example:
        >>> import torch
        >>> criterion = CeodLoss(omega=1.0, gate="all", weight=torch.tensor([0.6, 2.0]))
        >>> features, head = torch.rand(2, 8, 5, 5, requires_grad=True), nn.Linear(8, 2)
        >>> roi_mask = torch.ones(2, 1, 20, 20)
        >>> loss = criterion(head(features.mean((2, 3))), torch.tensor([0, 1]), features, roi_mask)
    """

    weight: Tensor | None

    def __init__(self, omega: float = 0.001, *, weight: Tensor | None = None, **options: Any) -> None:
        super().__init__()
        # A trial run on one part, so that an invalid option fails here and not at the first batch.
        one = torch.ones(1, 1, 2, 2)
        ceod_terms(
            one.new_zeros(1, 1 + options.get("defect_class", 1)),
            torch.zeros(1, dtype=torch.int64),
            one,
            one,
            omega,
            **options,
        )
        self.omega = omega
        self.options = options
        self.register_buffer("weight", weight)
        self._is_checked = False

    def forward(self, logits: Tensor, label: Tensor, heat: Tensor, roi_mask: Tensor) -> Tensor:
        """See `ceod_loss`."""
        loss = ceod_loss(logits, label, heat, roi_mask, self.omega, weight=self.weight, **self.options)
        # After the loss, which validates shapes. In evaluation mode a batch norm is harmless, and with
        # a single part its effect cannot be detected.
        if self.training and not self._is_checked and torch.is_grad_enabled():
            check = torch.compiler.disable(refuse_misuse) if torch.compiler.is_compiling() else refuse_misuse
            check(logits, heat, roi_mask, self.options.get("defect_class", 1))
            self._is_checked = len(logits) > 1
        return loss

    def extra_repr(self) -> str:
        """The options, for `print`."""
        return ", ".join(f"{name}={value}" for name, value in {"omega": self.omega, **self.options}.items())
