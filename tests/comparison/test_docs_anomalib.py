"""The data module of docs/anomalib.md: anomalib's items with a region of interest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("anomalib", reason='the extra "peers" is not installed')
torch = pytest.importorskip("torch")

from roinspect.data.reading import read_data  # noqa: E402
from roinspect.data.roi import attach_roi, label_in_roi  # noqa: E402
from roinspect.images.pixels import read_mask  # noqa: E402
from roinspect.synthetic.products import write_dataset  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "anomalib.md"
NOT_RUN = "<!-- not run: needs anomalib; tests/comparison/test_docs_anomalib.py runs it -->"


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"{re.escape(NOT_RUN)}\n```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def bottle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products") / "bottle"
    write_dataset("zipper", folder, count=40, seed=0, size_hw=(64, 64))
    return folder


@pytest.fixture(scope="module")
def names(blocks: list[str]) -> dict[str, Any]:
    assert len(blocks) == 2
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(blocks[0], str(PAGE), "exec", dont_inherit=True), names)
    return names


def test_items_and_batches_have_the_region_and_labels_that_follow_it(
    bottle: Path, names: dict[str, Any]
) -> None:
    parts = names["RoiFolder"](bottle, eval_batch_size=4)
    parts.setup()
    records = {str(record.image_path): record for record in attach_roi(read_data(bottle))}
    labels = list[int]()
    for item in parts.test_data:
        record = records[item.image_path]
        roi, gt = read_mask(Path(str(record.roi_path))), np.zeros((64, 64), np.uint8)
        if record.mask_path is not None:
            gt = read_mask(Path(str(record.mask_path)))
        assert (item.roi_mask.numpy() == roi).all() and (item.gt_mask.numpy() == gt).all()
        assert int(item.gt_label) == label_in_roi(gt, roi)
        labels.append(int(item.gt_label))
    outside = sum(1 for record in records.values() if record.split == "test" and record.label == 1) - sum(
        labels
    )
    assert 0 < sum(labels) < len(labels) and outside > 0, "some defects lie outside, and pass"
    batch = next(iter(parts.test_dataloader()))
    assert batch.roi_mask.shape == (4, 64, 64) and [one.roi_mask.shape for one in batch] == [(64, 64)] * 4
    assert {int(item.gt_label) for item in parts.train_data} == {0}


def test_what_moves_the_image_moves_the_region(bottle: Path, names: dict[str, Any]) -> None:
    from torchvision.transforms import v2

    def first(**augmentations: Any) -> Any:
        parts = names["RoiFolder"](bottle, **augmentations)
        parts.setup()
        return parts.train_data[0]

    plain, turned = first(), first(augmentations=v2.RandomHorizontalFlip(1.0))
    assert torch.equal(turned.image, plain.image.flip(2))
    assert torch.equal(turned.roi_mask, plain.roi_mask.flip(1)) and not turned.roi_mask.equal(plain.roi_mask)
    small = first(augmentations=v2.Resize((32, 48), antialias=True))
    assert small.image.shape == (3, 32, 48) and small.roi_mask.shape == (32, 48)


@pytest.mark.slow
def test_a_model_of_anomalib_is_trained_on_it_and_measured_inside_the_region(
    bottle: Path,
    blocks: list[str],
    names: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bottle.parent)
    # Its pretrained weights would be downloaded.
    text = blocks[1].replace("Padim(", "Padim(pre_trained=False, ")
    exec(compile(text, str(PAGE), "exec", dont_inherit=True), names)
    values, test = names["values"], names["parts"].test_data
    assert 0 <= values.image_auroc <= 1 and 0 <= values.aupro <= 1
    assert 0 <= values.outside_alarm_rate_at_recall95 <= 1
    assert len(test) == sum(record.split == "test" for record in read_data(bottle).records)
    assert f"{values.image_auroc}" in capsys.readouterr().out
