"""The distance of whole pictures to those of the training."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.nn.appearance import DIMENSIONS, MEMORY, Appearance, describe  # noqa: E402

CELLS = 64


def pictures(count: int, size_hw: tuple[int, int] = (64, 96), seed: int = 0) -> Tensor:
    """Alike but for a little light and grain: (count, 3, H, W) in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    base = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    base = F.interpolate(base, size_hw, mode="bilinear")
    light = 1 + 0.1 * (torch.rand(count, 1, 1, 1, generator=random) - 0.5)
    grain = 0.02 * torch.randn(count, 3, *size_hw, generator=random)
    return (base * light + grain).clamp(0, 1)


@pytest.fixture(scope="module")
def trained() -> Appearance:
    appearance = Appearance()
    appearance.remember(describe(pictures(20)), torch.arange(20))
    return appearance


@pytest.mark.parametrize("size_hw", [(64, 64), (63, 130), (5, 7), (256, 640)])
def test_a_picture_of_any_size_is_256_numbers(size_hw: tuple[int, int]) -> None:
    found = describe(torch.rand(2, 3, *size_hw))
    assert found.shape == (2, DIMENSIONS) and found.isfinite().all()


def test_brightness_is_that_of_the_cells() -> None:
    image = torch.rand(2, 3, 64, 128)
    expected = F.avg_pool2d(image.mean(1, keepdim=True), (8, 16)).flatten(1)
    torch.testing.assert_close(describe(image)[:, :CELLS], expected)


def test_cells_that_cut_through_pixels_keep_the_mean() -> None:
    image = torch.rand(1, 3, 61, 37)
    assert describe(image)[0, :CELLS].mean().item() == pytest.approx(image.mean().item(), abs=1e-5)


def test_before_anything_is_remembered_no_picture_is_new() -> None:
    assert Appearance()(pictures(2)).tolist() == [0, 0]


def test_what_is_remembered_is_not_new(trained: Appearance) -> None:
    assert trained(pictures(20)).max() < 1e-3


def test_another_picture_of_the_kind_is_nearer_than_any_other(trained: Appearance) -> None:
    alike = trained(pictures(5, seed=1)).max()
    blurred = F.avg_pool2d(pictures(5, seed=1), 9, stride=1, padding=4, count_include_pad=False)
    plain = torch.stack([torch.full((3, 64, 96), value) for value in (0.0, 0.5, 1.0)])
    noise = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    upside_down = pictures(3, seed=1).flip(2)
    for strange in (blurred, plain, noise, upside_down):
        assert trained(strange).min() > 1.5 * alike


def test_each_is_compared_with_other_groups_alone() -> None:
    described = describe(pictures(4))
    described = torch.cat((described, described))
    among_all = Appearance().remember(described, torch.arange(8))
    among_others = Appearance().remember(described, torch.tensor([0, 1, 2, 3] * 2))
    assert among_all.max() < 1e-3 and among_others.min() > 0.1


def test_of_a_single_group_all_others_count() -> None:
    described = describe(pictures(5))
    appearance = Appearance()
    expected = appearance.remember(described, torch.arange(5))
    torch.testing.assert_close(appearance.remember(described, torch.zeros(5)), expected)


def test_more_pictures_than_there_is_room_for_are_thinned_evenly() -> None:
    described = torch.rand(3 * MEMORY, DIMENSIONS)
    appearance = Appearance()
    appearance.remember(described[: MEMORY + 1], torch.arange(MEMORY + 1))
    assert appearance.memory.shape == (MEMORY, DIMENSIONS)
    assert (
        appearance.novelty(described[:1]) < 1e-3 and appearance.novelty(described[MEMORY : MEMORY + 1]) < 1e-3
    )


def test_one_picture_alone_is_remembered() -> None:
    appearance = Appearance()
    assert appearance.remember(describe(pictures(1)), torch.zeros(1)).tolist() == [0]
    assert appearance(pictures(1)) < 1e-3 < appearance(pictures(1, seed=4))
