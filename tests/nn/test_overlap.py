"""Overlap distance: nothing to pay inside the ROI, more the farther outside, and always a way back."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from roinspect.nn.forms import Clip, Denominator, Soften, Variant
from roinspect.nn.overlap import overlap_distance, soften_mask

VARIANTS, DENOMINATORS, SOFTENINGS, CLIPS = map(get_args, (Variant, Denominator, Soften, Clip))
FORMS = [
    {"variant": variant, "denominator": denominator, "soften": soften, "clip": clip}
    for variant, denominator, soften, clip in itertools.product(VARIANTS, DENOMINATORS, SOFTENINGS, CLIPS)
    if variant == "log" or clip == "smooth"
]
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
SIDE, RIM = 16, 6


def roi(count: int = 1) -> Tensor:
    """The left RIM columns of a SIDE x SIDE image."""
    mask = torch.zeros(count, 1, SIDE, SIDE)
    mask[..., :RIM] = 1
    return mask


def detection(column: int, value: float = 1.0) -> Tensor:
    """A 3 x 2 patch of heat whose left column is given."""
    heat = torch.zeros(1, 1, SIDE, SIDE)
    heat[..., 6:9, column : column + 2] = value
    return heat


@each_form
@pytest.mark.parametrize("is_heat_larger", [False, True])
def test_the_gradient_is_right(form: dict[str, Any], is_heat_larger: bool) -> None:
    mask = torch.zeros(2, 1, 5, 5, dtype=torch.float64)
    mask[..., :2, :2] = 1
    noise = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Little heat near the ROI and more elsewhere: off the kinks at x = 1 and at equal areas.
    far = torch.ones_like(mask)
    far[..., :3, :3] = 0
    heat = (0.05 + 0.05 * noise + (5.0 if is_heat_larger else 0.05) * far).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: overlap_distance(x, mask, **form), heat)


@each_form
def test_heat_inside_costs_nothing(form: dict[str, Any]) -> None:
    for column in (0, 2, RIM - 2):
        distance = overlap_distance(detection(column, 0.7), roi(), **form)
        assert 0 <= distance.item() <= 2e-7


@each_form
def test_distance_lies_between_nothing_and_its_bound(form: dict[str, Any]) -> None:
    heat = torch.rand(20, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).pow(8)
    distance = overlap_distance(heat, roi(20), reduction="none", **form)
    bound = -math.log(1e-7) if form["variant"] == "log" else 1
    assert distance.shape == (20,) and (distance >= 0).all() and (distance <= bound + 1e-5).all()
    outside = overlap_distance(detection(SIDE - 2), roi(), **form)
    assert outside.item() == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_near_heat_costs_less_than_far_heat(variant: Variant, denominator: Denominator) -> None:
    """CEOD, Fig. 8: A lies beside the ROI, B far away."""

    def cost(column: int, soften: Soften) -> float:
        options: dict[str, Any] = {"variant": variant, "denominator": denominator, "soften": soften}
        return overlap_distance(detection(column), roi(), reach=5, **options).item()

    near, far = RIM, RIM + 4
    assert cost(near, "none") == cost(far, "none")
    assert cost(near, "clip") < cost(far, "clip")
    # The papers' kernel sees one cell; the falloff tells every distance within its reach.
    assert cost(RIM + 1, "clip") == cost(far, "clip")
    costs = [cost(column, "falloff") for column in range(RIM - 2, RIM + 7)]
    assert costs[0] < 1e-6
    assert all(nearer < farther for nearer, farther in itertools.pairwise(costs[:8]))
    assert costs[7] == costs[8]


@each_form
@pytest.mark.parametrize("column", [RIM, SIDE - 2])
def test_heat_outside_has_a_way_back(form: dict[str, Any], column: int) -> None:
    heat = detection(column).requires_grad_()
    overlap_distance(heat, roi(), **form).backward()
    assert heat.grad is not None and heat.grad.isfinite().all()
    if form["clip"] == "smooth":
        assert (heat.grad[..., 1:-1, : RIM - 1] < 0).all(), "more heat inside must lower the distance"
    elif column == SIDE - 2:
        assert (heat.grad == 0).all(), "the hard clip is flat there"


@each_form
def test_an_empty_heatmap_costs_nothing_and_harms_no_other(form: dict[str, Any]) -> None:
    heat = torch.cat((torch.zeros(1, 1, SIDE, SIDE), detection(RIM - 1))).requires_grad_()
    distance = overlap_distance(heat, roi(2), reduction="none", **form)
    distance.sum().backward()
    assert distance[0] == 0
    assert heat.grad is not None and heat.grad.isfinite().all() and (heat.grad[0] == 0).all()
    alone = overlap_distance(detection(RIM - 1), roi(), **form)
    torch.testing.assert_close(distance[1], alone)


@each_form
@pytest.mark.parametrize("scale", [1e-12, 1e-8, 1e-4])
def test_faint_heat_and_an_empty_roi_stay_finite(form: dict[str, Any], scale: float) -> None:
    for mask in (roi(), torch.zeros_like(roi())):
        heat = detection(RIM - 1, scale).requires_grad_()
        distance = overlap_distance(heat, mask, **form)
        distance.backward()
        assert distance.isfinite() and heat.grad is not None and heat.grad.isfinite().all()


@each_form
def test_no_roi_means_everywhere(form: dict[str, Any]) -> None:
    heat = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert overlap_distance(heat, torch.ones_like(heat), **form).item() < 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_covering_everything_is_free_by_the_papers_but_not_by_share(variant: Variant) -> None:
    heat = torch.ones(1, 1, SIDE, SIDE)
    papers = overlap_distance(heat, roi(), variant=variant, soften="none")
    share = overlap_distance(heat, roi(), variant=variant, soften="none", denominator="heatmap")
    inside = RIM / SIDE
    assert papers.item() < 1e-6
    assert share.item() == pytest.approx(1 - inside if variant == "linear" else -math.log(inside), rel=1e-4)


@pytest.mark.parametrize("threshold", [None, 0.5], ids=["soft areas", "hard areas"])
def test_the_linear_form_is_grdnet_equation_8(threshold: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(6, SIDE, SIDE, generator=generator)
    mask = (
        torch.rand(6, SIDE, SIDE, generator=generator) < torch.linspace(0.1, 0.9, 6)[:, None, None]
    ).float()
    if threshold is not None:
        heat = (heat > threshold).float()
    expected = [
        1 - sum(a * r for a, r in zip(area, region, strict=True)) / min(sum(area), sum(region))
        for area, region in zip(heat.flatten(1).tolist(), mask.flatten(1).tolist(), strict=True)
    ]
    ours = overlap_distance(heat, mask, variant="linear", soften="none", reduction="none")
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_literal_softening_saturates_where_the_clipped_does_not() -> None:
    # Three tenths of the heat lie deep inside the ROI.
    heat = detection(2, 0.3) + detection(SIDE - 2, 0.7)
    assert overlap_distance(heat, roi(), soften="literal").item() < 1e-6
    assert overlap_distance(heat, roi(), soften="clip").item() == pytest.approx(-math.log(0.3), rel=1e-4)


def test_smooth_and_hard_clip_differ_only_at_the_ends() -> None:
    for eps in (1e-7, 1e-3):
        heat = detection(RIM - 1)
        smooth, hard = (overlap_distance(heat, roi(), soften="none", clip=c, eps=eps) for c in CLIPS)
        assert smooth.item() == pytest.approx(hard.item(), abs=3 * eps)
        away = detection(SIDE - 2)
        for clip in CLIPS:
            cost = overlap_distance(away, roi(), soften="none", clip=clip, eps=eps)
            assert cost.item() == pytest.approx(-math.log(eps), rel=1e-3)


def test_softened_masks_are_what_their_names_say() -> None:
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 3, 3] = 1
    middle = {name: soften_mask(mask, soften=name, reach=2)[0, 0, 3, 3:].tolist() for name in SOFTENINGS}
    assert middle["none"] == [1, 0, 0, 0]
    assert middle["clip"] == middle["literal"] == pytest.approx([0.5, 0.5, 0, 0])
    assert middle["max"] == pytest.approx([1, 1 / 9, 0, 0])
    assert middle["falloff"] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    full = torch.ones(1, 1, 7, 7)
    assert soften_mask(full, soften="literal").max().item() == pytest.approx(4.5)
    for name in ("clip", "max", "falloff", "none"):
        torch.testing.assert_close(soften_mask(full, soften=name), full)


def test_with_and_without_the_channel_axis() -> None:
    heat = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for soften in SOFTENINGS:
        torch.testing.assert_close(
            overlap_distance(heat[:, 0], roi(3)[:, 0], soften=soften),
            overlap_distance(heat, roi(3), soften=soften),
        )


def test_reductions_agree_and_a_boolean_mask_will_do() -> None:
    heat = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).pow(4)
    each = overlap_distance(heat, roi(4).bool(), reduction="none")
    torch.testing.assert_close(overlap_distance(heat, roi(4)), each.mean())
    torch.testing.assert_close(overlap_distance(heat, roi(4), reduction="sum"), each.sum())


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "cubic"},
        {"denominator": "max"},
        {"soften": "blur"},
        {"clip": "firm"},
        {"areas": "round"},
        {"reduction": "median"},
        {"soften": "falloff", "reach": 0},
    ],
)
def test_unknown_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not one of|at least 1"):
        overlap_distance(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), **options)


@pytest.mark.parametrize(
    ("heat", "mask"), [((1, 1, 4, 4), (1, 4, 4)), ((4, 4), (4, 4)), ((1, 3, 4, 4), (1, 3, 4, 4))]
)
def test_what_is_no_pair_of_maps_is_refused(heat: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must both be"):
        overlap_distance(torch.zeros(heat), torch.zeros(mask))


def test_hard_areas_count_the_hottest_cells() -> None:
    """The 2022 form: what a polygon around the cells of at least half the maximum encloses."""
    inside, outside = detection(2, 0.9), detection(SIDE - 4, 0.5) + detection(SIDE - 2, 0.45)
    distance = overlap_distance(inside + outside, roi(), variant="linear", soften="none", areas="hard")
    # Half the maximum of 0.9 is just reached by 0.45, and each patch has six cells.
    assert distance.item() == pytest.approx(1 - 6 / 18)


@each_form
def test_hard_areas_do_not_see_heat_below_half(form: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    hot = torch.rand(8, 1, SIDE, SIDE, generator=generator) > 0.8
    noise = torch.rand(2, 8, 1, SIDE, SIDE, generator=generator)
    distances = [
        overlap_distance(
            torch.where(hot, 0.5 + 0.5 * above, 0.24 * below),
            roi(8),
            reduction="none",
            areas="hard",
            **form,
        )
        for above, below in (noise, noise.flip(0))
    ]
    as_counted = overlap_distance(hot.float(), roi(8), reduction="none", **form)
    assert torch.equal(distances[0], distances[1]) and torch.equal(distances[0], as_counted)


@each_form
def test_hard_areas_let_the_soft_gradient_pass(form: dict[str, Any]) -> None:
    heat = (detection(RIM - 1, 0.8) + detection(SIDE - 5) + detection(SIDE - 2)).requires_grad_()
    (straight,) = torch.autograd.grad(overlap_distance(heat, roi(), areas="hard", **form), heat)
    assert straight.isfinite().all() and straight.any()
    counted = (heat.detach() >= 0.5).float().requires_grad_()
    (soft,) = torch.autograd.grad(overlap_distance(counted, roi(), **form), counted)
    torch.testing.assert_close(straight, soft)


@each_form
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-8, 1.0])
def test_hard_areas_of_empty_faint_and_far_heat_are_finite(form: dict[str, Any], scale: float) -> None:
    for column in (RIM - 1, SIDE - 2):
        heat = detection(column, scale).requires_grad_()
        distance = overlap_distance(heat, roi(), areas="hard", **form)
        distance.backward()
        assert distance.isfinite() and heat.grad is not None and heat.grad.isfinite().all()
        if scale < 1e-8:
            assert distance == 0, "an empty heatmap costs nothing, however its areas are counted"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    heat, roi_mask = torch.ones(1, 1, 256, 256, dtype=dtype), torch.ones(1, 1, 256, 256, dtype=dtype)
    assert overlap_distance(heat, roi_mask).item() == pytest.approx(0, abs=1e-6)
    roi_mask[..., 128:] = 0
    half = overlap_distance(heat, roi_mask, soften="none", denominator="heatmap")
    assert half.dtype == torch.float32 and half.item() == pytest.approx(math.log(2), abs=1e-5)
    heat.requires_grad_()
    overlap_distance(heat, roi_mask, soften="none", denominator="heatmap").backward()
    assert heat.grad is not None and heat.grad.isfinite().all()
