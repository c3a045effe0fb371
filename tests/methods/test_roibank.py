"""roibank's graph: scaled parts times predicted ROI, of every image alone, in ONNX too; and its settings."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from roinspect.errors import UserError  # noqa: E402
from roinspect.inspection.prediction import OUTPUTS  # noqa: E402
from roinspect.methods.roibank import RoiBank  # noqa: E402
from roinspect.methods.roibank_graph import RoiBankGraph  # noqa: E402
from roinspect.methods.roibank_scaling import part_weights  # noqa: E402
from roinspect.methods.roibank_settings import RoiBankSettings  # noqa: E402
from roinspect.nn.defect_head import FOLDS  # noqa: E402
from roinspect.nn.memory import NearestNeighbours  # noqa: E402
from roinspect.nn.patches import Whitening, stacked  # noqa: E402

TINY = RoiBankSettings(
    backbone="test_convnext", weights="none", strides=(8, 16), shrinkage=0.05, memory_size=100,
    candidates=1000, defect_head=True, synthetic=1.0, light=0.0, roi_head=True, pasted=0.0, swapped=0.5,
    learning_rate=0.01, rotation=0.0, shift=0.0, smoothing=1.0, known_defects=False,
    feature_memory_gb=1.0,
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int, h: int = 64, w: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, h, w, generator=seeded(seed))


class Constant(nn.Module):
    """A head that is equally sure everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit, self.beside = logit, torch.ones(())

    def forward(self, patches: Tensor) -> Tensor:
        return torch.full_like(patches[:, :1], self.logit)


class Fixed(nn.Module):
    """A head with these logits, whatever it sees."""

    def __init__(self, logits: Tensor, beside: float) -> None:
        super().__init__()
        self.logits, self.beside = logits, torch.tensor(beside)

    def forward(self, patches: Tensor) -> Tensor:
        return self.logits


def rows_of(maps: Tensor) -> Tensor:
    """(N, D, h, w) to (N h w, D)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def built(**changes: Any) -> RoiBankGraph:
    """A graph that remembers eight photographs of noise and is scaled by them; its heads have not learned."""
    torch.manual_seed(0)
    chosen = dataclasses.replace(TINY, **changes)
    graph = RoiBank.build_graph(chosen, (64, 64)).eval().requires_grad_(False)
    raw = graph.features.backbone.levels(photos(8))
    for whitening, bank, level in zip(graph.features.whitenings, graph.banks, raw, strict=True):
        assert isinstance(whitening, Whitening) and isinstance(bank, NearestNeighbours)
        whitening.fit(rows_of(level), 0.05)
        patches = rows_of(whitening(level))
        bank.fill(patches[:: math.ceil(len(patches) / chosen.memory_size)])
    parts = torch.cat(graph.parts(graph.features(photos(4, seed=7))), dim=1)
    graph.ceiling.copy_(parts.mean((0, 2, 3)))
    parts = parts - graph.own_level(parts, torch.ones_like(parts[:, :1]))
    graph.usual.copy_(parts.amin((0, 2, 3)) - 0.1)
    graph.span.copy_(parts.amax((0, 2, 3)) - graph.usual)
    weight = torch.rand(parts.shape[1], generator=seeded()) + 0.2
    graph.weight.copy_(weight / weight.sum())
    return graph


def fused(graph: RoiBankGraph, images: Tensor) -> Tensor:
    """Cells (N, 1, h, w) before the gate: the weighted geometric mean of 1 + each scaled part, minus 1."""
    levels = graph.features(images)
    roi, product = graph.roi_cells(levels), torch.ones(())
    fine = {*range(min(2, len(graph.banks))), *([len(graph.weight) - 1] if graph.defect_head else [])}
    for number, part in enumerate(graph.parts(levels)):
        if number in fine:
            low = part.clamp_max(float(graph.ceiling[number]))
            part = part - ((low * roi).sum((1, 2, 3)) / roi.sum((1, 2, 3)).clamp_min(1e-3)).view(-1, 1, 1, 1)
        scaled = (part - graph.usual[number]) / graph.span[number]
        product = product * (1 + scaled.clamp_min(0)) ** graph.weight[number]
    return product - 1


# -- the graph -----------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {}, {"defect_head": False}, {"roi_head": False}, {"strides": (4, 8, 16, 32)},
    {"strides": (8,), "smoothing": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("size_hw", [(64, 64), (61, 100), (33, 47)], ids=str)
def test_an_image_is_scored_by_the_top_of_its_map_and_by_no_other_image(
    size_hw: tuple[int, int], changes: dict[str, Any]
) -> None:
    graph, images = built(**changes), photos(5, *size_hw, seed=1)
    score, anomaly_map = graph(images)[:2]
    assert score.shape == (5,) and anomaly_map.shape == (5, 1, *size_hw)
    assert anomaly_map.isfinite().all() and anomaly_map.min() >= 0
    assert torch.equal(score, anomaly_map.amax((1, 2, 3)))
    alone = [graph(image[None]) for image in images]
    torch.testing.assert_close(torch.cat([one for one, *_ in alone]), score, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([one for _, one, *_ in alone]), anomaly_map, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"defect_head": False, "border": 2}], ids=str)
def test_nothing_is_random(changes: dict[str, Any]) -> None:
    graph, images = built(**changes), photos(3, seed=1)
    before = torch.get_rng_state()
    first, second = graph(images), graph(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("strides", [(8,), (8, 16), (4, 8, 16, 32)], ids=str)
@pytest.mark.parametrize("defect_head", [True, False])
def test_parts_are_the_distances_of_every_level_and_the_evidence(
    strides: tuple[int, ...], defect_head: bool
) -> None:
    graph = built(smoothing=0.0, strides=strides, defect_head=defect_head)
    levels = graph.features(photos(3, seed=1))
    *distances, last = graph.parts(levels) if defect_head else [*graph.parts(levels), torch.zeros(())]
    *distances, places = distances
    assert len(distances) == len(strides) and graph.places is not None
    for level, bank, part in zip(levels, graph.banks, distances, strict=True):
        expected = F.interpolate(bank(level), levels[0].shape[2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(part, expected)
    expected = graph.places(levels[min(3, len(strides)) - 1])
    expected = F.interpolate(expected, levels[0].shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(places, expected)
    if defect_head:
        assert graph.defect_head is not None
        torch.testing.assert_close(last, graph.defect_head(stacked(levels[:3])))
    count = len(strides) + 1 + defect_head
    assert graph.weight.shape == graph.usual.shape == graph.span.shape == graph.edge.shape == (count,)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_the_map_is_the_geometric_mean_of_the_scaled_parts_times_the_roi(smoothing: float) -> None:
    graph, images = built(smoothing=smoothing, border=0), photos(3, seed=1)
    assert graph.roi_head is not None
    roi = graph.roi_head(stacked(graph.features(images))).sigmoid()
    cells = fused(graph, images) * roi
    expected = F.interpolate(cells, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(graph(images)[1], expected, atol=1e-4, rtol=1e-4)


def test_what_is_less_strange_than_usual_is_0_and_does_not_become_negative() -> None:
    graph, images = built(), photos(3, seed=1)
    graph.usual.add_(1e3)
    score, anomaly_map = graph(images)[:2]
    assert not score.any() and not anomaly_map.any()


def test_what_lies_outside_the_predicted_roi_counts_for_nothing() -> None:
    graph, images = built(border=0), photos(2, seed=1)
    plain = built(roi_head=False)(images)[1]
    for logit, share in ((-100.0, 0.0), (0.0, 0.5), (100.0, 1.0)):
        graph.roi_head = Constant(logit)
        torch.testing.assert_close(graph(images)[1], plain * share, atol=1e-5, rtol=1e-5)
        roi = graph.predict_roi(images)
        assert roi is not None and roi.shape == (2, 1, 64, 64)
        torch.testing.assert_close(roi, torch.full_like(roi, share))


@pytest.mark.parametrize("beside", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("border", [0, 1, 2])
def test_what_touches_the_roi_counts(border: int, beside: float) -> None:
    """A share of what the fine levels see, at most `border` cells away; the reported ROI stays."""
    graph, images = built(smoothing=0.0, border=border), photos(2, seed=1)
    # Both levels are fine; neither the places nor the defect head are.
    graph.weight.copy_(torch.tensor([0.75, 0.25, 0.0, 0.0]))
    logits = torch.full((2, 1, 8, 8), -100.0)
    logits[..., 3:5, 2:4] = 100.0
    graph.roi_head = Fixed(logits, beside)
    counts = torch.zeros(2, 1, 8, 8)
    counts[..., 3 - border : 5 + border, 2 - border : 4 + border] = beside
    counts[..., 3:5, 2:4] = 1
    cells = fused(graph, images) * counts
    expected = F.interpolate(cells, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(graph(images)[1], expected, atol=1e-4, rtol=1e-4)
    roi = graph.predict_roi(images)
    assert roi is not None
    as_drawn = F.interpolate(logits.sigmoid(), (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(roi, as_drawn)


def test_what_coarse_cells_see_beside_the_roi_does_not_count() -> None:
    graph, images = built(strides=(4, 8, 16), smoothing=0.0, border=1), photos(2, seed=1)
    logits = torch.full((2, 1, 16, 16), -100.0)
    logits[..., 6:10, 6:10] = 100.0
    graph.roi_head = Fixed(logits, 1.0)
    before = graph(images)[1]
    graph.usual[2:] -= 100  # the coarsest level, the places and the defect head find everything strange
    change = graph(images)[1] - before
    inside = F.interpolate(logits.sigmoid(), (64, 64), mode="bilinear", align_corners=False) > 0
    assert (change[inside] > 0).all() and not change[~inside].any()


def test_synthetic_damage_outside_the_roi_lowers_the_weight_of_what_sees_it() -> None:
    good = random_scores(60)
    damaged = random_scores(60, seed=1) + 3
    seen = random_scores(60, seed=2) + torch.tensor([0.0, 3.0, 0.0])
    plain, weights = part_weights(good, damaged), part_weights(good, damaged, seen)
    assert weights[1] < 0.5 * plain[1] and weights[1] < weights[0]


def test_scales_and_weights_belong_to_the_weights_and_leave_the_roi_alone() -> None:
    graph, images = built(), photos(2, seed=1)
    roi, anomaly_map = graph.predict_roi(images), graph(images)[1]
    assert {"usual", "span", "weight", "defect_head.share"} <= graph.state_dict().keys()
    graph.usual.sub_(0.5)
    graph.span.mul_(0.5)
    assert roi is not None and torch.equal(graph.predict_roi(images), roi)
    assert (graph(images)[1] >= 2 * anomaly_map).all()


def test_a_part_that_weighs_nothing_does_not_matter() -> None:
    graph, images = built(defect_head=True), photos(2, seed=1)
    graph.weight.copy_(torch.tensor([0.5, 0.5, 0.0, 0.0]))
    before = graph(images)[1]
    assert graph.defect_head is not None
    graph.defect_head.last.bias.add_(50)
    assert torch.equal(graph(images)[1], before)


@pytest.mark.parametrize("fold", [0, 2, None])
def test_unseen_is_for_as_long_as_the_context_lasts(fold: int | None) -> None:
    graph, images = built(), photos(2, seed=1)
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    first = torch.zeros(TINY.memory_size, dtype=torch.bool)
    first[:50] = True
    head = graph.defect_head
    assert head is not None
    whole = graph.parts(graph.features(images))
    with pytest.raises(KeyError), graph.as_if_unseen([first, ~first], fold):
        assert head.share.unique().tolist() == [1 / FOLDS] if fold is None else head.share[fold] == 0
        assert head.share.sum() == 1
        fewer = graph.parts(graph.features(images))
        for less, more in zip(fewer[:2], whole[:2], strict=True):
            assert (less >= more - 1e-4).all() and (less > more + 1e-3).any()
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def test_a_surface_that_is_stranger_all_over_is_not_a_defect_and_a_spot_is() -> None:
    graph = built(border=0, roi_head=False, strides=(8, 16))
    parts = torch.rand(1, 4, 8, 8, generator=seeded(3)) + graph.usual.view(1, -1, 1, 1)
    graph.ceiling.copy_(graph.usual + 100)
    roi, spot = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    spot[..., 3, 3] = 1
    plain, rougher, spotted = (graph.scaled(each, roi) for each in (parts, parts + 5, parts + 5 * spot))
    torch.testing.assert_close(rougher[:, [0, 1, 3]], plain[:, [0, 1, 3]], atol=1e-4, rtol=1e-4)
    assert (rougher[:, 2] > plain[:, 2]).all(), "places are compared with what they always show"
    graph.ceiling.copy_(graph.usual)
    assert (spotted[..., 3, 3] > plain[..., 3, 3] + 4 / graph.span).all()


def test_values_beside_the_edge_are_reduced_and_no_others() -> None:
    graph = built()
    parts = torch.rand(2, 4, 8, 8, generator=seeded(3)) + graph.usual.view(1, -1, 1, 1)
    roi, before = torch.ones(2, 1, 8, 8), graph.scaled(parts, torch.ones(2, 1, 8, 8))
    graph.edge.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    ratio = before / graph.scaled(parts, roi)
    torch.testing.assert_close(ratio[..., 2:6, 2:6], torch.ones(2, 4, 4, 4))
    torch.testing.assert_close(ratio[..., 0, :], graph.edge.view(1, -1, 1).expand(2, -1, 8))
    torch.testing.assert_close(ratio[..., 1], graph.edge.view(1, -1, 1).expand(2, -1, 8))


def test_without_a_head_no_roi_is_predicted() -> None:
    assert built(roi_head=False).predict_roi(photos(1)) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0, 5.0, 32.0])
def test_smoothing_keeps_level_ground_and_lowers_peaks(smoothing: float) -> None:
    graph, rough = built(smoothing=smoothing), built(smoothing=0.0)
    images = photos(2, 64, 90, seed=1)
    for part, unsmoothed in zip(
        graph.parts(graph.features(images)), rough.parts(rough.features(images)), strict=True
    ):
        assert part.shape == unsmoothed.shape
        assert (part.amax((2, 3)) <= unsmoothed.amax((2, 3)) + 1e-4).all()
        assert part.std() <= unsmoothed.std() * (1 + 1e-4)
    # Patches that are all alike are as strange at the border as in the middle.
    for whitening in graph.features.whitenings:
        assert isinstance(whitening, Whitening)
        whitening.weight.zero_()
        whitening.bias.fill_(0.5)
    for part in graph.parts(graph.features(images)):
        torch.testing.assert_close(part, part[:1, :, :1, :1].expand_as(part))


@pytest.fixture(scope="module")
def graph() -> RoiBankGraph:
    return built(strides=(4, 8, 16, 32))


@settings(deadline=None, max_examples=10)
@given(h=st.integers(32, 100), w=st.integers(32, 100), seed=st.integers(0, 2**32))
def test_any_size_has_a_map_of_that_size(graph: RoiBankGraph, h: int, w: int, seed: int) -> None:
    score, anomaly_map = graph(photos(1, h, w, seed=seed))[:2]
    assert anomaly_map.shape == (1, 1, h, w) and score.isfinite().all() and anomaly_map.min() >= 0


def test_onnx_runtime_gives_the_same_answers(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    # More than one block of rows, and a grid with odd sides: all that there can be.
    graph = built(backbone="test_resnet", strides=(4, 8, 16), memory_size=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph, (photos(2, 60, 96),), dynamo=True, verbose=False, input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        images = photos(count, 60, 96, seed=count)
        found = session.run(OUTPUTS, {"image": images.numpy()})
        for one, expected in zip(found, graph(images), strict=True):
            np.testing.assert_allclose(one, expected.numpy(), atol=1e-4, rtol=1e-4)


# -- scales and weights --------------------------------------------------------------------------------------


def random_scores(count: int, parts: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, parts, generator=seeded(seed))


@settings(deadline=None, max_examples=30)
@given(
    good=st.integers(1, 40), damaged=st.integers(0, 40), parts=st.integers(1, 6), seed=st.integers(0, 2**32)
)
def test_part_weights_are_shares(good: int, damaged: int, parts: int, seed: int) -> None:
    weights = part_weights(random_scores(good, parts, seed), random_scores(damaged, parts, seed + 1))
    assert weights.shape == (parts,) and weights.min() >= 0
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    if not damaged:
        torch.testing.assert_close(weights, torch.full((parts,), 1 / parts))


def test_a_part_weighs_more_the_better_it_separates() -> None:
    good = random_scores(60)
    damaged = random_scores(100, seed=1) + torch.tensor([0.0, 1.0, 4.0])
    none, some, all_ = part_weights(good, damaged).tolist()
    assert none < 0.01 < some < all_
    # The unit of a part does not matter.
    unit = torch.tensor([100.0, 0.01, 3.0])
    torch.testing.assert_close(part_weights(good * unit, damaged * unit), part_weights(good, damaged))
    # One that is fooled gets nothing, not the opposite sign.
    assert part_weights(good, damaged - torch.tensor([9.0, 0, 0])).min() >= 0


def test_of_few_good_parts_little_is_concluded() -> None:
    ratios = []
    for count in (1, 5, 200):
        good = random_scores(count)
        good[:] = 0
        weights = part_weights(good, torch.tensor([[0.0, 0.5, 1.0], [0.0, -0.5, 1.0]]))
        ratios.append((weights[2] / weights[0]).item())
    assert 1 < ratios[0] < ratios[1] < ratios[2]


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("strides", ((), (16, 8), (8, 8), (0, 8), (-8,))),
        *((name, (0, -1, 10**8)) for name in ("memory_size", "candidates")),
        *(
            (name, (-0.1, 1.1, math.nan))
            for name in ("shrinkage", "synthetic", "light", "pasted", "swapped", "shift")
        ),
        ("learning_rate", (-0.1, 11.0, math.nan)),
        ("rotation", (-1.0, 181.0, math.nan)),
        ("smoothing", (-1.0, 33.0, math.inf)),
        ("border", (-1, 17)),
        ("feature_memory_gb", (0.0, -1.0, math.nan)),
    ],
)
def test_what_cannot_be_is_named_in_one_line(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(UserError) as caught:
            dataclasses.replace(TINY, **{name: value})
        assert caught.value.where == f"method.{name}" and "\n" not in str(caught.value)


def test_defective_photographs_are_read_where_they_can_be_used() -> None:
    assert RoiBank.learns_from(RoiBankSettings()) == "all"
    for changes in ({"known_defects": False}, {"defect_head": False}):
        assert RoiBank.learns_from(dataclasses.replace(RoiBankSettings(), **changes)) == "good"


def test_presets_are_allowed_and_compact_is_the_default() -> None:
    assert RoiBankSettings.preset("compact") == RoiBankSettings()
    paper = RoiBankSettings.preset("paper")
    assert paper.backbone == "wide_resnet50_2" and paper.memory_size > RoiBankSettings().memory_size


def test_strides_that_the_backbone_lacks_are_refused() -> None:
    with pytest.raises(UserError, match=r"no features at stride 7.*use one of 4, 8, 16, 32") as caught:
        RoiBank(dataclasses.replace(TINY, strides=(4, 7)), (64, 64))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "strides", "expected"),
    [
        ("test_vit", (4, 8, 16, 32), (16,)),
        ("test_vit", (8,), (8,)),
        ("test_convnext", (4, 8, 16, 32), (4, 8, 16, 32)),
        ("no_such_network", (4, 8, 16, 32), (4, 8, 16, 32)),
    ],
)
def test_a_transformers_patches_take_the_place_of_the_default_levels(
    backbone: str, strides: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    settings = dataclasses.replace(RoiBankSettings(), backbone=backbone, strides=strides)
    assert RoiBank.prepared(settings) == dataclasses.replace(settings, strides=expected)
