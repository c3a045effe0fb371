"""Image and masks turn together, masks stay masks, and light leaves the range alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from roinspect.data.augment import (  # noqa: E402
    random_conditions,
    random_light,
    random_rotation,
    random_tint,
)

Turn = tuple[torch.Tensor, torch.Tensor]


def turned(image: torch.Tensor, masks: torch.Tensor, degrees: float, monkeypatch: pytest.MonkeyPatch) -> Turn:
    """Every image turned by just this angle: the dice fall on their upper end."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))
        return random_rotation(image, masks, degrees=degrees)


def disc(h: int, w: int, y: float, x: float, radius: float) -> torch.Tensor:
    rows, columns = torch.arange(h)[:, None] + 0.5, torch.arange(w) + 0.5
    return (((rows - y) ** 2 + (columns - x) ** 2) <= radius**2).float().expand(1, 1, h, w)


def centre(mask: torch.Tensor) -> tuple[float, float]:
    rows, columns = mask[0, 0].nonzero(as_tuple=True)
    return rows.float().mean().item() + 0.5, columns.float().mean().item() + 0.5


def test_no_angle_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, masks = torch.rand(2, 3, 32, 48), (torch.rand(2, 1, 32, 48) > 0.5).float()
    same, same_masks = random_rotation(image, masks, degrees=0)
    assert same is image and same_masks is masks
    same, same_masks = turned(image, masks, 1e-9, monkeypatch)
    assert torch.allclose(same, image, atol=1e-4) and torch.equal(same_masks, masks)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_of_a_square_are_rot90(quarters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, masks = torch.rand(2, 3, 33, 33), (torch.rand(2, 2, 33, 33) > 0.5).float()
    found, found_masks = turned(image, masks, 90 * quarters, monkeypatch)
    assert torch.allclose(found, torch.rot90(image, quarters, (2, 3)), atol=1e-4)
    assert torch.equal(found_masks, torch.rot90(masks, quarters, (2, 3)))


@settings(deadline=None, max_examples=25)
@given(h=st.integers(16, 48), w=st.integers(16, 48), degrees=st.floats(1, 180), seed=st.integers(0, 2**32))
def test_masks_stay_masks_and_move_with_the_image(h: int, w: int, degrees: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    # Smooth, so that a pixel's value says nearly where it came from.
    masks = torch.rand(3, 1, 4, 4, generator=random)
    masks = (torch.nn.functional.interpolate(masks, (h, w), mode="bilinear") > 0.5).float()
    image, moved = random_rotation(masks.expand(3, 3, h, w), masks, degrees=degrees, generator=random)
    assert image.shape == (3, 3, h, w) and moved.shape == masks.shape
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert image.min() >= 0 and image.max() <= 1 + 1e-6
    # A mask painted into the image lies where the mask lies, but for the blend along its rim.
    assert ((image[:, :1] > 0.5) != moved.bool()).float().mean() < 0.02
    assert image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("degrees", [-60.0, 25.0, 90.0])
def test_a_circle_stays_a_circle_in_a_wide_image(degrees: float, monkeypatch: pytest.MonkeyPatch) -> None:
    h, w = 64, 128
    # 20 pixels right of the middle.
    mask = disc(h, w, 32, 84, 8)
    _, moved = turned(mask.expand(1, 3, h, w), mask, degrees, monkeypatch)
    # Mirror images lie further out.
    moved = moved[..., 32:96]
    y, x = centre(moved)
    assert y == pytest.approx(32 - 20 * math.sin(math.radians(degrees)), abs=0.5)
    assert x == pytest.approx(32 + 20 * math.cos(math.radians(degrees)), abs=0.5)
    rows, columns = moved[0, 0].nonzero(as_tuple=True)
    assert abs((rows.max() - rows.min()) - (columns.max() - columns.min())) <= 1
    assert moved.sum().item() == pytest.approx(mask.sum().item(), rel=0.03)


def test_every_image_has_an_angle_of_its_own_and_the_generator_decides() -> None:
    image = torch.rand(1, 3, 32, 32).expand(4, 3, 32, 32)
    masks = image[:, :1].round()
    first, again, other = (
        random_rotation(image, masks, degrees=45, generator=torch.Generator().manual_seed(seed))[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_borders_are_reflected_not_blackened() -> None:
    image = torch.full((8, 3, 32, 64), 0.7)
    found, masks = random_rotation(image, torch.ones(8, 1, 32, 64), degrees=90)
    assert torch.allclose(found, image, atol=1e-5) and masks.min() == 1


@pytest.mark.parametrize("die", [0.0, 1.0])
def test_a_move_is_by_shares_of_the_sides_and_reflects(die: float, monkeypatch: pytest.MonkeyPatch) -> None:
    image, masks = torch.rand(2, 3, 32, 48), (torch.rand(2, 2, 32, 48) > 0.5).float()
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, die))
    found = random_rotation(image, masks, degrees=0, shift=0.25)
    sides = ((0, 0), (0, 0), (8, 8), (12, 12))
    for before, after in zip((image, masks), found, strict=True):
        wide = np.pad(before.numpy(), sides, mode="symmetric")
        # As far as can be: all the way up and left, or all the way down and right.
        ends = {0.0: wide[..., :32, :48], 1.0: wide[..., 16:, 24:]}
        np.testing.assert_allclose(after.numpy(), ends[die], atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(
    degrees=st.floats(0, 180), shift=st.floats(0.01, 0.5), seed=st.integers(0, 2**32), h=st.integers(16, 48)
)
def test_moved_masks_stay_masks_and_move_with_the_image(
    degrees: float, shift: float, seed: int, h: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 1, 4, 4, generator=random)
    masks = (torch.nn.functional.interpolate(masks, (h, 40), mode="bilinear") > 0.5).float()
    image, moved = random_rotation(
        masks.expand(3, 3, h, 40), masks, degrees=degrees, shift=shift, generator=random
    )
    assert image.shape == (3, 3, h, 40) and set(moved.unique().tolist()) <= {0.0, 1.0}
    assert ((image[:, :1] > 0.5) != moved.bool()).float().mean() < 0.02


def test_moves_go_all_ways_up_to_the_most() -> None:
    h, w, shift = 48, 96, 0.2
    mask = disc(h, w, 24, 48, 4).expand(300, 1, h, w)
    random = torch.Generator().manual_seed(0)
    _, moved = random_rotation(mask.expand(300, 3, h, w), mask, degrees=0, shift=shift, generator=random)
    by = torch.tensor([centre(one[None]) for one in moved]) - torch.tensor([24.0, 48.0])
    shares = by / torch.tensor([h, w])
    again = random_rotation(mask, mask, degrees=0, shift=shift, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again[1], moved)
    assert shares.abs().max() < shift + 0.02
    assert shares.amin(0).max() < -0.9 * shift and shares.amax(0).min() > 0.9 * shift
    assert shares.mean(0).abs().max() < 0.03
    # Down and right are drawn apart.
    assert torch.corrcoef(shares.T)[0, 1].abs() < 0.2


def test_a_circle_that_turns_and_moves_stays_a_circle() -> None:
    h, w = 64, 128
    mask = disc(h, w, 32, 64, 8).expand(20, 1, h, w)
    random = torch.Generator().manual_seed(1)
    _, moved = random_rotation(mask.expand(20, 3, h, w), mask, degrees=180, shift=0.1, generator=random)
    # Mirror images lie further out.
    for one in moved[..., 36:92]:
        rows, columns = one[0].nonzero(as_tuple=True)
        assert abs((rows.max() - rows.min()) - (columns.max() - columns.min())) <= 1
        assert one.sum().item() == pytest.approx(mask[0].sum().item(), rel=0.05)


@settings(deadline=None, max_examples=25)
@given(amount=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_light_stays_in_range_and_within_its_amount(amount: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(4, 3, 8, 8, generator=random)
    found = random_light(image, amount=amount, generator=random)
    assert found.min() >= 0 and found.max() <= 1
    grey = torch.full((4, 3, 8, 8), 0.5)
    factor = random_light(grey, amount=amount, generator=random) / 0.5
    assert factor.min() >= 1 - amount - 1e-5 and factor.max() <= 1 + amount + 1e-5


def test_no_light_change_is_none() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert random_light(image, amount=0) is image


def test_light_differs_between_images_and_shape_is_kept() -> None:
    image = (torch.rand(1, 3, 8, 8) * 0.2 + 0.4).expand(4, 3, 8, 8)
    found = random_light(image, amount=0.2, generator=torch.Generator().manual_seed(0))
    assert len({round(value, 6) for value in found.mean((1, 2, 3)).tolist()}) == 4
    # Affine in the pixel's value, so the order of grey values within an image is kept.
    assert torch.equal(found[0].flatten().argsort(), image[0].flatten().argsort())


@settings(deadline=None, max_examples=25)
@given(zoom=st.floats(0, 0.9), mirror=st.booleans(), seed=st.integers(0, 2**32))
def test_scaled_and_mirrored_masks_move_with_the_image(zoom: float, mirror: bool, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 1, 4, 4, generator=random)
    masks = (torch.nn.functional.interpolate(masks, (32, 40), mode="bilinear") > 0.5).float()
    image, moved = random_rotation(
        masks.expand(3, 3, 32, 40), masks, degrees=30, shift=0.1, zoom=zoom, mirror=mirror, generator=random
    )
    assert set(moved.unique().tolist()) <= {0, 1}
    # Only at a border do they differ, where the image is blended and the mask is not.
    assert ((image[:, :1] > 0.5).float() != moved).float().mean() < 0.02


def test_a_mirror_alone_flips_either_way() -> None:
    random = torch.Generator().manual_seed(0)
    image, masks = torch.rand(32, 3, 8, 12), (torch.rand(32, 1, 8, 12) > 0.5).float()
    found, found_masks = random_rotation(image, masks, degrees=0, mirror=True, generator=random)
    seen = set()
    for one, mask, before, mask_before in zip(found, found_masks, image, masks, strict=True):
        ways = {
            dims: torch.allclose(one, before.flip(dims), atol=1e-5)
            and torch.equal(mask, mask_before.flip(dims))
            for dims in ((), (1,), (2,), (1, 2))
        }
        assert sum(ways.values()) == 1
        seen |= {dims for dims, fits in ways.items() if fits}
    assert len(seen) == 4


def test_each_colour_changes_by_itself_and_stays_in_range() -> None:
    image = torch.full((16, 3, 4, 4), 0.5)
    found = random_tint(image, amount=0.2, generator=torch.Generator().manual_seed(0))
    assert found.min() >= 0.4 and found.max() <= 0.6 and (found.std((2, 3)) == 0).all()
    assert (found[:, 0] != found[:, 1]).all() and random_tint(image, amount=0) is image


@settings(deadline=None, max_examples=25)
@given(amount=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_conditions_stay_in_range_and_the_generator_decides(amount: float, seed: int) -> None:
    image = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    before = image.clone()
    one, again = (
        random_conditions(image, amount=amount, generator=torch.Generator().manual_seed(seed))
        for _ in range(2)
    )
    assert one.shape == image.shape and torch.equal(one, again) and torch.equal(image, before)
    assert one.min() >= 0 and one.max() <= 1


def test_no_amount_keeps_the_conditions() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert random_conditions(image, amount=0) is image


def test_a_quarter_of_the_images_turn_grey_and_the_others_keep_half_of_their_colour() -> None:
    image = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1).expand(800, 3, 4, 4)
    found = random_conditions(image, amount=0.04, generator=torch.Generator().manual_seed(0))
    spread = (found.amax(1) - found.amin(1)).mean((1, 2))
    grey = spread < 1e-5
    assert grey.float().mean().item() == pytest.approx(0.25, abs=0.05)
    # Between half and all of 0.2, but for the tint of 1 %.
    assert 0.085 < spread[~grey].min() < 0.12 and 0.18 < spread[~grey].max() < 0.225


def test_light_changes_for_every_image_by_itself() -> None:
    image = torch.full((300, 3, 4, 4), 0.5)
    found = random_conditions(image, amount=0.2, generator=torch.Generator().manual_seed(0)).mean((1, 2, 3))
    assert found.unique().numel() > 250
    assert found.min() < 0.44 and found.max() > 0.56
    assert found.min() > 0.5 * 0.8 * 0.95 and found.max() < 0.5 * 1.2 * 1.05


def test_mixed_precision_moves_no_pixel() -> None:
    image, masks = torch.rand(2, 3, 96, 128), (torch.rand(2, 1, 96, 128) > 0.5).float()
    exact = random_rotation(image, masks, degrees=5, shift=0.1, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = random_rotation(
            image, masks, degrees=5, shift=0.1, generator=torch.Generator().manual_seed(0)
        )
    assert all(torch.equal(one, other) for one, other in zip(exact, mixed, strict=True))
