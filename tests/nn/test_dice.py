"""Dice loss: zero for the drawn region, one for its opposite, and small regions weigh as much as large."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from roinspect.nn.dice import dice_loss  # noqa: E402


def square(side: int, size: int = 32) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[:, :, :side, :side] = 1
    return mask


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 3), h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_it_lies_between_perfect_and_opposite(count: int, h: int, w: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    mask = (torch.rand(count, 1, h, w, generator=random) > 0.5).float()
    logits = torch.randn(count, 1, h, w, generator=random)
    sure = 100 * (2 * mask - 1)
    assert dice_loss(sure, mask) == 0
    assert 0 <= dice_loss(sure, mask) <= dice_loss(logits, mask) <= 1
    assert dice_loss(-sure, mask) >= 1 - 1 / (1 + h * w) - 1e-6


def test_a_small_region_weighs_as_much_as_a_large_one() -> None:
    """Each is half found; cross-entropy would hardly see the small one."""
    small, large = square(4), square(16)
    losses = [float(dice_loss(100 * (2 * half - 1), mask)) for half, mask in (
        (torch.cat((small[:, :, :2], 0 * small[:, :, 2:]), 2), small),
        (torch.cat((large[:, :, :8], 0 * large[:, :, 8:]), 2), large),
    )]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_images_count_alike() -> None:
    masks, logits = torch.cat((square(2), square(30))), torch.randn(2, 1, 32, 32)
    alone = [dice_loss(logits[i : i + 1], masks[i : i + 1]) for i in range(2)]
    assert torch.allclose(dice_loss(logits, masks), torch.stack(alone).mean())


def test_gradients() -> None:
    logits = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(dice_loss, (logits, mask))


def test_half_precision_does_not_overflow() -> None:
    mask = torch.ones(1, 1, 400, 400, dtype=torch.float16)
    assert dice_loss(torch.full_like(mask, 20), mask) < 1e-3


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        dice_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    with pytest.raises(ValueError, match="smooth"):
        dice_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), smooth=0)
