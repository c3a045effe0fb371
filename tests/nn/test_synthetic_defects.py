"""Synthetic defects lie inside the ROI, can be seen where the mask says so, and look like the photograph."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from roinspect.nn import synthetic_defects  # noqa: E402
from roinspect.nn.synthetic_defects import put_defects  # noqa: E402

sides = st.integers(8, 72)
seeds = st.integers(0, 2**32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regions(count: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Blobs of any shape, (N, 1, h, w) in {0, 1}."""
    coarse = torch.rand(count, 1, 3, 3, generator=seeded(seed))
    return (torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear") > 0.5).float()


@settings(deadline=None, max_examples=40)
@given(h=sides, w=sides, seed=seeds)
def test_defects_stay_inside_the_roi_and_in_range(h: int, w: int, seed: int) -> None:
    images, roi = torch.rand(4, 3, h, w, generator=seeded(seed)), regions(4, h, w, seed)
    changed, masks = put_defects(images, roi, generator=seeded(seed + 1))
    assert changed.shape == images.shape and masks.shape == roi.shape
    outside = (roi == 0).expand_as(images)
    assert torch.equal(changed[outside], images[outside])
    assert changed.min() >= 0 and changed.max() <= 1
    assert set(masks.unique().tolist()) <= {0.0, 1.0} and (masks <= roi).all()


@settings(deadline=None, max_examples=40)
@given(h=sides, w=sides, seed=seeds)
def test_masks_are_the_visible_change(h: int, w: int, seed: int) -> None:
    images, roi = torch.rand(4, 3, h, w, generator=seeded(seed)), regions(4, h, w, seed)
    changed, masks = put_defects(images, roi, generator=seeded(seed + 1))
    change = (changed - images).abs().mean(1, keepdim=True)
    assert torch.equal(masks > 0, change > synthetic_defects._VISIBLE)


def test_masks_of_any_number_above_0_are_regions() -> None:
    images, roi = torch.rand(4, 3, 32, 32), regions(4, 32, 32)
    expected = put_defects(images, roi, generator=seeded())
    for same in (255 * roi, roi.to(torch.uint8)):
        found = put_defects(images, same, generator=seeded())
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_a_grey_photograph_stays_grey(noise: float) -> None:
    grey = 0.2 + 0.6 * torch.rand(60, 1, 32, 32, generator=seeded())
    images = (grey + noise * torch.randn(60, 3, 32, 32, generator=seeded(1))).clamp(0, 1)
    changed, masks = put_defects(images, torch.ones(60, 1, 32, 32), generator=seeded(2))
    assert masks.flatten(1).any(1).float().mean() > 0.8
    before, after = (pixels.amax(1) - pixels.amin(1) for pixels in (images, changed))
    # Defects may strengthen the noise by as much as they shade.
    assert after.max() <= 1.5 * before.max() + 1e-5


def test_a_colour_photograph_gets_colours() -> None:
    images = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(100, 3, 32, 32)
    changed, _ = put_defects(images, torch.ones(100, 1, 32, 32), generator=seeded())
    change = changed - images
    assert (change.amax(1) - change.amin(1) > 0.05).flatten(1).any(1).float().mean() > 0.15


def test_an_empty_roi_leaves_the_photograph_as_it_is() -> None:
    images, roi = torch.rand(4, 3, 24, 40, generator=seeded()), torch.zeros(4, 1, 24, 40)
    roi[2:] = 1
    changed, masks = put_defects(images, roi, generator=seeded(1))
    assert torch.equal(changed[:2], images[:2]) and not masks[:2].any()
    assert not torch.equal(changed[2:], images[2:])


def test_the_generator_decides_and_the_input_is_not_changed() -> None:
    images, roi = torch.rand(6, 3, 32, 32, generator=seeded()), torch.ones(6, 1, 32, 32)
    before, state = images.clone(), torch.get_rng_state()
    one, again, other = (put_defects(images, roi, generator=seeded(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)


def test_most_are_small_and_lie_anywhere_in_the_roi() -> None:
    roi = torch.zeros(400, 1, 64, 64)
    roi[..., 8:56, 16:40] = 1
    images = torch.rand(400, 3, 64, 64, generator=seeded())
    _, masks = put_defects(images, roi, generator=seeded(1))
    seen = masks.flatten(1).any(1)
    assert seen.float().mean() > 0.8
    areas = masks[seen].sum((1, 2, 3))
    assert areas.median() < 0.1 * 48 * 24 and areas.max() > 4 * areas.median()
    hits = masks.mean(0)[0]
    assert (hits[8:56, 16:40] > 0).all(), "no place of the ROI is spared"
    rows, columns = hits.sum(1)[8:56], hits.sum(0)[16:40]
    for halves in (rows.view(2, -1).sum(1), columns.view(2, -1).sum(1)):
        assert halves[0] / halves.sum() == pytest.approx(0.5, abs=0.1)


def test_every_photograph_has_a_defect_of_its_own() -> None:
    images = torch.rand(1, 3, 32, 32, generator=seeded()).expand(8, 3, 32, 32)
    _, masks = put_defects(images, torch.ones(8, 1, 32, 32), generator=seeded(1))
    assert len(masks.flatten(1).unique(dim=0)) >= 7
