"""roibank's graph: distance times predicted ROI, of every image alone, in ONNX too; and what may be set."""

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
from roinspect.methods.roibank import RoiBank, RoiBankGraph  # noqa: E402
from roinspect.methods.roibank_settings import RoiBankSettings  # noqa: E402
from roinspect.nn.memory import NearestNeighbours  # noqa: E402

TINY = RoiBankSettings(
    backbone="test_convnext", weights="none", strides=(8, 16), neighbourhood=3, dimensions=16,
    whitening=1.0, bank="neighbours", memory_size=100, candidates=1000, reweight=0, roi_head=True, pasted=0.0,
    swapped=0.5, learning_rate=0.01, rotation=0.0, shift=0.0, smoothing=1.0, crop_margin=None,
    known_defects=False, feature_memory_gb=1.0,
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
    """A graph that remembers eight photographs of noise; its ROI head knows nothing."""
    torch.manual_seed(0)
    chosen = dataclasses.replace(TINY, **changes)
    graph = RoiBank.build_graph(chosen, (64, 64)).eval().requires_grad_(False)
    graph.features.fit(rows_of(graph.features.stacked(photos(8))))
    if isinstance(graph.bank, NearestNeighbours):
        patches = rows_of(graph.features(photos(8)))
        graph.bank.fill(patches[:: math.ceil(len(patches) / chosen.memory_size)])
    return graph


# -- the graph -----------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {}, {"bank": "gaussian"}, {"roi_head": False}, {"strides": (4, 8)}, {"strides": (8,), "smoothing": 0.0},
]  # fmt: skip
BOXES = [[0, 0, 64, 64], [0, 32, 64, 64], [32, 0, 64, 32]]
"""Top, left, bottom, right."""


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


@pytest.mark.parametrize("changes", [{}, {"reweight": 4}], ids=str)
def test_nothing_is_random(changes: dict[str, Any]) -> None:
    graph, images = built(**changes), photos(3, seed=1)
    before = torch.get_rng_state()
    first, second = graph(images), graph(images)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_map_is_distance_times_roi() -> None:
    graph, images = built(smoothing=0.0, border=0), photos(3, seed=1)
    assert graph.roi_head is not None
    patches = graph.features(images)
    assert isinstance(graph.bank, NearestNeighbours)
    memorised = graph.bank.weight[graph.bank.offset < 1e11] / -2
    distance = torch.cdist(rows_of(patches), memorised).amin(1).view(3, 1, 8, 8)
    cells = distance * graph.roi_head(patches).sigmoid()
    expected = F.interpolate(cells, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(graph(images)[1], expected, atol=1e-3, rtol=0)


def test_what_lies_outside_the_predicted_roi_counts_for_nothing() -> None:
    graph, images = built(), photos(2, seed=1)
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
    """A share of what it does in the surest cell at most `border` cells away; the ROI is told as it is."""
    graph, images = built(smoothing=0.0, border=border), photos(2, seed=1)
    logits = torch.full((2, 1, 8, 8), -100.0)
    logits[..., 3:5, 2:4] = 100.0
    graph.roi_head = Fixed(logits, beside)
    counts = torch.zeros(2, 1, 8, 8)
    counts[..., 3 - border : 5 + border, 2 - border : 4 + border] = beside
    counts[..., 3:5, 2:4] = 1
    cells = graph.bank(graph.features(images) * graph.scale) * counts
    expected = F.interpolate(cells, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(graph(images)[1], expected)
    roi = graph.predict_roi(images)
    assert roi is not None
    as_drawn = F.interpolate(logits.sigmoid(), (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(roi, as_drawn)


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("reweight", [0, 3])
def test_a_crop_answers_as_if_nothing_else_had_been_photographed(box: list[int], reweight: int) -> None:
    graph, images = built(strides=(4, 8), reweight=reweight), photos(3, seed=1)
    (top, left, bottom, right), part = box, images[:, :, box[0] : box[2], box[1] : box[3]]
    expected, expected_map = graph(part)[:2]
    expected_roi = graph.predict_roi(part)
    graph.crop_to(box)
    score, anomaly_map = graph(images)[:2]
    torch.testing.assert_close(score, expected)
    for found, wanted in ((anomaly_map, expected_map), (graph.predict_roi(images), expected_roi)):
        assert found is not None and found.shape == (3, 1, 64, 64)
        torch.testing.assert_close(found[:, :, top:bottom, left:right], wanted)
        assert found.count_nonzero() <= wanted.numel(), "nothing is strange where nobody looks"


def test_a_crop_is_part_of_the_weights() -> None:
    graph, images = built(), photos(2, seed=1)
    graph.crop_to(BOXES[1])
    other = RoiBank.build_graph(TINY, (64, 64)).eval()
    other.load_state_dict(graph.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(other(images), graph(images), strict=True))
    other.load_state_dict(built().state_dict())
    assert torch.equal(other(images)[1], built()(images)[1]), "and so is its absence"


def test_the_scale_weighs_distances_and_leaves_the_roi_alone() -> None:
    """The head sees whitened patches, whatever the directions count in a distance."""
    graph, images = built(bank="gaussian", smoothing=0.0, border=0), photos(2, seed=1)
    roi, patches = graph.predict_roi(images), graph.features(images)
    graph.scale.copy_(torch.rand(graph.scale.shape, generator=seeded()))
    assert graph.roi_head is not None and roi is not None
    cells = (patches * graph.scale).norm(dim=1, keepdim=True) * graph.roi_head(patches).sigmoid()
    expected = F.interpolate(cells, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(graph(images)[1], expected)
    torch.testing.assert_close(graph.predict_roi(images), roi)


def test_without_a_head_no_roi_is_predicted() -> None:
    assert built(roi_head=False).predict_roi(photos(1)) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0, 5.0, 32.0])
def test_smoothing_keeps_level_ground_and_lowers_peaks(smoothing: float) -> None:
    graph = built(bank="gaussian", roi_head=False, smoothing=smoothing)
    rough = built(bank="gaussian", roi_head=False, smoothing=0.0)
    images = photos(2, 64, 90, seed=1)
    assert (graph(images)[0] <= rough(images)[0] * (1 + 1e-5)).all()
    assert graph(images)[1].std() <= rough(images)[1].std() * (1 + 1e-5)
    # Patches that are all alike are as strange at the border as in the middle.
    graph.features.weight.zero_()
    graph.features.bias.fill_(0.5)
    level = graph(images)[1]
    torch.testing.assert_close(level, torch.full_like(level, 0.5 * math.sqrt(TINY.dimensions)))


def test_a_weighted_score_is_the_top_times_the_certainty_of_its_patch() -> None:
    graph, images = built(reweight=4, smoothing=0.0, border=0), photos(6, seed=1)
    graph.scale.copy_(torch.rand(graph.scale.shape, generator=seeded()) + 0.5)
    assert isinstance(graph.bank, NearestNeighbours) and graph.roi_head is not None
    patches = graph.features(images)
    scaled = patches * graph.scale
    strange = (graph.bank(scaled) * graph.roi_head(patches).sigmoid()).flatten(1).argmax(1)
    expected = graph.bank.certainty(scaled.flatten(2)[torch.arange(6), :, strange])
    score, anomaly_map = graph(images)[:2]
    torch.testing.assert_close(score / anomaly_map.amax((1, 2, 3)), expected)
    assert expected.unique().numel() > 1
    unweighted = built(smoothing=0.0, border=0)
    unweighted.scale.copy_(graph.scale)
    assert torch.equal(anomaly_map, unweighted(images)[1]), "the map keeps its own scale"


def test_one_neighbour_would_silence_the_score() -> None:
    """A row's one neighbour is itself: its certainty would always be 0."""
    with pytest.raises(UserError, match=r"method\.reweight: one neighbour is the patch itself"):
        RoiBankSettings(reweight=1)


@pytest.fixture(scope="module")
def graph() -> RoiBankGraph:
    return built(reweight=2)


@settings(deadline=None, max_examples=10)
@given(h=st.integers(32, 100), w=st.integers(32, 100), seed=st.integers(0, 2**32))
def test_any_size_has_a_map_of_that_size(graph: RoiBankGraph, h: int, w: int, seed: int) -> None:
    score, anomaly_map = graph(photos(1, h, w, seed=seed))[:2]
    assert anomaly_map.shape == (1, 1, h, w) and score.isfinite().all() and anomaly_map.min() >= 0


def test_onnx_runtime_gives_the_same_answers(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    # More than one block of rows, a crop, and a grid with odd sides: all that there can be.
    graph = built(backbone="test_resnet", strides=(4, 8), reweight=3, memory_size=2000)
    graph.crop_to([0, 32, 60, 96])
    graph.scale.copy_(torch.rand(graph.scale.shape, generator=seeded()) + 0.5)
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


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bank", ("sometimes", "", None)),
        ("strides", ((), (16, 8), (8, 8), (0, 8), (-8,))),
        ("neighbourhood", (0, -1, 2, 4, 33)),
        ("dimensions", (0, -1, 5000)),
        *((name, (0, -1, 10**8)) for name in ("memory_size", "candidates")),
        ("reweight", (-1, 101)),
        *((name, (-0.1, 1.1, math.nan)) for name in ("whitening", "pasted", "swapped", "shift")),
        ("crop_margin", (-1,)),
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


def test_one_gaussian_has_no_neighbours() -> None:
    with pytest.raises(UserError, match=r"method\.reweight: needs a memory; use 0 with bank=gaussian"):
        dataclasses.replace(TINY, bank="gaussian", reweight=3)


def test_presets_are_allowed_and_compact_is_the_default() -> None:
    assert RoiBankSettings.preset("compact") == RoiBankSettings()
    paper = RoiBankSettings.preset("paper")
    assert paper.backbone == "wide_resnet50_2" and paper.memory_size > RoiBankSettings().memory_size


def test_a_vector_has_no_more_dimensions_than_the_backbone_has_channels() -> None:
    assert built(dimensions=4096, roi_head=False).features.weight.shape[:2] == (80, 80)


def test_strides_that_the_backbone_lacks_are_refused() -> None:
    with pytest.raises(UserError, match=r"no features at stride 7.*use one of 4, 8, 16, 32") as caught:
        RoiBank(dataclasses.replace(TINY, strides=(4, 7)), (64, 64))
    assert "\n" not in str(caught.value)
