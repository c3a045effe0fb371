"""Patch vectors are the backbone's levels, each on its own grid and with equal variance in all directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.nn.backbone import Backbone  # noqa: E402
from roinspect.nn.patches import PatchFeatures, Whitening, on_grid_of, stacked  # noqa: E402

TINY, STRIDES, CHANNELS = "test_convnext", (8, 16), 40


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 4, h: int = 64, w: int = 64, seed: int = 0) -> Tensor:
    """Smooth, so that coarse levels vary."""
    coarse = torch.rand(count, 3, 9, 9, generator=seeded(seed))
    grain = torch.rand(count, 3, h, w, generator=seeded(seed))
    return 0.8 * F.interpolate(coarse, (h, w), mode="bicubic").clamp(0, 1) + 0.2 * grain


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone(TINY, STRIDES).eval().requires_grad_(False)


def rows_of(maps: Tensor) -> Tensor:
    """(N, C, h, w) to (N h w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def correlated(count: int, channels: int = CHANNELS, seed: int = 0) -> Tensor:
    """Raw patches as a network has them: correlated channels of different scales and means."""
    generator = seeded(seed)
    mixed = torch.randn(count, channels, generator=generator) @ torch.randn(
        channels, channels, generator=generator
    )
    scale = torch.logspace(-2, 1, channels)
    return mixed * scale + 3 * scale * torch.randn(channels, generator=generator)


def whitened(whitening: Whitening, patches: Tensor) -> Tensor:
    """Raw patches (P, C) to whitened ones (P, C), through the convolution."""
    return whitening(patches.T[None, :, :, None])[0, :, :, 0].T


def fitted(patches: Tensor, shrinkage: float = 0.0) -> Whitening:
    whitening = Whitening(patches.shape[1])
    whitening.fit(patches, shrinkage)
    return whitening


# -- features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strides", [(16,), (8, 16), (4, 8, 16, 32)], ids=str)
@pytest.mark.parametrize("size_hw", [(64, 64), (60, 101)], ids=str)
def test_every_level_is_whitened_on_its_own_grid(strides: tuple[int, ...], size_hw: tuple[int, int]) -> None:
    torch.manual_seed(1)
    features = PatchFeatures(Backbone(TINY, strides).eval().requires_grad_(False))
    for number, whitening in enumerate(features.whitenings):
        assert isinstance(whitening, Whitening)
        whitening.fit(correlated(300, features.channels[number], seed=number), 0.1)
    image = photos(2, *size_hw)
    raw, levels = features.backbone.levels(image), features(image)
    assert len(levels) == len(strides) == len(features.channels)
    assert all(torch.equal(one, other) for one, other in zip(levels, features.whitened(raw), strict=True))
    for before, after, whitening in zip(raw, levels, features.whitenings, strict=True):
        assert after.shape == before.shape
        expected = rows_of(before) @ whitening.weight[:, :, 0, 0].T + whitening.bias
        torch.testing.assert_close(rows_of(after), expected, atol=1e-3, rtol=1e-3)


def test_levels_are_stacked_on_the_finest_grid() -> None:
    fine, coarse = torch.rand(2, 3, 9, 13), torch.rand(2, 5, 5, 7)
    assert on_grid_of(fine, fine) is fine
    enlarged = on_grid_of(fine, coarse)
    torch.testing.assert_close(enlarged, F.interpolate(coarse, (9, 13), mode="bilinear", align_corners=False))
    assert torch.equal(stacked([fine, coarse]), torch.cat((fine, enlarged), dim=1))


def test_fitting_is_repeatable_and_leaves_the_backbone_alone(backbone: Backbone) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    one, other = (PatchFeatures(backbone) for _ in range(2))
    for features in (one, other):
        for whitening, channels in zip(features.whitenings, features.channels, strict=True):
            assert isinstance(whitening, Whitening)
            whitening.fit(correlated(200, channels), 0.05)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    own = {name: value for name, value in one.state_dict().items() if not name.startswith("backbone.")}
    assert own.keys() == {f"whitenings.{level}.{kind}" for level in (0, 1) for kind in ("weight", "bias")}
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in own.items())


# -- whitening -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(count=st.integers(200, 400), channels=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_normal_patches_vary_equally_in_all_directions(count: int, channels: int, seed: int) -> None:
    patches = correlated(count, channels, seed)
    white = whitened(fitted(patches), patches).double()
    np.testing.assert_allclose(white.mean(0).numpy(), 0, atol=2e-3)
    # Directions of next to no variance are not enlarged to the others' variance.
    values = torch.linalg.eigvalsh(white.T @ white / count).numpy()
    assert white.square().sum(1).mean().item() == pytest.approx(channels, rel=1e-3)
    assert np.median(values) == pytest.approx(1, abs=0.1) and values.max() < 1.2


def test_lengths_are_mahalanobis_distances() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    patches, others = correlated(500), correlated(20) * 1.5 + 1
    reference = covariance.EmpiricalCovariance().fit(patches.double().numpy())
    expected = np.sqrt(reference.mahalanobis(others.double().numpy()))
    np.testing.assert_allclose(whitened(fitted(patches), others).norm(dim=1).numpy(), expected, rtol=0.01)


@pytest.mark.parametrize("shrinkage", [0.0, 0.05, 0.5, 1.0])
def test_shrinkage_pulls_the_variances_towards_their_mean(shrinkage: float) -> None:
    patches = correlated(400)
    scaled = (patches - patches.mean(0)).double() / patches.double().std(0, correction=0)
    variance, directions = torch.linalg.eigh(scaled.T @ scaled / 400)
    weight = (directions / ((1 - shrinkage) * variance + shrinkage * variance.mean()).sqrt()).T
    expected = (scaled @ weight.T).norm(dim=1)
    lengths = whitened(fitted(patches, shrinkage), patches).norm(dim=1)
    assert lengths.square().mean().item() == pytest.approx(CHANNELS, rel=1e-3)
    # The same up to the common factor that gives this mean.
    factor = (CHANNELS / expected.square().mean()).sqrt()
    torch.testing.assert_close(lengths.double(), expected * factor, rtol=0.01, atol=0)


def test_full_shrinkage_scales_channels_only() -> None:
    patches = correlated(300)
    scaled = (patches - patches.mean(0)) / patches.std(0, correction=0)
    white = whitened(fitted(patches, 1.0), patches)
    # A rotation of the scaled channels: the distances between patches are theirs.
    torch.testing.assert_close(torch.cdist(white, white), torch.cdist(scaled, scaled), rtol=5e-3, atol=0.05)


@pytest.mark.parametrize("shrinkage", [0.0, 0.05])
def test_the_scale_of_a_channel_does_not_matter(shrinkage: float) -> None:
    patches, scale = correlated(300), torch.logspace(-3, 3, CHANNELS)
    one = whitened(fitted(patches, shrinkage), patches).norm(dim=1)
    other = whitened(fitted(patches * scale, shrinkage), patches * scale).norm(dim=1)
    torch.testing.assert_close(one, other, rtol=5e-3, atol=0)


@pytest.mark.parametrize("shrinkage", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("value", [0.0, 0.3, 100.3])
def test_constant_channels_are_harmless(value: float, shrinkage: float) -> None:
    """How far a channel may move that never varied is unknown; rounding errors must not decide."""
    patches = correlated(300)
    patches[:, 3] = value
    patches[:, 5] = -2 * patches[:, 4]
    whitening = fitted(patches, shrinkage)
    white = whitened(whitening, patches).double()
    assert whitening.weight.isfinite().all() and whitening.bias.isfinite().all()
    np.testing.assert_allclose(white.mean(0).numpy(), 0, atol=5e-3)
    assert white.square().sum(1).mean().item() == pytest.approx(CHANNELS, rel=1e-2)
    moved = patches.clone()
    moved[:, 3] += 1
    gap = (whitened(whitening, moved) - whitened(whitening, patches)).abs().max().item()
    assert gap < 1e-2


@pytest.mark.parametrize("shrinkage", [0.0, 0.05])
@pytest.mark.parametrize("count", [2, 3, 20])
def test_fewer_patches_than_channels_are_enough(count: int, shrinkage: float) -> None:
    patches = correlated(count)
    whitening = fitted(patches, shrinkage)
    white = whitened(whitening, patches)
    assert whitening.weight.isfinite().all()
    assert white.square().sum(1).mean().item() == pytest.approx(CHANNELS, rel=1e-2)


@pytest.mark.parametrize("count", [1, 7])
def test_patches_that_are_all_alike_become_zeros(count: int) -> None:
    whitening = fitted(correlated(1).expand(count, CHANNELS))
    assert not whitened(whitening, correlated(30)).any()
