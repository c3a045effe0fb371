"""Relevance of the background: nothing inside, more the more of it lies outside, and never unbounded."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn.background import background_relevance  # noqa: E402


def roi(count: int = 1) -> Tensor:
    mask = torch.zeros(count, 1, 8, 8)
    mask[..., :4] = 1
    return mask


def test_the_gradient_is_right() -> None:
    torch.manual_seed(0)
    found = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    for mask in (roi(2).double(), torch.zeros(2, 1, 8, 8).double()):
        assert torch.autograd.gradcheck(lambda f, m=mask: background_relevance(f, m), found)


def test_it_is_the_formula() -> None:
    torch.manual_seed(0)
    found = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    amount = found.sum(1)[0].abs()
    outside = sorted([*amount[:, 4:].flatten().tolist(), *[0.0] * 32], reverse=True)
    weights = [math.exp(-rank / (0.1 * 64)) for rank in range(64)]
    b = sum(w * value for w, value in zip(weights, outside, strict=True)) / sum(weights)
    f = amount[:, :4].mean().item()
    expected = math.log(1 + 64 * b / (64 * f + 1))
    assert background_relevance(found, roi().double(), hottest=0.1).item() == pytest.approx(expected)


def test_it_is_nothing_inside_and_rises_with_what_lies_outside() -> None:
    assert background_relevance(roi(), roi()).item() == 0
    values = [background_relevance(roi() + s * (1 - roi()), roi()).item() for s in (0.0, 0.01, 0.1, 1.0, 9.0)]
    assert values == sorted(set(values))
    falls = [background_relevance(s * roi() + 1 - roi(), roi()).item() for s in (0.0, 0.1, 1.0, 9.0)]
    assert falls == sorted(set(falls), reverse=True)


def test_a_spot_counts_more_than_as_much_spread_thin() -> None:
    spot, spread = roi().clone(), roi() + (1 - roi()) / 32
    spot[..., 2, 6] = 1
    assert spot.sum() == spread.sum()
    assert background_relevance(spot, roi()) > 2 * background_relevance(spread, roi())


def test_neither_the_sign_nor_the_scale_of_much_relevance_matters() -> None:
    torch.manual_seed(0)
    found = 100 * torch.randn(2, 1, 8, 8)
    expected = background_relevance(found, roi(2))
    torch.testing.assert_close(background_relevance(-found, roi(2)), expected)
    torch.testing.assert_close(background_relevance(10 * found, roi(2)), expected, rtol=1e-3, atol=1e-4)


def test_the_pull_stays_bounded_as_all_relevance_vanishes() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 8, 8)
    sizes = []
    for scale in (1.0, 1e-3, 1e-6, 0.0):
        found = (scale * noise).requires_grad_()
        (gradient,) = torch.autograd.grad(background_relevance(found, roi()).sum(), found)
        sizes.append(gradient.abs().max().item())
        assert gradient.isfinite().all()
    # The hottest cell's weight is at most 1 / (P 0.05), and there are P cells to a logit.
    assert sizes[0] > 0 and max(sizes) <= 1 / 0.05


def test_an_empty_roi_counts_everything_and_a_whole_one_nothing() -> None:
    torch.manual_seed(0)
    found = torch.randn(2, 1, 8, 8, requires_grad=True)
    nowhere = background_relevance(found, torch.zeros(2, 1, 8, 8))
    everywhere = background_relevance(found, torch.ones(2, 1, 8, 8))
    assert (nowhere > background_relevance(found, roi(2))).all() and not everywhere.any()
    (nowhere + everywhere).sum().backward()
    assert found.grad.isfinite().all()


def test_the_roi_is_averaged_to_the_relevance() -> None:
    found = torch.rand(1, 1, 8, 8)
    large = roi().repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(background_relevance(found, large), background_relevance(found, roi()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_float32_of_the_same_values(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = (100 * torch.randn(1, 1, 64, 64)).to(dtype).requires_grad_()
    mask = roi().repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = background_relevance(found, mask.to(dtype))
    expected = background_relevance(found.float(), mask)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    loss.sum().backward()
    assert found.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relevance": torch.zeros(1, 8, 8)}, "must be"),
        ({"relevance": torch.zeros(2, 1, 8, 8)}, "must be"),
        ({"roi_mask": torch.zeros(1, 3, 8, 8)}, "must be"),
        ({"roi_mask": torch.zeros(1, 8, 8)}, "must be"),
        ({"hottest": 0.0}, "hottest"),
        ({"hottest": 1.5}, "hottest"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        background_relevance(**({"relevance": torch.zeros(1, 1, 8, 8), "roi_mask": roi()} | changes))
