"""roibank from photographs to a bundle: what it remembers, what it has learned, resumed, and refused."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from roinspect.cli import main  # noqa: E402
from roinspect.data.dataset import DecodedCache  # noqa: E402
from roinspect.data.loader import Batch, InspectionDataset  # noqa: E402
from roinspect.data.records import read_records  # noqa: E402
from roinspect.errors import UserError  # noqa: E402
from roinspect.images.pixels import write_image  # noqa: E402
from roinspect.inspection.bundle import read_weights  # noqa: E402
from roinspect.methods.course import Course  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.method import predict  # noqa: E402
from roinspect.methods.roibank import RoiBank, roi_warning  # noqa: E402
from roinspect.methods.roibank_defects import folds_of  # noqa: E402
from roinspect.methods.roibank_fit import border_weight  # noqa: E402
from roinspect.methods.roibank_graph import RoiBankGraph  # noqa: E402
from roinspect.methods.roibank_settings import RoiBankSettings  # noqa: E402
from roinspect.nn import defect_head  # noqa: E402
from roinspect.nn.defect_head import FOLDS  # noqa: E402
from roinspect.nn.memory import NearestNeighbours  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import train  # noqa: E402

TINY = RoiBankSettings(
    backbone="test_convnext", weights="none", strides=(8, 16), shrinkage=0.05, memory_size=300,
    candidates=2000, defect_head=True, synthetic=1.0, light=0.0, roi_head=True, pasted=0.0, swapped=0.5,
    learning_rate=0.01, rotation=0.0, shift=0.0, smoothing=1.0, known_defects=False,
    feature_memory_gb=1.0, border=0,
)  # fmt: skip
# Twenty steps an epoch, so a checkpoint every second epoch.
RUN = TrainingSettings(
    size="64", epochs=4, batch_size=1, held_out=0.1, accelerator="cpu", threads=1, memory_gb=0.1
)
QUICK = dataclasses.replace(RUN, epochs=2, batch_size=8)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    """Defect heads that learn a little, at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defect_head, "_STEPS", 60)
        patch.setattr(defect_head, "_BATCH", 128)
        yield


class Part(NamedTuple):
    """A photograph (64, 64, 3) uint8, and its ROI (64, 64) in {0, 1}."""

    image: NDArray[np.uint8]
    roi_mask: NDArray[np.uint8]


def strip(rng: np.random.Generator) -> Part:
    """A striped strip from edge to edge, somewhere on a grey table; it is the ROI."""
    image, roi_mask = rng.integers(60, 100, (64, 64, 3)), np.zeros((64, 64), np.uint8)
    left = rng.integers(4, 36)
    image[:, left : left + 24] += np.arange(64)[:, None, None] // 4 % 2 * 80
    roi_mask[:, left : left + 24] = 1
    return Part(image.astype(np.uint8), roi_mask)


def spoiled(part: Part, rng: np.random.Generator, *, inside: bool) -> tuple[Part, NDArray[np.bool_]]:
    """The part with a square of one colour in or beside the strip, and where it lies (64, 64)."""
    left, defect = int(part.roi_mask[0].argmax()), np.zeros((64, 64), bool)
    beside = left + 30 if left < 18 else left - 16
    x, y = left + 6 if inside else beside, rng.integers(4, 46)
    defect[y : y + 12, max(0, x) : x + 12] = True
    image = part.image.copy()
    image[defect] = rng.integers(0, 255, 3)
    return Part(image, part.roi_mask), defect


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 22 good photographs with their ROI."""
    root, rng = tmp_path_factory.mktemp("strips"), np.random.default_rng(0)
    lines = ["image_path,split,label,roi_path"]
    for number in range(22):
        part = strip(rng)
        write_image(root / f"{number}.png", part.image)
        write_image(root / f"{number}_roi.png", part.roi_mask * 255)
        lines.append(f"{number}.png,train,good,{number}_roi.png")
    for name, column in (("left", 8), ("right", 44)):
        still = np.zeros((64, 64), np.uint8)
        still[:, column : column + 12] = 255
        write_image(root / f"{name}.png", still)
    (root / "manifest.csv").write_text("\n".join(lines))
    return root / "manifest.csv"


def trained(
    data: Path, out: Path, training: TrainingSettings = RUN, *, resume: bool = False, roi: str = "auto",
    **method: Any,
) -> Path:  # fmt: skip
    settings = dataclasses.replace(TINY, **method)
    train("roibank", data, out, method_settings=settings, training=training, resume=resume, roi=roi)
    return out


def same_bundle(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


# -- good parts that were trained on, as if they had not been ------------------------------------------------


@pytest.fixture(scope="module")
def everywhere(strips: Path) -> Iterator[InspectionDataset]:
    """All of the photographs is inspected."""
    records = [dataclasses.replace(record, roi_path=None) for record in read_records(strips)]
    with DecodedCache(records, (64, 64)) as cache:
        yield InspectionDataset(cache)


def test_a_part_is_scored_with_memories_that_lack_it(everywhere: InspectionDataset) -> None:
    # All patches are memorised, so that a part finds itself at no distance.
    method = fitted(everywhere, memory_size=2000, roi_head=False, defect_head=False, places=False)
    cache = everywhere.cache
    left_out = method.left_out_scores(cache, [""] * len(cache))
    assert left_out is not None and list(left_out.groups) == [""] * len(cache)
    seen = predict(method.graph, cache.images).pred_score
    assert (seen < 0.1).all() and (left_out.scores > 10 * seen).all()
    # The same as memories of the others' rows.
    for bank, sources in zip(method.graph.banks, method.sources, strict=True):
        assert isinstance(bank, NearestNeighbours)
        others = (sources >= 0) & (sources != 3)
        bank.weight, bank.offset = bank.weight[others], bank.offset[others]
    assert predict(method.graph, cache.images[3:4]).pred_score == pytest.approx(
        left_out.scores[3:4], rel=1e-4
    )


def test_the_heads_that_have_not_seen_a_part_score_it_alone(everywhere: InspectionDataset) -> None:
    method, cache = fitted(everywhere, memory_size=2000, roi_head=False, places=False), everywhere.cache
    # Only the defect head counts.
    method.graph.weight.copy_(torch.tensor([0.0, 0.0, 1.0]))
    method.graph.usual.fill_(-100.0)
    left_out = method.left_out_scores(cache, [""] * len(cache))
    assert left_out is not None and method.graph.defect_head is not None
    for row in (0, 5, 21):
        method.graph.defect_head.answer_unseen(row % FOLDS)
        alone = predict(method.graph, cache.images[row : row + 1]).pred_score
        assert alone == pytest.approx(left_out.scores[row : row + 1], rel=1e-5)


def test_groups_are_left_out_together(everywhere: InspectionDataset) -> None:
    groups = [f"position {row // 4}" for row in range(len(everywhere.cache))]
    records = [
        dataclasses.replace(record, group=group)
        for record, group in zip(everywhere.cache.records, groups, strict=True)
    ]
    with DecodedCache(records, (64, 64)) as cache:
        data = InspectionDataset(cache)
        method = fitted(data, memory_size=2000, roi_head=False, places=False)
        folds = folds_of(data).tolist()
        assert len(set(zip(groups, folds, strict=True))) == len(set(groups)) == len(set(folds)) == 6
        # By the memories alone: more rows are missing with a whole group.
        method.graph.weight.copy_(torch.tensor([0.5, 0.5, 0.0]))
        alone = method.left_out_scores(cache, [""] * len(cache))
        grouped = method.left_out_scores(cache, groups)
        assert alone is not None and grouped is not None and list(grouped.groups) == groups
        assert (grouped.scores >= alone.scores - 1e-5).all() and (grouped.scores > alone.scores).any()
        assert method.left_out_scores(cache, ["one"] * len(cache)) is None


def test_a_part_is_compared_with_places_that_lack_it(everywhere: InspectionDataset) -> None:
    method = fitted(everywhere, memory_size=2000, roi_head=False, defect_head=False)
    cache, graph = everywhere.cache, method.graph
    assert graph.places is not None and method.place_sums is not None
    graph.weight.copy_(torch.tensor([0.0, 0.0, 1.0]))
    mean = graph.places.mean.clone()
    left_out = method.left_out_scores(cache, [""] * len(cache))
    assert left_out is not None and torch.equal(graph.places.mean, mean)
    seen = predict(graph, cache.images).pred_score
    assert (left_out.scores > seen).mean() > 0.8
    with torch.no_grad():
        levels = graph.features(images_of(everywhere))[1]
        others = folds_of(everywhere) != folds_of(everywhere)[3]
        graph.places.fill(method.place_sums, without=int(folds_of(everywhere)[3]))
    expected = F.avg_pool2d(F.pad(levels[others].mean(0)[None], (1,) * 4, mode="replicate"), 3, 1)
    torch.testing.assert_close(graph.places.mean, expected, atol=1e-3, rtol=1e-3)
    assert predict(graph, cache.images[3:4]).pred_score == pytest.approx(left_out.scores[3:4], rel=1e-4)


@pytest.mark.parametrize(("count", "head", "answers"), [(1, False, False), (2, True, True), (3, False, True)])
def test_one_part_alone_is_not_left_out(
    count: int, head: bool, answers: bool, everywhere: InspectionDataset
) -> None:
    with DecodedCache(everywhere.cache.records[:count], (64, 64)) as cache:
        method = fitted(InspectionDataset(cache), defect_head=head, memory_size=2000)
        assert (method.left_out_scores(cache, [""] * count) is not None) == answers


def test_scoring_the_left_out_changes_nothing(large: InspectionDataset) -> None:
    method = fitted(large)
    before = {name: value.clone() for name, value in method.graph.state_dict().items()}
    method.left_out_scores(large.cache, [""] * len(large.cache))
    assert all(torch.equal(value, before[name]) for name, value in method.graph.state_dict().items())


def test_all_good_parts_set_the_threshold(strips: Path, tmp_path: Path) -> None:
    bundle = load_graph(trained(strips, tmp_path / "bundle", QUICK))[0]
    assert "0 of 22 good parts (2 held out, 20 left out in turn)" in bundle.threshold.origin
    assert "expect 4.3% of all good parts" in bundle.threshold.origin


def test_a_val_split_sets_the_threshold_alone(strips: Path, tmp_path: Path) -> None:
    lines = strips.read_text().splitlines()
    lines[1:5] = [line.replace(",train,", ",val,") for line in lines[1:5]]
    manifest = strips.with_name("with_val.csv")
    manifest.write_text("\n".join(lines))
    bundle = load_graph(trained(manifest, tmp_path / "bundle", QUICK))[0]
    assert bundle.threshold.origin.startswith("rejects 0 of 4 held-out good parts;")


def test_best_f1_without_held_out_defects_is_refused_before_training(strips: Path, tmp_path: Path) -> None:
    training = dataclasses.replace(QUICK, threshold="best-f1")
    with pytest.raises(UserError, match="2 good and 0 defective"):
        trained(strips, tmp_path / "bundle", training)
    with pytest.raises(UserError, match="must be one of false-reject, best-f1"):
        dataclasses.replace(QUICK, threshold="f1")


# -- what is learned before the first step -------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(strips: Path) -> Iterator[InspectionDataset]:
    """At 128 x 128, where the features of all do not fit into a mebibyte."""
    with DecodedCache(read_records(strips)[:20], (128, 128)) as cache:
        yield InspectionDataset(cache)


def fitted(data: InspectionDataset, seed: int = 0, **changes: Any) -> RoiBank:
    torch.manual_seed(0)
    method = RoiBank(dataclasses.replace(TINY, **changes), data.cache.images.shape[1:3], seed=seed)
    method.fit(data)
    return method


def inside_of(data: InspectionDataset, side: int) -> Tensor:
    """(N, 1, side, side) bool: cells that lie mostly inside the ROI."""
    return F.adaptive_avg_pool2d(torch.tensor(data.cache.roi_masks).float(), side)[:, None] > 0.5


def images_of(data: InspectionDataset) -> Tensor:
    return torch.tensor(data.cache.images).permute(0, 3, 1, 2) / 255


@torch.no_grad()
def distances_of(method: RoiBank, data: InspectionDataset, level: int = 0) -> Tensor:
    bank = method.graph.banks[level]
    return bank(method.graph.features(images_of(data))[level])  # type: ignore[no-any-return]


def rows_filled(method: RoiBank, level: int = 0) -> int:
    bank = method.graph.banks[level]
    assert isinstance(bank, NearestNeighbours)
    filled = bank.offset < 1e11
    assert torch.equal(filled, method.sources[level] >= 0)
    return int(filled.sum())


@pytest.mark.parametrize("room", [1.0, 0.001])
def test_memories_hold_the_roi_of_all_photographs_and_nothing_else(
    room: float, large: InspectionDataset
) -> None:
    """Also of those whose features are not kept, for want of room."""
    most = int(inside_of(large, 32).sum()) + 100
    method = fitted(large, strides=(4, 8), memory_size=most, candidates=most, feature_memory_gb=room)
    kept = len(method._seen.patches)
    assert kept == len(large) if room == 1 else 1 < kept < len(large) / 2
    for level, side in enumerate((32, 16)):
        inside = inside_of(large, side)
        assert rows_filled(method, level) == inside.sum()
        distances = distances_of(method, large, level)
        # Kept in half precision.
        assert distances[inside].max() < 0.15 < distances[~inside].min()
        rows = torch.bincount(method.sources[level][method.sources[level] >= 0], minlength=len(large))
        assert torch.equal(rows, inside.sum((1, 2, 3)))


@pytest.mark.parametrize(("room", "candidates", "rows"), [(1.0, 40, 40), (0.001, 700, 60)])
def test_memories_and_candidates_are_bounded(
    room: float, candidates: int, rows: int, large: InspectionDataset
) -> None:
    bounds = {"memory_size": 60, "candidates": candidates, "feature_memory_gb": room, "strides": (4, 8)}
    one, again = (fitted(large, **bounds) for _ in range(2))
    assert rows_filled(one, 0) == rows_filled(one, 1) == rows
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in one.state_dict().items())
    other = fitted(large, 1, **bounds).state_dict()
    learned = ("graph.banks.0.weight", "graph.banks.1.weight", "graph.defect_head.hidden.weight")
    assert not any(torch.equal(one.state_dict()[name], other[name]) for name in learned)


def test_normal_patches_are_white(large: InspectionDataset) -> None:
    method = fitted(large, shrinkage=0.0)
    for level, side in enumerate((16, 8)):
        inside = inside_of(large, side)[:, 0]
        white = method.graph.features(images_of(large))[level].permute(0, 2, 3, 1)[inside].double()
        np.testing.assert_allclose(white.mean(0).numpy(), 0, atol=0.05)
        values = torch.linalg.eigvalsh(white.T @ white / len(white))
        assert values.mean().item() == pytest.approx(1, abs=0.02)
        assert (values > 0.9).float().mean() > 0.9 and values.max() < 1.1


def test_a_changed_light_is_memorised_too(large: InspectionDataset) -> None:
    most = 2 * int(inside_of(large, 16).sum()) + 100
    plain, lit = (
        fitted(large, light=light, memory_size=most, candidates=most, feature_memory_gb=0.002)
        for light in (0.0, 0.3)
    )
    assert rows_filled(lit) == 2 * rows_filled(plain)
    inside, darker = inside_of(large, 16), images_of(large) * 0.8
    of_plain, of_lit = (
        method.graph.banks[0](method.graph.features(darker)[0])[inside].mean() for method in (plain, lit)
    )
    assert of_lit < 0.9 * of_plain


# -- how the map is scaled -----------------------------------------------------------------------------------


def tops_of(method: RoiBank, data: InspectionDataset, side: int) -> tuple[Tensor, Tensor]:
    """Of the scaled parts in the drawn ROI: the mean (K,), and the highest value of each image (N, K)."""
    graph, inside = method.graph, inside_of(data, side)
    with torch.no_grad():
        levels = graph.features(images_of(data))
        scaled = graph.scaled(torch.cat(graph.parts(levels), dim=1), graph.roi_cells(levels))
    mean = scaled.transpose(0, 1)[:, inside[:, 0]].mean(1)
    return mean, torch.where(inside, scaled, -torch.inf).amax((2, 3))


@pytest.mark.parametrize("head", [True, False])
def test_the_strangest_patch_of_the_median_good_part_is_1(head: bool, strips: Path) -> None:
    with DecodedCache(read_records(strips), (64, 64)) as cache:
        data = InspectionDataset(cache)
        method = fitted(data, defect_head=head).eval()
        method.scale_by(data, range(len(cache)))
        mean, tops = tops_of(method, data, 8)
        # A strip that reaches the image's edge may be stranger there, and is reduced.
        edge = method.graph.edge
        assert (edge >= 1).all() and (edge <= 2).all() and (mean < 0.05).all()
        torch.testing.assert_close(mean[edge == 1], torch.zeros_like(mean[edge == 1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(tops.quantile(0.5, dim=0), torch.ones_like(mean), atol=1e-3, rtol=0)
        assert method.graph.weight.sum().item() == pytest.approx(1, abs=1e-5)
        assert method.graph.weight.min() >= 0


def test_a_score_of_1_is_that_of_the_median_good_part(everywhere: InspectionDataset) -> None:
    """With the true ROI, which is all of the image, and one part on the map's own grid."""
    alone = {"roi_head": False, "defect_head": False, "places": False, "strides": (8,), "smoothing": 0.0}
    method = fitted(everywhere, **alone).eval()
    method.scale_by(everywhere, range(len(everywhere.cache)))
    assert method.graph.weight.tolist() == [1.0]
    with torch.no_grad():
        (distances,) = method.graph.parts(method.graph.features(images_of(everywhere)))
        cells = method.graph.scaled(distances, torch.ones_like(distances))
    assert cells.mean().item() == pytest.approx(0, abs=0.1)
    assert cells.amax((1, 2, 3)).quantile(0.5).item() == pytest.approx(1, abs=1e-3)
    scores = predict(method.graph, everywhere.cache.images).pred_score
    # The map is a little lower: pixels lie between the cells' centres.
    assert 0.7 < np.median(scores) <= 1.001


@pytest.mark.parametrize("head", [True, False])
def test_a_trained_bundle_is_scaled_by_its_held_out_parts(head: bool, strips: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    longer = dataclasses.replace(QUICK, epochs=30, held_out=0.4)
    graph = load_graph(trained(strips, tmp_path / "bundle", longer, defect_head=head, border=1))[1]
    assert isinstance(graph, RoiBankGraph)
    assert (graph.usual != 0).all() and (graph.span != 1).all()
    # Other good parts are about as strange as those held out.
    scores = predict(graph, np.stack([strip(rng).image for _ in range(20)])).pred_score
    assert 0.3 < np.median(scores) < 2


def test_scaling_is_repeatable(everywhere: InspectionDataset) -> None:
    one, again = (fitted(everywhere).eval() for _ in range(2))
    for method in (one, again, again):
        method.scale_by(everywhere, range(5))
    for name in ("usual", "span", "weight", "ceiling", "edge"):
        assert torch.equal(one.graph.state_dict()[name], again.graph.state_dict()[name])


def test_a_part_that_sees_no_defect_weighs_least(
    everywhere: InspectionDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = fitted(everywhere).eval()
    parts = RoiBankGraph.parts

    def blind(self: RoiBankGraph, levels: list[Tensor]) -> list[Tensor]:
        first, *others = parts(self, levels)
        return [torch.arange(64.0).view(1, 1, 8, 8).expand_as(first), *others]

    monkeypatch.setattr(RoiBankGraph, "parts", blind)
    method.scale_by(everywhere, range(len(everywhere.cache)))
    assert method.graph.weight.argmin() == 0


# -- what the ROI head is shown ------------------------------------------------------------------------------


@pytest.mark.parametrize(("pasted", "more"), [(0.25, 5), (1.0, 20)])
def test_pasted_photographs_are_shown_beside_the_others(
    pasted: float, more: int, large: InspectionDataset
) -> None:
    method = fitted(large, pasted=pasted, rotation=20.0, shift=0.1)
    assert len(method._seen.patches) == len(method._seen.cells) == 20 + more
    assert method._seen.patches.isfinite().all()
    assert method._seen.cells.min() >= 0 and method._seen.cells.max() <= 1
    # The memory knows nothing of them.
    assert rows_filled(method) == rows_filled(fitted(large))


def test_turned_photographs_have_their_roi_turned(large: InspectionDataset) -> None:
    method = fitted(large, pasted=1.0, rotation=90.0)
    upright, turned = method._seen.cells[:20], method._seen.cells[20:]
    # A strip reaches from the upper edge to the lower one; turned, most do not.
    assert (upright.std(2) < 1e-6).all()
    assert (turned.std(2).amax((1, 2)) > 0.1).float().mean() > 0.8


# -- what comes out ------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {"backbone": "test_efficientnet", "pasted": 0.3, "shift": 0.1, "light": 0.2, "border": 1},
    {"defect_head": False, "strides": (4, 8)},
    {"roi_head": False, "memory_size": 20},
    {"roi": "none", "strides": (8,), "smoothing": 0.0, "swapped": 0.0, "synthetic": 0.0},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_bundle_answers_as_what_was_trained(
    changes: dict[str, Any], strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[RoiBank, dict[str, Tensor]]] = []
    begin = RoiBank.begin

    def watched(self: RoiBank, labels: Any) -> Any:
        backbone = self.graph.features.backbone.state_dict()
        begun.append((self, {name: value.clone() for name, value in backbone.items()}))
        return begin(self, labels)

    monkeypatch.setattr(RoiBank, "begin", watched)
    out = trained(strips, tmp_path / "bundle", QUICK, **changes)
    ((method, backbone),) = begun
    bundle, graph = load_graph(out)
    images = np.stack([strip(np.random.default_rng(seed)).image for seed in range(5)])
    expected, found = predict(method.graph.eval(), images), predict(graph, images)
    assert np.isfinite(found.pred_score).all() and found.pred_score.max() > 0
    np.testing.assert_allclose(found.pred_score, expected.pred_score, rtol=1e-5)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-5)
    assert isinstance(graph, RoiBankGraph)
    # The backbone is frozen, statistics of its norms included.
    assert all(
        torch.equal(value, backbone[name]) for name, value in graph.features.backbone.state_dict().items()
    )
    assert bundle.method == "roibank" and np.isfinite(bundle.threshold.value)
    # Without a region there is nothing that a head could learn, and no step.
    has_head = changes.get("roi_head", True) and "roi" not in changes
    assert (bundle.training["epochs_trained"] > 0) == has_head
    assert ("roi_iou" in bundle.metrics) == has_head
    curves = {"train/roi_head", "held-out/roi_head"}
    assert curves <= set(bundle.history) if has_head else not curves & set(bundle.history)
    assert any("roi_head" in name for name in read_weights(out)) == has_head


MOVED: dict[str, Any] = {"strides": (4, 8), "shift": 0.1}


def test_defects_are_trained_on_only_where_they_are_wanted(parts: Path, tmp_path: Path) -> None:
    """Of 22 photographs 12 are good, ten have a defect, and of either kind some are held out."""
    for known, images in ((False, 11), (True, 20)):
        out = trained(parts, tmp_path / f"{known}", QUICK, known_defects=known, memory_size=40)
        bundle = load_graph(out)[0]
        assert bundle.training["images"] == images
        assert np.isfinite(bundle.threshold.value)


@pytest.fixture(scope="module")
def whole(strips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(strips, tmp_path_factory.mktemp("whole") / "bundle", **MOVED)


def test_the_seed_fixes_everything(whole: Path, strips: Path, tmp_path: Path) -> None:
    again = trained(strips, tmp_path / "again", **MOVED)
    assert same_bundle(again, whole)
    other = trained(strips, tmp_path / "other", dataclasses.replace(RUN, seed=1), **MOVED)
    one, another = read_weights(whole), read_weights(other)
    kinds = ("banks.0.weight", "banks.1.weight", "roi_head.", "defect_head.")
    learned = [name for name in one if name.startswith(kinds)]
    # As much as is allowed, and equal shares, whatever the seed.
    learned = [name for name in learned if name not in ("roi_head.beside", "defect_head.share")]
    assert len(learned) > 8 and not any(torch.equal(one[name], another[name]) for name in learned)


@pytest.mark.parametrize(
    "changes",
    [
        MOVED,
        {"pasted": 0.5, "defect_head": False, "light": 0.2},
        {"strides": (4, 8), "memory_size": 40},
    ],
    ids=str,
)
def test_an_interrupted_training_resumes_to_the_same_bundle(
    changes: dict[str, Any], whole: Path, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = whole if changes == MOVED else trained(strips, tmp_path / "whole", **changes)
    out = tmp_path / "bundle"
    step, handler = RoiBank.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(self: RoiBank, batch: Batch, batch_index: int) -> Tensor | None:
        if (self.current_epoch, batch_index) == (2, 3):
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="--resume"):
            patch.setattr(RoiBank, "training_step", interrupted)
            trained(strips, out, **changes)
    finally:
        signal.signal(signal.SIGINT, handler)
    checkpoint = torch.load(tmp_path / "bundle.run" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1 and not out.exists()
    trained(strips, out, resume=True, **changes)
    assert same_bundle(out, reference)


# -- for how long, and how well ------------------------------------------------------------------------------

OPEN = dataclasses.replace(RUN, epochs=None)
"""Of no given length."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four epochs of twenty steps at least, twelve at most."""
    monkeypatch.setattr(RoiBank, "default_steps", 80)
    monkeypatch.setattr(RoiBank, "most_steps", 240)


HEAR = Course.hear


def hear(monkeypatch: pytest.MonkeyPatch, ious: list[float]) -> None:
    """Let the course hear these one after another, whatever is predicted."""
    coming = iter(ious)
    monkeypatch.setattr(Course, "hear", lambda self, _: HEAR(self, next(coming)))


@pytest.mark.parametrize(
    ("ious", "epochs"),
    [
        # Looked at after every second epoch, and two epochs at a falling rate.
        ([0.9] * 12, 4),
        ([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], 12),
        ([0.1] * 12, 12),
    ],
    ids=["at its best at once", "rises to the end", "is poor"],
)
@pytest.mark.usefixtures("short")
def test_it_is_trained_until_held_out_parts_get_no_better(
    ious: list[float], epochs: int, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if epochs == 4:
        monkeypatch.setattr("roinspect.methods.course._PATIENCE", 0)
    hear(monkeypatch, ious)
    out = trained(strips, tmp_path / "bundle", OPEN)
    bundle = load_graph(out)[0]
    assert bundle.training["epochs_trained"] == epochs
    curve = bundle.history["held-out/roi_iou"]
    assert [epoch for epoch, _ in curve] == list(range(2, epochs + 1, 2))
    assert all(0 <= iou <= 1 for _, iou in curve)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("asked", [{"epochs": 3}, {"steps": 41}], ids=str)
def test_a_length_asked_for_is_kept(
    asked: dict[str, int], strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(monkeypatch, [0.1] * 12)
    out = trained(strips, tmp_path / "bundle", dataclasses.replace(OPEN, **asked))
    assert load_graph(out)[0].training["epochs_trained"] == 3


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("stop", [3, 5, 7], ids=["as it goes on", "while it slows down", "at the end"])
def test_an_open_ended_training_resumes_to_the_same_bundle(
    stop: int, strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It goes on until nothing has risen for two looks; then come two epochs at a falling rate.
    monkeypatch.setattr("roinspect.methods.course._PATIENCE", 1)
    hear(monkeypatch, [0.6, 0.7, 0.7, *[0.7] * 9])
    reference = trained(strips, tmp_path / "whole", OPEN)
    assert load_graph(reference)[0].training["epochs_trained"] == 8
    out, step, handler = tmp_path / "bundle", RoiBank.training_step, signal.getsignal(signal.SIGINT)
    rest = [0.6, 0.7, 0.7, *[0.7] * 9]
    hear(monkeypatch, rest)

    def interrupted(self: RoiBank, batch: Batch, batch_index: int) -> Tensor | None:
        if (self.current_epoch, batch_index) == (stop, 3):
            raise KeyboardInterrupt
        return step(self, batch, batch_index)

    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="--resume"):
            patch.setattr(RoiBank, "training_step", interrupted)
            trained(strips, out, OPEN)
    finally:
        signal.signal(signal.SIGINT, handler)
    checkpoint = torch.load(tmp_path / "bundle.run" / "last.ckpt", weights_only=True)
    # What was heard up to the checkpoint is kept in it.
    hear(monkeypatch, rest[(checkpoint["epoch"] + 1) // 2 :])
    trained(strips, out, OPEN, resume=True)
    assert same_bundle(out, reference)


def test_a_training_whose_bundle_could_not_be_written_ends_where_it_had_ended(
    strips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RoiBank, "default_steps", 40)
    monkeypatch.setattr(RoiBank, "most_steps", 240)
    monkeypatch.setattr("roinspect.methods.course._PATIENCE", 0)
    hear(monkeypatch, [0.9] * 20)
    reference = trained(strips, tmp_path / "whole", OPEN)
    assert load_graph(reference)[0].training["epochs_trained"] == 2

    def killed(*_: Any, **__: Any) -> None:
        raise UserError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="disk is full"):
        patch.setattr("roinspect.training.learning.save_bundle", killed)
        trained(strips, tmp_path / "bundle", OPEN)
    assert same_bundle(trained(strips, tmp_path / "bundle", OPEN, resume=True), reference)


@pytest.fixture(scope="module")
def specks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 40 good photographs: a bright square of 8 x 8 somewhere, an ROI of 1.6 %."""
    root, rng = tmp_path_factory.mktemp("specks"), np.random.default_rng(0)
    lines = ["image_path,split,label,roi_path"]
    for number in range(40):
        image, roi_mask = rng.integers(60, 100, (64, 64, 3)), np.zeros((64, 64), np.uint8)
        y, x = 4 * rng.integers(0, 15, 2)
        roi_mask[y : y + 8, x : x + 8] = 255
        image[roi_mask > 0] += 150
        write_image(root / f"{number}.png", image.astype(np.uint8))
        write_image(root / f"{number}_roi.png", roi_mask)
        lines.append(f"{number}.png,train,good,{number}_roi.png")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root / "manifest.csv"


def test_a_small_roi_that_moves_is_found_and_the_iou_is_told(
    specks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "roibank", str(specks), "--size", "64", "--out", str(tmp_path / "bundle")]
    words += ["--training.accelerator", "cpu", "--training.threads", "1", "--method.weights", "none"]
    words += ["--method.backbone", "test_resnet", "--method.strides", "[4,8]"]
    capsys.readouterr()
    assert main(words) == 0
    bundle = load_graph(tmp_path / "bundle")[0]
    found = bundle.metrics
    assert found["roi_iou"] > 0.6 and found["roi_lowest_iou"] > 0.1 and found["roi_parts"] == 6
    assert "region of interest" not in bundle.threshold.warning
    told = "On 6 held-out photographs the IoU of predicted and drawn regions is "
    assert told + f"{found['roi_iou']:.3f}" in capsys.readouterr().out


def test_a_poor_roi_is_warned_of_with_the_remedy(
    specks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurried = dataclasses.replace(QUICK, epochs=1)
    bundle = load_graph(trained(specks, tmp_path / "bundle", hurried, learning_rate=0.0))[0]
    assert bundle.metrics["roi_iou"] < 0.1
    for told in (bundle.threshold.warning, caplog.text):
        assert "is found with an IoU of 0.0" in told and "defects in it will pass as good" in told
        assert all(remedy in told for remedy in ("--training.steps", "--size", "method.strides", "masks"))


@pytest.mark.parametrize(
    ("mean", "lost", "words"),
    [
        (0.8, 0, ""),
        (0.5, 0, ""),
        (0.4, 0, "with an IoU of 0.40 on 9 held-out parts, below 0.5: defects"),
        (0.7, 2, "with an IoU of 0.70 on 9 held-out parts, and as good as not at all on 2 of them: defects"),
        (0.0, 9, "below 0.5, and as good as not at all on 9 of them"),
    ],
)
def test_what_is_said_of_an_iou(mean: float, lost: int, words: str) -> None:
    told = roi_warning(mean, lost, 9)
    assert words in told and bool(told) == bool(words)


def test_memories_know_what_lies_beside_the_roi(large: InspectionDataset) -> None:
    """Where it counts a good part may not be strange; a border of half the ROI and more does not count."""
    most, normal = 4000, {}
    for border, counts in ((0, False), (1, True), (2, False)):
        method = fitted(
            large, strides=(8, 16), memory_size=most, candidates=most, defect_head=False, border=border
        )
        inside = inside_of(large, 16)
        counted = F.max_pool2d(inside.float(), 3, 1, 1) > 0 if counts else inside
        assert rows_filled(method) == pytest.approx(int(counted.sum()), rel=0.1)
        normal[border] = distances_of(method, large)[F.max_pool2d(inside.float(), 3, 1, 1) > 0].max()
    assert normal[1] < 0.1 * normal[0]


@pytest.mark.parametrize(("ratio", "weight"), [(0.0, 1), (0.25, 1), (0.3, 0.8), (0.5, 0), (3.0, 0)])
def test_the_border_of_a_small_roi_counts_for_little(ratio: float, weight: float) -> None:
    assert border_weight(ratio) == pytest.approx(weight)


def test_a_border_counts_by_what_was_trained_on(strips: Path, specks: Path, tmp_path: Path) -> None:
    """The strip's border is a third of it, the speck's more than all of it."""
    beside = {}
    for data in (strips, specks):
        out = trained(data, tmp_path / data.parent.name, QUICK, strides=(4, 8), border=1)
        beside[data] = float(read_weights(out)["roi_head.beside"])
    assert beside[specks] == 0 < beside[strips] < 0.9


# -- what is learned -----------------------------------------------------------------------------------------


def test_no_defect_argues_itself_out_of_the_roi(strips: Path, tmp_path: Path) -> None:
    """The head has seen foreign patches: what lies in the strip stays inside, and what lies beside it out."""
    longer = dataclasses.replace(QUICK, epochs=60)
    _, graph = load_graph(trained(strips, tmp_path / "bundle", longer, strides=(4, 8), pasted=0.3))
    assert isinstance(graph, RoiBankGraph)
    rng, good, defective, beside = np.random.default_rng(5), [], [], []
    for _ in range(20):
        part = strip(rng)
        good.append(part.image)
        (image, roi_mask), defect = spoiled(part, rng, inside=True)
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            roi = graph.predict_roi(pixels)
        assert roi is not None and roi.min() >= 0 and roi.max() <= 1
        assert roi[0, 0][torch.from_numpy(defect)].mean() > 0.7
        assert roi[0, 0][torch.from_numpy(roi_mask == 0)].mean() < 0.3
        defective.append(image)
        row, column = np.unravel_index(predict(graph, image[None]).anomaly_map[0].argmax(), (64, 64))
        assert roi_mask[row, column]
        beside.append(spoiled(part, rng, inside=False)[0].image)
    of_good, of_defective, of_beside = (
        predict(graph, np.stack(images)).pred_score for images in (good, defective, beside)
    )
    assert of_defective.min() > np.median(of_good) and of_defective.min() > np.median(of_beside)
    assert np.median(of_defective) > 1.5 * of_good.max()


# -- what cannot be ------------------------------------------------------------------------------------------


def test_photographs_without_a_good_one_cannot_be_learned_from() -> None:
    with pytest.raises(UserError, match="roibank: none of the training photographs is good"):
        RoiBank(TINY, (64, 64)).begin(np.array([1, 1]))


@pytest.fixture
def speck(tmp_path: Path) -> Path:
    """One ROI of three by three pixels."""
    mask = np.zeros((64, 64), np.uint8)
    mask[30:33, 30:33] = 255
    write_image(tmp_path / "speck.png", mask)
    return tmp_path / "speck.png"


@pytest.mark.parametrize("strides", [(8, 16), (4, 8, 16, 32)], ids=str)
def test_a_roi_smaller_than_a_cell_is_learned(
    strides: tuple[int, ...], strips: Path, speck: Path, tmp_path: Path
) -> None:
    """The cells that show most of it are remembered, of every photograph."""
    out = trained(strips, tmp_path / "bundle", QUICK, roi=str(speck), strides=strides, border=1)
    bundle, graph = load_graph(out)
    assert isinstance(graph, RoiBankGraph) and np.isfinite(bundle.threshold.value)
    for bank in graph.banks:
        assert isinstance(bank, NearestNeighbours)
        assert (bank.offset < 1e11).sum() >= 20
    images = np.stack([strip(np.random.default_rng(seed)).image for seed in range(3)])
    assert np.isfinite(predict(graph, images).anomaly_map).all()


def test_an_empty_roi_is_one_line(strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DecodedCache(read_records(strips)[:5], (64, 64)) as cache:
        cache.roi_masks = np.zeros_like(cache.roi_masks)
        with pytest.raises(UserError, match="no cell of the features lies inside a region") as caught:
            fitted(InspectionDataset(cache))
    assert "\n" not in str(caught.value)
    assert "method.strides" in str(caught.value) and "--size" in str(caught.value)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_photographs_give_finite_scores(value: int, tmp_path: Path) -> None:
    for number in range(8):
        write_image(tmp_path / "parts" / "good" / f"{number}.png", np.full((64, 64, 3), value, np.uint8))
    out = trained(tmp_path / "parts", tmp_path / "bundle", QUICK, roi="none", light=0.2)
    bundle, graph = load_graph(out)
    assert np.isfinite(bundle.threshold.value)
    images = np.stack([np.full((64, 64, 3), value, np.uint8), strip(np.random.default_rng(0)).image])
    prediction = predict(graph, images)
    assert np.isfinite(prediction.pred_score).all() and np.isfinite(prediction.anomaly_map).all()


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_a_few_good_parts_are_enough(count: int, strips: Path, tmp_path: Path) -> None:
    manifest = strips.with_name(f"first_{count}.csv")
    manifest.write_text("\n".join(strips.read_text().splitlines()[: count + 1]))
    bundle, graph = load_graph(trained(manifest, tmp_path / "bundle", QUICK))
    assert np.isfinite(bundle.threshold.value)
    image = strip(np.random.default_rng(7)).image
    assert np.isfinite(predict(graph, image[None]).pred_score).all()


def test_a_transformers_weights_come_from_a_file_and_the_export_agrees(
    strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    pytest.importorskip("onnxscript")
    weights = timm.create_model("test_vit").state_dict()
    safetensors.save_file(weights, tmp_path / "vit.safetensors")
    backbone = ["--method.backbone", "test_vit", "--method.weights", str(tmp_path / "vit.safetensors")]
    words = ["train", str(strips), "--out", str(tmp_path / "bundle"), "--training.steps", "4", *backbone]
    words += ["--method.memory_size", "100", "--method.candidates", "500"]
    assert main([*words, "--size", "60"]) == 2
    assert "60x60 does not divide into the patches of test_vit, 16x16 pixels; use --size 48x48 or 64x64" in (
        capsys.readouterr().err
    )
    assert main([*words, "--size", "64"]) == 0
    bundle, graph = load_graph(tmp_path / "bundle")
    assert list(bundle.method_settings["strides"]) == [16]
    loaded = graph.state_dict()["features.backbone.network.blocks.0.attn.qkv.weight"]
    assert loaded.equal(weights["blocks.0.attn.qkv.weight"])
    # Written only if its answers are those of the graph.
    assert main(["export", str(tmp_path / "bundle"), "--to", "onnx"]) == 0
