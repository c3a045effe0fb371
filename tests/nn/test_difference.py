"""Where an image differs from its repair it is anomalous, inside the predicted region alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.nn.difference import Difference, noise_loss  # noqa: E402
from roinspect.nn.ssim import ssim, ssim_map  # noqa: E402


def images(seed: int, count: int = 2, size_hw: tuple[int, int] = (32, 48)) -> Tensor:
    return torch.rand(count, 3, *size_hw, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), h=st.integers(16, 40), w=st.integers(16, 40))
def test_the_map_is_ssim_at_every_pixel(seed: int, h: int, w: int) -> None:
    one, other = images(seed, size_hw=(h, w)), images(seed + 100, size_hw=(h, w))
    found = ssim_map(one, other)
    assert found.shape == one.shape and found.abs().max() <= 1 + 1e-5
    # `ssim` is the mean where the window fits.
    torch.testing.assert_close(
        found[:, :, 5 : h - 5, 5 : w - 5].mean(), ssim(one, other), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(found, ssim_map(other, one))
    torch.testing.assert_close(ssim_map(one, one), torch.ones_like(one), atol=1e-4, rtol=0)


def test_equal_images_have_no_anomaly_and_a_spot_has_one_where_it_is() -> None:
    network, image = Difference(coordinates=True), images(0)
    assert network(torch.cat((image, image), 1)).sigmoid().max() < 1e-3
    repaired = image.clone()
    repaired[:, :, 10:16, 20:26] = 0.5
    found = network(torch.cat((image, repaired), 1)).sigmoid()[:, 0]
    assert (found[:, 11:15, 21:25] > 0.1).all()
    far = found.clone()
    far[:, 4:22, 14:32] = 0
    assert far.max() < 1e-3


def test_the_region_gates_it() -> None:
    network, pair = Difference(coordinates=False, roi_head=True), torch.cat((images(1), images(2)), 1)
    free = Difference(coordinates=False)
    free.load_state_dict(network.state_dict())
    with torch.no_grad():
        for bias, gate in ((100.0, 1.0), (-100.0, 0.0)):
            for each in (network, free):
                each.roi_head[-1].weight.zero_()
                each.roi_head[-1].bias.fill_(bias)
            whole, found = free(pair).sigmoid(), network(pair).sigmoid()
            torch.testing.assert_close(found, gate * whole, atol=1e-5, rtol=1e-4)


def test_only_the_region_learns() -> None:
    network = Difference(coordinates=True, roi_head=True)
    image, repaired = images(3), images(4).requires_grad_()
    logits, heads = network.with_heads(torch.cat((image, repaired), 1))
    heads.roi.sum().backward()
    assert repaired.grad is None or not repaired.grad.any(), "the region is that of the image alone"
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())
    assert logits.isfinite().all()


# -- the noise loss ------------------------------------------------------------------------------------------


def test_the_noise_loss_is_the_mean_error_where_noise_was_added() -> None:
    image, mask = images(5), (images(6)[:, :1] > 0.7).float()
    noisy = torch.where(mask > 0, images(7), image)
    assert noise_loss(noisy, image, image, mask).item() == 0, "all noise removed, and nothing else"
    untouched = noise_loss(noisy, noisy, image, mask)
    expected = (noisy - image).abs().mul(mask).sum() / (3 * mask.sum())
    torch.testing.assert_close(untouched, expected)
    # What is wrong elsewhere is not its business.
    elsewhere = torch.where(mask > 0, image, 1 - image)
    assert noise_loss(noisy, elsewhere, image, mask).item() == 0


def test_it_does_not_depend_on_how_much_is_damaged_and_has_no_nan() -> None:
    image = torch.zeros(1, 3, 8, 8)
    losses = []
    for side in (1, 4, 8):
        mask = torch.zeros(1, 1, 8, 8)
        mask[..., :side] = 1
        losses.append(noise_loss(image + 0.5 * mask, image + 0.25 * mask, image, mask).item())
    assert losses == pytest.approx([0.25] * 3)
    assert noise_loss(image, image + 0.3, image, torch.zeros(1, 1, 8, 8)).item() == 0


def test_its_gradient_is_right() -> None:
    random = torch.Generator().manual_seed(0)
    noisy, repaired, image = (torch.rand(1, 2, 3, 4, generator=random, dtype=torch.float64) for _ in range(3))
    mask = (torch.rand(1, 1, 3, 4, generator=random) > 0.4).double()
    repaired.requires_grad_()
    assert torch.autograd.gradcheck(lambda value: noise_loss(noisy, value, image, mask), (repaired,))
    noise_loss(noisy, repaired, image, mask).backward()
    assert repaired.grad is not None and not repaired.grad[mask.expand_as(repaired) == 0].any()


def test_in_half_precision_it_is_summed_in_float32() -> None:
    image, mask = images(8, 8, (64, 64)), torch.ones(8, 1, 64, 64)
    half = noise_loss(image.half(), (image / 2).half(), image.half(), mask)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, noise_loss(image, image / 2, image, mask), atol=1e-3, rtol=1e-3)
