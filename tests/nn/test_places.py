"""Patches are compared with the mean of their place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.nn.places import PlaceDistance, PlaceSums  # noqa: E402

C, STRIDE, SIZE = 3, 16, (64, 90)  # a grid of 4 x 6


def patches(count: int, seed: int = 0) -> Tensor:
    """Every place has a mean of its own."""
    generator = torch.Generator().manual_seed(seed)
    places = 10 * torch.rand(1, C, 4, 6, generator=torch.Generator().manual_seed(99))
    return places + torch.randn(count, C, 4, 6, generator=generator)


def filled(images: Tensor, folds: Tensor, without: int | None = None) -> PlaceDistance:
    sums, places = PlaceSums(8, C, STRIDE, SIZE), PlaceDistance(C, STRIDE, SIZE)
    for batch, of in zip(images.split(5), folds.split(5), strict=True):
        sums.add(batch, of)
    places.fill(sums, without)
    return places


def around(cells: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(cells, (1,) * 4, mode="replicate"), 3, 1)


def test_distance_to_the_mean_of_a_place_over_the_usual_one() -> None:
    images, new = patches(200), patches(50, seed=1)
    places = filled(images, torch.arange(200) % 8)
    mean = around(images.mean(0, keepdim=True))
    usual = (images - mean).square().sum(1, keepdim=True).mean(0, keepdim=True).sqrt()
    torch.testing.assert_close(places.mean, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(places.deviation, around(usual), atol=1e-3, rtol=1e-3)
    expected = (new - mean).square().sum(1, keepdim=True).sqrt() / around(usual)
    torch.testing.assert_close(places(new), expected, atol=1e-3, rtol=1e-3)
    assert 0.8 < float(places(new).mean()) < 1.2


def test_a_fold_left_out_leaves_no_trace() -> None:
    images, folds = patches(40), torch.arange(40) % 8
    changed = images.clone()
    changed[folds == 3] = 1e3
    one, other = (filled(each, folds, without=3) for each in (images, changed))
    assert torch.equal(one.mean, other.mean) and torch.equal(one.deviation, other.deviation)
    assert not torch.allclose(filled(changed, folds).mean, one.mean)


def test_places_that_never_change_are_not_divided_by_nothing() -> None:
    places = filled(torch.ones(10, C, 4, 6), torch.arange(10) % 8)
    assert places(torch.ones(2, C, 4, 6)).isfinite().all()
    assert not places(torch.ones(2, C, 4, 6)).any() and places(torch.zeros(2, C, 4, 6)).isfinite().all()
