"""Every loss computes in float32 what it is given in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn.ceod import ceod_loss  # noqa: E402
from roinspect.nn.dice import dice_loss  # noqa: E402
from roinspect.nn.focal import Reduction, focal_loss  # noqa: E402
from roinspect.nn.forms import RoiForm  # noqa: E402
from roinspect.nn.overlap import overlap_distance  # noqa: E402
from roinspect.nn.ssim import ssim  # noqa: E402
from roinspect.nn.steering import segmentation_loss  # noqa: E402

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of logits, a mask and a region, (1, 1, H, W) each."""


def focal(reduction: Reduction, gamma: float, *, from_logits: bool) -> Loss:
    def loss(logits: Tensor, mask: Tensor, roi: Tensor) -> Tensor:
        prediction = logits if from_logits else logits.clamp(0, 1)
        return focal_loss(prediction, mask, gamma=gamma, from_logits=from_logits, reduction=reduction)

    return loss


def steered(form: RoiForm) -> Loss:
    return lambda logits, mask, roi: segmentation_loss(logits, mask, roi, roi=form)


def classified(logits: Tensor, mask: Tensor, roi: Tensor) -> Tensor:
    scores = torch.stack((logits.flatten()[:1], logits.flatten()[-1:]), 1)
    return ceod_loss(scores, torch.tensor([1]), logits.clamp(0, 1), roi, 1.0)


LOSSES: dict[str, Loss] = {
    **{
        f"focal, {reduction}, gamma {gamma:g}, {'logits' if from_logits else 'probabilities'}": focal(
            reduction, gamma, from_logits=from_logits
        )
        for reduction in get_args(Reduction)
        for gamma in (0.5, 2.0)
        for from_logits in (True, False)
    },
    **{f"steering, {form}": steered(form) for form in get_args(RoiForm)},
    "dice": lambda logits, mask, roi: dice_loss(logits, mask),
    "ssim": lambda logits, mask, roi: ssim(logits.clamp(0, 1), mask),
    "overlap": lambda logits, mask, roi: overlap_distance(logits.clamp(0, 1), roi),
    "ceod": classified,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_float32_of_the_same_values(name: str, dtype: torch.dtype) -> None:
    """On a map whose sums overflow float16, with pixels that are certain and wrong."""
    torch.manual_seed(0)
    logits = (20 * torch.randn(1, 1, 300, 300)).to(dtype).requires_grad_()
    mask = (torch.rand(1, 1, 300, 300) < 0.5).to(dtype)
    roi = torch.ones_like(mask)
    roi[..., 200:] = 0
    loss = LOSSES[name](logits, mask, roi)
    expected = LOSSES[name](logits.float(), mask.float(), roi.float())
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    torch.testing.assert_close(loss, expected)
    loss.mean().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
