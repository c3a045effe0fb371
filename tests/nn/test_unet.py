"""The U-Net: one logit per pixel at any size, early maps that say "no defect", and a sense of place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from roinspect.nn.unet import UNet  # noqa: E402


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 96), (64, 32)])
@pytest.mark.parametrize(("stem", "depth"), [(1, 5), (2, 4), (2, 2), (1, 1)])
@pytest.mark.parametrize("coordinates", [True, False])
def test_one_logit_per_pixel(size_hw: tuple[int, int], stem: int, depth: int, coordinates: bool) -> None:
    net = UNet(6, 4, depth=depth, stem=stem, coordinates=coordinates).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 6, *size_hw)).shape == (1, 1, *size_hw)


def test_the_first_maps_are_nearly_free_of_defects() -> None:
    torch.manual_seed(0)
    probability = UNet(6, 8, depth=2, stem=2, coordinates=True)(torch.rand(4, 6, 32, 32)).sigmoid()
    assert probability.mean() < 0.1


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    net = UNet(6, 4, depth=4, stem=2, coordinates=True)
    (net(torch.rand(2, 6, 64, 64)) - 1).square().sum().backward()
    assert all(weight.grad is None for weight in net.roi_head.parameters())
    net.with_heads(torch.rand(2, 6, 64, 64))[1].roi.square().sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), name


def fitted(coordinates: bool) -> torch.Tensor:
    """The loss left after learning, from blank images, that the left half is to be found."""
    torch.manual_seed(0)
    net = UNet(1, 4, depth=1, stem=1, coordinates=coordinates)
    blank, target = torch.full((2, 1, 16, 32), 0.5), torch.zeros(2, 1, 16, 32)
    target[..., :16] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(blank), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.detach()


def test_coordinates_let_a_place_be_learnt_from_the_place_alone() -> None:
    # Without them, zeros beyond the border still tell near and far.
    assert fitted(True) < 0.1 < 0.25 < fitted(False)


def test_no_pixel_is_lost_on_half_the_grid() -> None:
    torch.manual_seed(0)
    net = UNet(3, 4, depth=2, stem=2, coordinates=False).eval()
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    net(image).sum().backward()
    assert image.grad is not None and image.grad.ne(0).all()
