"""Patch vectors are levels, averaged, stacked, standardised and whitened, in whatever order that is done."""

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
from roinspect.nn.patches import PatchFeatures  # noqa: E402

TINY, STRIDES, CHANNELS = "test_convnext", (8, 16), 80


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 4, h: int = 64, w: int = 64, seed: int = 0) -> Tensor:
    """Smooth, so that coarse levels have something to tell."""
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
    """Raw patches as a network has them: channels of unlike scale that go together, about unlike means."""
    generator = seeded(seed)
    mixed = torch.randn(count, channels, generator=generator) @ torch.randn(
        channels, channels, generator=generator
    )
    scale = torch.logspace(-2, 1, channels)
    return mixed * scale + 3 * scale * torch.randn(channels, generator=generator)


def projected(features: PatchFeatures, patches: Tensor) -> Tensor:
    """Raw patches (P, C) to whitened ones (P, D)."""
    return patches @ features.weight[:, :, 0, 0].T + features.bias[:, :, 0, 0]


def averaged_by_hand(level: Tensor, neighbourhood: int) -> Tensor:
    """The mean over a square about each cell, of what lies inside the image, cell by cell."""
    reach, (h, w) = neighbourhood // 2, level.shape[2:]
    found = torch.empty_like(level)
    for row in range(h):
        for column in range(w):
            rows = slice(max(0, row - reach), row + reach + 1)
            columns = slice(max(0, column - reach), column + reach + 1)
            found[:, :, row, column] = level[:, :, rows, columns].mean((2, 3))
    return found


# -- features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
@pytest.mark.parametrize("size_hw", [(64, 64), (60, 101)], ids=str)
def test_raw_patches_are_the_levels_averaged_on_the_finest_grid(
    backbone: Backbone, size_hw: tuple[int, int], neighbourhood: int
) -> None:
    image = photos(2, *size_hw)
    features = PatchFeatures(backbone, 8, neighbourhood)
    fine, coarse = (averaged_by_hand(level, neighbourhood) for level in backbone.levels(image))
    found = features.stacked(image)
    assert found.shape == (2, features.channels, *fine.shape[2:]) and features.channels == CHANNELS
    torch.testing.assert_close(found[:, : fine.shape[1]], fine)
    enlarged = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, fine.shape[1] :], enlarged)


@pytest.mark.parametrize("strides", [(16,), (8, 16), (4, 8, 16)], ids=str)
@pytest.mark.parametrize("size_hw", [(64, 64), (72, 50)], ids=str)
def test_patches_are_standardised_principal_components(
    strides: tuple[int, ...], size_hw: tuple[int, int]
) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    torch.manual_seed(1)
    features = PatchFeatures(Backbone(TINY, strides).eval().requires_grad_(False), 6)
    seen, image = rows_of(features.stacked(photos(8))), photos(2, *size_hw, seed=5)
    variance, share = features.fit(seen)
    found = rows_of(features(image)).double().numpy()

    raw = rows_of(features.stacked(image)).double().numpy()
    mean, deviation = seen.double().mean(0).numpy(), seen.double().std(0).numpy()
    reference = decomposition.PCA(6, whiten=True).fit((seen.double().numpy() - mean) / deviation)
    expected = reference.transform((raw - mean) / deviation)
    # scikit-learn's unit variance is over P - 1.
    shrink = (len(seen) - 1) / len(seen)
    expected /= np.sqrt(shrink)
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)
    assert share == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-6)
    np.testing.assert_allclose(variance.numpy(), reference.explained_variance_ * shrink, rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(h=st.integers(33, 90), w=st.integers(33, 90), seed=st.integers(0, 2**32))
def test_projecting_before_enlarging_changes_nothing(backbone: Backbone, h: int, w: int, seed: int) -> None:
    """`forward` projects each level on its own grid; the ROI head learns from patches projected later."""
    features = PatchFeatures(backbone, 12)
    features.weight.copy_(torch.randn(features.weight.shape, generator=seeded(seed)))
    features.bias.copy_(torch.randn(features.bias.shape, generator=seeded(seed)))
    image = photos(2, h, w, seed=seed)
    raw = features.stacked(image)
    torch.testing.assert_close(features(image), features.project(raw), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows_of(features.project(raw)), projected(features, rows_of(raw)))


# -- whitening -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(count=st.integers(200, 400), dimensions=st.integers(1, CHANNELS), seed=st.integers(0, 2**32))
def test_normal_patches_have_mean_zero_and_unit_covariance(
    backbone: Backbone, count: int, dimensions: int, seed: int
) -> None:
    features, patches = PatchFeatures(backbone, dimensions), correlated(count, seed=seed)
    variance, share = features.fit(patches)
    assert variance.shape == (dimensions,) and (variance.diff() <= 0).all() and variance.min() >= 0
    white = projected(features, patches).double()
    np.testing.assert_allclose(white.mean(0).numpy(), 0, atol=1e-3)
    np.testing.assert_allclose((white.T @ white / count).numpy(), np.eye(dimensions), atol=1e-2)
    assert 0 < share <= 1 + 1e-9 and (share > 1 - 1e-9) == (dimensions == CHANNELS)


def test_lengths_are_mahalanobis_distances(backbone: Backbone) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    features, patches = PatchFeatures(backbone, CHANNELS), correlated(500)
    features.fit(patches)
    others = correlated(20) * 1.5 + 1
    reference = covariance.EmpiricalCovariance().fit(patches.double().numpy())
    expected = np.sqrt(reference.mahalanobis(others.double().numpy()))
    np.testing.assert_allclose(projected(features, others).norm(dim=1).numpy(), expected, rtol=1e-3)


def test_the_scale_of_a_channel_does_not_matter(backbone: Backbone) -> None:
    patches, scale = correlated(300), torch.logspace(-3, 3, CHANNELS)
    one, other = (PatchFeatures(backbone, 10) for _ in range(2))
    for this, that in zip(one.fit(patches), other.fit(patches * scale), strict=True):
        np.testing.assert_allclose(this, that, rtol=1e-4)
    found, expected = projected(other, patches * scale), projected(one, patches)
    np.testing.assert_allclose(found.abs().numpy(), expected.abs().numpy(), atol=1e-2)


@pytest.mark.parametrize("dimensions", [8, 40, CHANNELS])
@pytest.mark.parametrize("value", [0.0, 0.3, 100.3])
def test_channels_that_tell_nothing_do_no_harm(backbone: Backbone, dimensions: int, value: float) -> None:
    patches = correlated(300)
    patches[:, 3] = value
    patches[:, 5] = -2 * patches[:, 4]
    features = PatchFeatures(backbone, dimensions)
    along, share = features.fit(patches)
    assert 0 < share <= 1 + 1e-9 and along.isfinite().all() and along.min() >= 0
    white = projected(features, patches).double()
    assert features.weight.isfinite().all() and features.bias.isfinite().all()
    np.testing.assert_allclose(white.mean(0).numpy(), 0, atol=1e-3)
    variance = white.var(0, unbiased=False).numpy()
    # Directions that hold nothing but rounding are left empty.
    rank = min(dimensions, CHANNELS - 2)
    np.testing.assert_allclose(variance[:rank], 1, atol=1e-2)
    np.testing.assert_allclose(variance[rank:], 0, atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 0.3, 100.3])
@pytest.mark.parametrize(
    "dimensions",
    [
        8,
        CHANNELS,
    ],
)
def test_a_channel_that_never_varied_is_left_out(backbone: Backbone, dimensions: int, value: float) -> None:
    """Nobody knows how far it may move; rounding errors must not decide."""
    patches = correlated(300)
    patches[:, 3] = value
    features = PatchFeatures(backbone, dimensions)
    features.fit(patches)
    moved = patches.clone()
    moved[:, 3] += 1
    gap = (projected(features, moved) - projected(features, patches)).abs().max().item()
    assert gap < 1e-2


@pytest.mark.parametrize("count", [2, 3, 20])
def test_fewer_patches_than_dimensions_are_whitened_as_far_as_they_go(backbone: Backbone, count: int) -> None:
    features, patches = PatchFeatures(backbone, 64), correlated(count)
    along, share = features.fit(patches)
    assert share == pytest.approx(1) and along.min() >= 0
    white = projected(features, patches).double()
    variance = white.var(0, unbiased=False).numpy()
    np.testing.assert_allclose(variance[: count - 1], 1, atol=1e-2)
    np.testing.assert_allclose(variance[count - 1 :], 0, atol=1e-2)


@pytest.mark.parametrize(
    "count",
    [1, 7],
)
@pytest.mark.filterwarnings("ignore:std")
def test_patches_that_are_all_alike_give_numbers(backbone: Backbone, count: int) -> None:
    features = PatchFeatures(backbone, 8)
    features.fit(correlated(1).expand(count, CHANNELS))
    assert features(photos(1)).isfinite().all()


def test_fitting_is_repeatable_and_leaves_the_backbone_alone(backbone: Backbone) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    one, other = (PatchFeatures(backbone, 16) for _ in range(2))
    one.fit(correlated(200))
    other.fit(correlated(200).half().float())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    other.fit(correlated(200))
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    own = {name for name in one.state_dict() if not name.startswith("backbone.")}
    assert own == {"weight", "bias"}
