"""SSIM: the textbook's value wherever the window fits, with a gradient that is always finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from roinspect.nn.ssim import ssim


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 1, 17, 40), (3, 2, 11, 13)])
@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_torchmetrics_gives_the_same_away_from_its_padded_rim(shape: tuple[int, ...], sigma: float) -> None:
    window = int(3.5 * sigma + 0.5) * 2 + 1
    prediction = images(*shape)
    target = (prediction + 0.3 * images(*shape, seed=1)).clamp(0, 1)
    _, field = structural_similarity_index_measure(
        prediction, target, sigma=sigma, data_range=1.0, return_full_image=True
    )
    rim = window // 2
    expected = field[..., rim:-rim, rim:-rim].mean()
    torch.testing.assert_close(ssim(prediction, target, sigma=sigma, window=window), expected)


def test_the_gradient_is_right_to_second_order() -> None:
    prediction = images(1, 2, 7, 6, dtype=torch.float64).requires_grad_()
    target = images(1, 2, 7, 6, seed=1, dtype=torch.float64).requires_grad_()

    def loss(p: Tensor, t: Tensor) -> Tensor:
        return ssim(p, t, window=5)

    assert torch.autograd.gradcheck(loss, (prediction, target))
    assert torch.autograd.gradgradcheck(loss, (prediction, target))


def test_equal_images_score_one_and_no_others_do() -> None:
    image = images(2, 3, 20, 24)
    assert ssim(image, image).item() == pytest.approx(1, abs=1e-5)
    assert ssim(image, (image + 0.2 * images(2, 3, 20, 24, seed=1)).clamp(0, 1)).item() < 0.99
    assert -1 <= ssim(image, 1 - image).item() < 0


def test_the_order_of_the_two_does_not_matter() -> None:
    first, second = images(2, 3, 20, 24), images(2, 3, 20, 24, seed=1)
    torch.testing.assert_close(ssim(first, second), ssim(second, first))


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_flat_images_have_a_finite_gradient(level: float) -> None:
    flat = torch.full((1, 3, 16, 16), level, requires_grad=True)
    ssim(flat, torch.full_like(flat, level)).backward()
    assert flat.grad is not None and flat.grad.isfinite().all()


def test_more_damage_scores_lower() -> None:
    image, noise = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1)
    scores = [ssim(image, torch.lerp(image, noise, share)).item() for share in (0.0, 0.1, 0.3, 0.9)]
    assert scores == sorted(scores, reverse=True)


def test_half_precision_loses_nothing() -> None:
    image = images(1, 3, 16, 16).half()
    other = (image + 0.01).clamp(0, 1)
    torch.testing.assert_close(ssim(image, other), ssim(image.float(), other.float()))


def test_memory_layout_does_not_matter() -> None:
    first, second = images(2, 3, 20, 24), images(2, 3, 20, 24, seed=1)
    last = first.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ssim(last, second), ssim(first, second))


@pytest.mark.parametrize(
    ("prediction", "target", "options"),
    [
        ((1, 3, 16, 16), (1, 3, 16, 15), {}),
        ((3, 16, 16), (3, 16, 16), {}),
        ((1, 3, 16, 16), (1, 3, 16, 16), {"window": 10}),
        ((1, 3, 16, 10), (1, 3, 16, 10), {}),
        ((1, 3, 16, 16), (1, 3, 16, 16), {"window": -1}),
        ((1, 3, 16, 16), (1, 3, 16, 16), {"sigma": 0.0}),
    ],
)
def test_what_cannot_be_compared_is_refused(
    prediction: tuple[int, ...], target: tuple[int, ...], options: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        ssim(torch.zeros(prediction), torch.zeros(target), **options)  # type: ignore[arg-type]
