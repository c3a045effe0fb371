"""The ROI head sees far and is not shouted down; foreign patches are few, whole and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.nn.iou import region_iou  # noqa: E402
from roinspect.nn.roi_head import RoiHead, roi_head_loss, swap_patches  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def is_changed(before: Tensor, after: Tensor) -> Tensor:
    """(N, D, h, w), twice, to (N, h, w): whether any dimension of a cell differs."""
    return (before != after).any(1)


# -- the head ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dilations", [(1,), (2, 4), (4, 8), (1, 2, 4)], ids=str)
def test_it_sees_as_far_as_its_dilations_sum_up_to(dilations: tuple[int, ...]) -> None:
    reach, middle = sum(dilations), sum(dilations) + 2
    torch.manual_seed(0)
    head = RoiHead(4, width=8, dilations=dilations)
    patches = 0.1 * normal(1, 4, 2 * middle + 1, 2 * middle + 1)
    patches.requires_grad_(True)
    head(patches)[0, 0, middle, middle].backward()
    assert patches.grad is not None
    rows, columns = patches.grad[0].abs().sum(0).nonzero(as_tuple=True)
    for place in (rows, columns):
        assert (place.min().item(), place.max().item()) == (middle - reach, middle + reach)


@pytest.mark.parametrize("pooling", [1, 2, 4])
@pytest.mark.parametrize("size_hw", [(1, 1), (3, 40), (7, 5)], ids=str)
def test_it_has_one_logit_a_cell_on_any_grid(size_hw: tuple[int, int], pooling: int) -> None:
    torch.manual_seed(0)
    found = RoiHead(6, pooling=pooling)(normal(3, 6, *size_hw))
    assert found.shape == (3, 1, *size_hw) and found.isfinite().all()


def test_a_coarse_grid_sees_farther() -> None:
    patches, places = 0.1 * normal(1, 4, 65, 65), {}
    for pooling in (1, 4):
        torch.manual_seed(0)
        head, seen = RoiHead(4, width=8, dilations=(1, 2), pooling=pooling), patches.clone().requires_grad_()
        head(seen)[0, 0, 32, 32].backward()
        assert seen.grad is not None
        places[pooling] = seen.grad[0].abs().sum(0).nonzero()
    # Sideways, by about four times as much.
    near, far = ((found - 32).abs().max().item() for found in places.values())
    assert near == 3 and 10 <= far <= 20


def test_the_border_of_an_roi_may_be_finer_than_the_coarse_grid() -> None:
    torch.manual_seed(0)
    head = RoiHead(4, width=8, pooling=4)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for step in range(150):
        patches = normal(4, 4, 16, 16, seed=step)
        # Salt and pepper: neither place nor surroundings tell.
        loss = F.binary_cross_entropy_with_logits(head(patches), (patches[:, :1] > 0).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    patches = normal(8, 4, 16, 16, seed=1000)
    assert ((head(patches) > 0) == (patches[:, :1] > 0)).float().mean() > 0.9


def test_images_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    head, patches = RoiHead(5), normal(4, 5, 9, 11)
    alone = torch.cat([head(patch[None]) for patch in patches])
    torch.testing.assert_close(head(patches), alone, atol=1e-5, rtol=1e-5)


def test_no_patch_outvotes_its_surroundings() -> None:
    """However strange a patch is, it counts as no more than a rather strange one."""
    torch.manual_seed(0)
    head, patches = RoiHead(5), normal(1, 5, 20, 20)
    strange, absurd = patches.clone(), patches.clone()
    strange[..., 8:11, 8:11], absurd[..., 8:11, 8:11] = 10, 1e9
    assert torch.equal(head(strange), head(absurd))


def test_position_alone_can_be_learned() -> None:
    """A product that looks alike everywhere; only its right half matters."""
    torch.manual_seed(0)
    head, roi_mask = RoiHead(4, width=8), torch.zeros(1, 1, 8, 16)
    roi_mask[..., 9:] = 1
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for step in range(120):
        loss = F.binary_cross_entropy_with_logits(
            head(normal(4, 4, 8, 16, seed=step)), roi_mask.expand(4, 1, 8, 16)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = head(normal(8, 4, 8, 16, seed=1000)) > 0
    assert (found == roi_mask.bool()).float().mean() > 0.95


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    head = RoiHead(2, width=3, dilations=(1, 2)).double()
    patches = normal(1, 2, 4, 5).double().requires_grad_(True)
    assert torch.autograd.gradcheck(head, (patches,))


# -- its loss ------------------------------------------------------------------------------------------------


def speck(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise (n, 4, 24, 24) and in it, anywhere, an ROI of two by two cells, 0.7 %; and that ROI."""
    patches, cells = normal(n, 4, 24, 24, seed=seed), torch.zeros(n, 1, 24, 24)
    for image, (row, column) in enumerate(torch.randint(23, (n, 2), generator=seeded(seed)).tolist()):
        patches[image, :2, row : row + 2, column : column + 2] += 2
        cells[image, :, row : row + 2, column : column + 2] = 1
    return patches, cells


def test_a_small_roi_that_moves_is_found() -> None:
    """In a few steps, and surely; cross-entropy alone says "nowhere" for so long."""
    found = {}
    for name in ("as it is", "cross-entropy alone"):
        torch.manual_seed(0)
        head = RoiHead(4, width=8, dilations=(1, 2))
        if name == "as it is":
            head.begin_at(4 / 24**2)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
        for step in range(120):
            patches, cells = speck(4, step)
            logits = head(patches)
            loss = F.binary_cross_entropy_with_logits(logits, cells)
            optimizer.zero_grad()
            (roi_head_loss(logits, cells) if name == "as it is" else loss).backward()
            optimizer.step()
        patches, cells = speck(16, 1000)
        found[name] = float(region_iou(head(patches) >= 0, cells).mean())
    assert found["as it is"] > 0.6 > 0.3 > found["cross-entropy alone"]


def test_nowhere_is_no_cheap_answer() -> None:
    cells = torch.zeros(2, 1, 30, 30)
    cells[..., 3:6, 3:6] = 1
    nowhere = torch.full_like(cells, -4.6)
    assert F.binary_cross_entropy_with_logits(nowhere, cells) < 0.06 < 0.8 < roi_head_loss(nowhere, cells)
    assert roi_head_loss(40 * (2 * cells - 1), cells) < 1e-6


def test_images_count_alike_so_that_processes_may_share_them() -> None:
    logits, cells = normal(4, 1, 6, 7), normal(4, 1, 6, 7, seed=1).sigmoid()
    halves = torch.stack([roi_head_loss(logits[rows], cells[rows]) for rows in (slice(0, 2), slice(2, 4))])
    torch.testing.assert_close(roi_head_loss(logits, cells), halves.mean())


def test_the_loss_has_the_right_gradient_and_is_taken_in_full_precision() -> None:
    logits = normal(2, 1, 3, 4).double().requires_grad_(True)
    cells = normal(2, 1, 3, 4, seed=1).sigmoid().double()
    assert torch.autograd.gradcheck(roi_head_loss, (logits, cells))
    many = torch.full((1, 1, 400, 400), 20.0, dtype=torch.float16)
    loss = roi_head_loss(many, torch.ones_like(many))
    assert loss.dtype == torch.float32 and loss < 1e-3
    with pytest.raises(ValueError, match="differ in shape"):
        roi_head_loss(many, many[..., :3])


@pytest.mark.parametrize("share", [0.0, 0.005, 0.5, 1.0])
def test_it_begins_at_the_share_of_the_roi(share: float) -> None:
    torch.manual_seed(0)
    head = RoiHead(4)
    head.begin_at(share)
    patches = normal(4, 4, 12, 12)
    typical = head(patches).sigmoid().median().item()
    assert typical == pytest.approx(share, rel=0.6, abs=0.01)
    # Not so sure that nothing could be learned.
    logits = head(patches)
    logits.sigmoid().mean().backward()
    assert head.last.bias is not None and head.last.bias.grad is not None
    assert head.last.bias.grad.abs() > 1e-4


# -- foreign patches -----------------------------------------------------------------------------------------


def test_no_share_changes_nothing() -> None:
    patches = normal(2, 3, 6, 7)
    assert swap_patches(patches, share=0) is patches


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 5),
    d=st.integers(1, 6),
    h=st.integers(1, 24),
    w=st.integers(1, 24),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**32),
)
def test_few_are_foreign_and_the_rest_are_untouched(
    n: int, d: int, h: int, w: int, share: float, seed: int
) -> None:
    patches = normal(n, d, h, w, seed=seed)
    before = patches.clone()
    found = swap_patches(patches, share=share, generator=seeded(seed))
    assert found.shape == patches.shape and found.dtype == patches.dtype and found.isfinite().all()
    assert torch.equal(patches, before), "the input stays as it is"
    foreign = is_changed(patches, found).sum((1, 2))
    assert (foreign <= 1 + share * (h * w - 1)).all()
    assert torch.equal(found, swap_patches(patches, share=share, generator=seeded(seed)))


def test_every_image_has_its_own_share_up_to_the_most() -> None:
    patches, share = normal(400, 2, 12, 16), 0.6
    foreign = is_changed(patches, swap_patches(patches, share=share, generator=seeded()))
    shares = foreign.float().mean((1, 2))
    assert shares.min() > 0 and shares.max() <= share
    # Uniform: the quartiles lie at quarters.
    quartiles = shares.quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quartiles, share * torch.tensor([0.25, 0.5, 0.75]), atol=0.05, rtol=0)


def test_every_cell_is_as_likely_to_be_foreign() -> None:
    patches = torch.ones(1500, 1, 6, 8)
    foreign = is_changed(patches, swap_patches(patches, share=0.5, generator=seeded())).float().mean(0)
    assert foreign.min() > 0.15 and foreign.max() < 0.35


def test_another_seed_has_other_patches() -> None:
    patches = normal(4, 3, 8, 8)
    one, other = (swap_patches(patches, share=0.5, generator=seeded(seed)) for seed in (1, 2))
    assert not torch.equal(one, other)


def test_foreign_patches_come_from_the_batch_or_from_nowhere() -> None:
    """Every image is one constant. What a cell got instead is a multiple of one of them, or random."""
    values = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    patches = values.view(4, 1, 1, 1).expand(4, 3, 10, 10)
    kinds = set()
    for seed in range(20):
        found = swap_patches(patches, share=0.5, generator=seeded(seed))
        for index in range(4):
            foreign = found[index][:, is_changed(patches, found)[index]]
            if foreign.unique().numel() == 1:
                strength = (foreign[0, 0] / values[index - 1]).item()
                assert 0.5 <= strength <= 2.5, "of the image before, stronger or weaker"
                kinds.add("elsewhere")
            else:
                assert foreign.abs().max() < 20
                kinds.add("random")
    assert kinds == {"elsewhere", "random"}


def test_half_precision_stays_half() -> None:
    assert swap_patches(normal(2, 3, 8, 8).half(), generator=seeded()).dtype == torch.float16


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie in"):
        swap_patches(normal(1, 2, 4, 4), share=share)
