"""Known defects train roibank's defect head, with masks or without, and never make it worse."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

import torch.nn.functional as F  # noqa: E402

from roinspect.data.dataset import DecodedCache  # noqa: E402
from roinspect.data.loader import InspectionDataset  # noqa: E402
from roinspect.data.reading import read_data  # noqa: E402
from roinspect.data.records import Record  # noqa: E402
from roinspect.methods.loading import load_graph  # noqa: E402
from roinspect.methods.roibank import RoiBank  # noqa: E402
from roinspect.methods.roibank_defects import FOLDS, folds_of, learn_defects  # noqa: E402
from roinspect.methods.roibank_scaling import known_scores, scale, weigh  # noqa: E402
from roinspect.methods.roibank_settings import RoiBankSettings  # noqa: E402
from roinspect.nn import defect_head  # noqa: E402
from roinspect.nn.defect_head import DefectHead  # noqa: E402
from roinspect.nn.patches import stacked  # noqa: E402
from roinspect.training.settings import TrainingSettings  # noqa: E402
from roinspect.training.train import prepare, train  # noqa: E402

TINY = RoiBankSettings(
    labels_alone=True,
    backbone="test_convnext", weights="none", strides=(8, 16), memory_size=300, candidates=2000,
    synthetic=0.0, light=0.0, pasted=0.0, smoothing=0.0, border=0,
)  # fmt: skip
RUN = TrainingSettings(
    size="64", epochs=2, batch_size=8, held_out=0.1, accelerator="cpu", threads=1, memory_gb=0.1
)


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defect_head, "_STEPS", 60)
        patch.setattr(defect_head, "_BATCH", 128)
        yield
    torch.set_num_threads(before)


def changed(records: Sequence[Record], **changes: Any) -> list[Record]:
    return [dataclasses.replace(record, **changes) for record in records]


@pytest.fixture
def good(cache: DecodedCache) -> list[Record]:
    return [record for record in cache.records if record.label == 0]


@pytest.fixture
def dents(cache: DecodedCache) -> list[Record]:
    """Photographs with a dent inside the ROI, and its mask."""
    return [record for record, label in zip(cache.records, cache.labels, strict=True) if label == 1]


def fitted(records: Sequence[Record], **changes: Any) -> RoiBank:
    torch.manual_seed(0)
    with DecodedCache(records, (64, 64)) as cache:
        method = RoiBank(dataclasses.replace(TINY, **changes), (64, 64))
        method.fit(InspectionDataset(cache))
    return method.eval()


def same(one: RoiBank, other: RoiBank) -> bool:
    weights = other.graph.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.graph.state_dict().items())


@torch.no_grad()
def gap(method: RoiBank, cache: DecodedCache) -> float:
    """How much more evidence the head has on dents inside the ROI than beside them."""
    images = torch.tensor(cache.images).permute(0, 3, 1, 2) / 255
    damage, inside = (
        F.adaptive_avg_pool2d(torch.tensor(masks).float(), 8)[:, None] > 0.25
        for masks in (cache.gt_masks, cache.roi_masks)
    )
    assert method.graph.defect_head is not None
    evidence = method.graph.defect_head(stacked(method.graph.features(images)))
    return float(evidence[damage & inside].mean() - evidence[inside & ~damage].mean())


# -- what they teach -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [True, False])
def test_known_defects_train_the_head_and_are_never_remembered(
    masks: bool, good: list[Record], dents: list[Record], cache: DecodedCache
) -> None:
    """Good parts alone hardly see the dents; masks show them, and without masks the memories do."""
    plain = fitted(good)
    informed = fitted([*good, *(dents if masks else changed(dents, mask_path=None))])
    assert len(dents) == 5 and informed.known.sum() >= 3 and not informed.known[: len(good)].any()
    before, after = gap(plain, cache), gap(informed, cache)
    assert after > before + 0.5 and after > 1
    assert torch.equal(plain.sources, informed.sources)


def test_without_masks_they_are_used_on_request_only_and_that_is_said(
    good: list[Record], dents: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    bare = changed(dents, mask_path=None)
    with caplog.at_level(logging.WARNING):
        unasked = fitted([*good, *bare], labels_alone=False)
    assert "5 defective training photographs have no masks and are not used" in caplog.text
    assert same(unasked, fitted(good)) and not unasked.known.any()


def test_a_mislabelled_good_photograph_does_no_harm(
    good: list[Record], dents: list[Record], cache: DecodedCache
) -> None:
    *others, one, two = good
    plain, right = fitted(others), fitted([*others, *changed(dents, mask_path=None)])
    wrong = changed([one, two], label=1)
    mixed = fitted([*others, *changed(dents, mask_path=None), *wrong])
    assert gap(mixed, cache) > gap(plain, cache) + 0.5
    assert gap(mixed, cache) > 0.7 * gap(right, cache)


def test_a_known_defect_has_a_fold_and_good_ones_keep_theirs(
    good: list[Record], dents: list[Record], parts: Path
) -> None:
    def folds(records: list[Record]) -> list[int]:
        with DecodedCache(records, (64, 64)) as decoded:
            return folds_of(InspectionDataset(decoded)).tolist()  # type: ignore[no-any-return]

    alone = folds(good)
    assert folds([*dents, *good])[len(dents) :] == alone
    assert len(set(folds([*dents, *good])[: len(dents)])) == min(FOLDS, len(dents))
    twins = [dataclasses.replace(record, group="one") for record in (good[5], dents[0])]
    mixed = folds([twins[1], *good[:5], twins[0]])
    assert mixed[0] == mixed[-1] == alone[5]


def test_known_defects_weigh_the_parts_of_the_map(good: list[Record], dents: list[Record]) -> None:
    records = [*good, *dents]
    method = fitted(records)
    with DecodedCache(records, (64, 64)) as cache:
        data, rows = InspectionDataset(cache), method.known.nonzero()[:, 0].tolist()
        share = method.graph.state_dict()["defect_head.share"].clone()
        known = known_scores(method.graph, data, rows)
        assert known.shape == (len(rows), 4) and known.isfinite().all() and len(rows) > 2
        assert torch.equal(method.graph.state_dict()["defect_head.share"], share)
        assert known_scores(method.graph, data, []).shape == (0, 4)
        weights = []
        scale(method.graph, data, range(len(good)))
        for seen in (None, known - torch.tensor([100.0, 0, 0, 0])):
            weigh(method.graph, data, range(len(good)), 4.0, torch.Generator().manual_seed(0), seen)
            weights.append(method.graph.weight.clone())
    # The first part finds known defects less strange than anything.
    assert weights[1][0] < weights[0][0] and weights[1].sum().item() == pytest.approx(1, abs=1e-5)


# -- never worse ---------------------------------------------------------------------------------------------


def test_without_defects_nothing_changes_and_nothing_is_said(
    good: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        default, off = fitted(good), fitted(good, known_defects=False)
    assert same(default, off) and "known" not in caplog.text and "not used" not in caplog.text


def test_defects_that_do_not_help_leave_no_trace(
    good: list[Record], dents: list[Record], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    separations = iter([0.9, 0.8])
    monkeypatch.setattr("roinspect.methods.roibank_defects._separation", lambda *_: next(separations))
    with caplog.at_level(logging.INFO):
        method = fitted([*dents, *good])
    assert "5 known defects are not used: unseen defects are separated to 80.0% by a head" in caplog.text
    monkeypatch.undo()
    plain = fitted(good)
    assert not method.known.any() and same(method, plain)


def test_the_head_that_is_better_on_unseen_defects_stays() -> None:
    """One axis is strange on real defects; where real ones are normal patches, they are not learned from."""

    def patches(count: int, seed: int, images: int) -> Any:
        drawn = torch.randn(count, 9, generator=torch.Generator().manual_seed(seed))
        drawn[:, -1] = torch.arange(count) % images
        return drawn

    normal, synthetic = patches(4000, 0, 40), patches(400, 1, 40)
    synthetic[:, 0] += 5
    folds = torch.arange(80) % FOLDS
    for strange, expected in ((True, True), (False, False)):
        real = patches(400, 2, 40)
        real[:, -1] += 40
        if strange:
            real[:, 3] += 4
        head, plain = DefectHead(8), DefectHead(8)
        used = learn_defects(head, normal, synthetic, real, folds, torch.Generator().manual_seed(0))
        learn_defects(plain, normal, synthetic, real[:0], folds, torch.Generator().manual_seed(0))
        assert used == expected
        alike = all(torch.equal(a, b) for a, b in zip(head.parameters(), plain.parameters(), strict=True))
        assert alike == (not used)


# -- what is not used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [2, 5])
def test_masks_that_mark_nothing_are_counted(
    lost: int, good: list[Record], dents: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    records = [*dents, *good]
    with DecodedCache(records, (64, 64)) as cache, caplog.at_level(logging.WARNING):
        cache.gt_masks = cache.gt_masks.copy()
        cache.gt_masks[:lost] = 0
        method = RoiBank(TINY, (64, 64))
        method.fit(InspectionDataset(cache))
    words = f"{lost} of 5 defective training photographs with masks mark no defect inside the region"
    assert words in caplog.text and not method.known[:lost].any()


def test_photographs_that_show_nothing_strange_are_counted(
    good: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    twins = changed(good[:4], label=1, group="twins")
    records = [*twins, *changed(good[:4], group="other"), *good[4:]]
    with caplog.at_level(logging.WARNING):
        method = fitted(records)
    assert "4 of 4 defective training photographs without masks show nothing strange" in caplog.text
    assert not method.known.any()


def test_photographs_that_teach_nothing_are_not_read(
    parts: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Neither those without label and mask nor defective ones without an ROI."""
    lines = parts.read_text().splitlines()
    unlabelled = lines[1].replace(",good,", ",,")
    assert ",train,," in unlabelled
    first = next(place for place, line in enumerate(lines) if ",train,dent," in line)
    lines[first] = lines[first].removesuffix("roi.png")
    manifest = parts.with_name("lacking.csv")
    manifest.write_text("\n".join([lines[0], unlabelled, *lines[2:]]))
    with caplog.at_level(logging.WARNING):
        ready = prepare("roibank", read_data(manifest), TINY, RUN)
    used = {record.key for record in [*ready.fitted, *ready.held_out]}
    assert not used & {line.split(",")[0] for line in (unlabelled, lines[first])}
    assert "1 of 10 defective training photographs have no ROI mask and are not used" in caplog.text


def test_a_bundle_from_any_labels(parts: Path, tmp_path: Path) -> None:
    """Masks of some, image labels of others."""
    lines = parts.read_text().splitlines()
    dents = [place for place, line in enumerate(lines) if ",train,dent," in line]
    for place in dents[::2]:
        name, split, label, _, roi = lines[place].split(",")
        lines[place] = f"{name},{split},{label},,{roi}"
    manifest = parts.with_name("any.csv")
    manifest.write_text("\n".join(lines))
    train("roibank", manifest, tmp_path / "bundle", method_settings=TINY, training=RUN)
    bundle = load_graph(tmp_path / "bundle")[0]
    assert np.isfinite(bundle.threshold.value) and "held-out defective ones" in bundle.threshold.origin
