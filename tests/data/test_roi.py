"""Every image has the region that was asked for, or an error names the one that has none; the ROI rule."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from roinspect.data.reading import read_data
from roinspect.data.records import Record, read_records
from roinspect.data.roi import attach_roi, defect_place, label_in_roi, load_roi
from roinspect.errors import UserError
from roinspect.images.pixels import write_image

IMAGES = ("train/good/a.png", "train/good/b.png", "test/pit/a.png")
masks = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1]))


def draw(root: Path, *paths: str, value: int = 255, size: tuple[int, int] = (8, 10)) -> None:
    for path in paths:
        write_image(root / path, np.full(size, value, np.uint8))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    draw(tmp_path, *IMAGES)
    return tmp_path


def test_none_means_all_of_every_image(tree: Path) -> None:
    records = [replace(r, roi_path=tree / "old.png") for r in read_records(tree)]
    assert [r.roi_path for r in attach_roi(read_data(tree, "none"), records)] == [None] * 3
    assert load_roi(records[0].__class__(Path("x"), "train", 0, ""), (8, 10)).all()


def test_auto_takes_the_mirrored_tree(tree: Path) -> None:
    draw(tree, *(f"roi/{path}" for path in IMAGES))
    attached = attach_roi(read_data(tree, "auto"))
    assert [r.roi_path for r in attached] == [tree / "roi" / r.key for r in attached]


def test_auto_takes_the_one_mask_of_the_studio_and_says_so(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(tree, "roi.png", *(f"roi/{key}" for key in IMAGES))
    caplog.set_level("INFO")
    attach_roi(read_data(tree))
    assert f"regions of interest: {tree / 'roi'}, not {tree / 'roi.png'}" in caplog.text
    shutil.rmtree(tree / "roi", ignore_errors=True)
    for _ in range(2):
        attached = attach_roi(read_data(tree))
        assert {record.roi_path for record in attached} == {tree / "roi.png"}
        (tree / "roi").mkdir(exist_ok=True)
    assert f"regions of interest: {tree / 'roi.png'}, one mask for all photographs" in caplog.text
    caplog.clear()
    attach_roi(read_data(tree, "none"))
    assert not caplog.text


def test_a_region_that_was_drawn_but_not_saved_is_pointed_out(tree: Path) -> None:
    shutil.rmtree(tree / "roi", ignore_errors=True)
    (tree / ".roinspect").mkdir()
    (tree / ".roinspect" / "shared.json").write_text("{}")
    with pytest.raises(UserError, match="Save the regions for training"):
        attach_roi(read_data(tree))


def test_auto_without_any_roi_says_how_to_go_on(tree: Path) -> None:
    with pytest.raises(UserError, match="--roi FOLDER or --roi none"):
        attach_roi(read_data(tree, "auto"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".TIF", ".jpg"])
def test_a_folder_of_any_image_suffix(tree: Path, suffix: str) -> None:
    draw(tree, *(f"drawn/{path}".replace(".png", suffix) for path in IMAGES))
    attached = attach_roi(read_data(tree, str(tree / "drawn")))
    assert {r.roi_path.suffix for r in attached if r.roi_path} == {suffix}
    assert all(load_roi(r, (8, 10)).all() for r in attached)


@pytest.mark.parametrize("absent", IMAGES)
def test_one_image_without_a_roi_is_named(tree: Path, absent: str) -> None:
    draw(tree, *(f"roi/{path}" for path in IMAGES if path != absent))
    with pytest.raises(UserError, match="1 of 3 images have none") as caught:
        attach_roi(read_data(tree, "auto"))
    assert caught.value.where == absent
    others = [r for r in read_records(tree) if r.key != absent]
    assert len(attach_roi(read_data(tree, "auto"), others)) == 2


def test_two_masks_for_one_image_are_refused(tree: Path) -> None:
    draw(tree, *(f"roi/{path}" for path in IMAGES), "roi/test/pit/a.bmp")
    with pytest.raises(UserError, match="as well as"):
        attach_roi(read_data(tree, "auto"))


@pytest.mark.parametrize("has_mask", [True, False])
@pytest.mark.parametrize("split", ["", "train", "test"])
def test_two_images_of_one_name_share_no_mask(tmp_path: Path, split: str, has_mask: bool) -> None:
    draw(tmp_path, "x/a.png", "x/a.jpg", "x/b.png", "roi/x/b.png")
    if has_mask:
        draw(tmp_path, "roi/x/a.png")
    rows = ["image_path,split", "x/a.png,train", "x/a.jpg,test", "x/b.png,train"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    # The other one counts although training and measuring each ask for its own split.
    records = [record for record in read_records(tmp_path) if split in ("", record.split)]
    for roi in ("auto", str(tmp_path / "roi")):
        with pytest.raises(UserError, match="would share its mask with x/a") as caught:
            attach_roi(read_data(tmp_path, roi), records)
        assert caught.value.where.startswith("x/a.")
    assert len(attach_roi(read_data(tmp_path, str(tmp_path / "x/b.png")), records)) == len(records)


def test_one_mask_for_all(tree: Path) -> None:
    draw(tree, "mask.png")
    attached = attach_roi(read_data(tree, str(tree / "mask.png")))
    assert {r.roi_path for r in attached} == {tree / "mask.png"}


@pytest.mark.parametrize("roi", ["nowhere", "nowhere/mask.png", "manifest.csv", "", "NONE"])
def test_what_is_no_roi_is_refused(tree: Path, roi: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "train")
    (tree / "train/manifest.csv").write_text("image_path\n")
    records = read_records(tree)
    with pytest.raises(UserError):
        attach_roi(read_data(tree, roi), records)


@pytest.fixture
def listed(tree: Path) -> Path:
    draw(tree, "left.png", "right.png")
    lines = [f"{key},left.png,right.png,{i}" for i, key in enumerate(IMAGES)]
    (tree / "manifest.csv").write_text("\n".join(["file,roi_path,other,group", *lines]))
    return tree


def test_columns_of_the_manifest(listed: Path) -> None:
    columns = {"image_path": "file"}
    data = read_data(listed, "auto", columns)
    assert {record.roi_path for record in attach_roi(data)} == {listed / "left.png"}
    other = attach_roi(read_data(listed, "column:other", columns))
    assert other == [replace(record, roi_path=listed / "right.png") for record in data.records]
    with pytest.raises(UserError, match="no column 'third'"):
        attach_roi(read_data(listed, "column:third", columns))


@pytest.mark.parametrize("roi", ["auto", "column:roi_path"])
def test_a_manifest_with_one_empty_cell(listed: Path, roi: str) -> None:
    text = (listed / "manifest.csv").read_text().replace(f"{IMAGES[1]},left.png", f"{IMAGES[1]},")
    (listed / "manifest.csv").write_text(text)
    columns = {"image_path": "file"}
    with pytest.raises(UserError, match="1 of 3 images have none") as caught:
        attach_roi(read_data(listed, roi, columns=columns))
    assert caught.value.where == IMAGES[1]


def test_a_roi_of_another_size_names_both(tree: Path) -> None:
    draw(tree, "mask.png", size=(8, 9))
    record = attach_roi(read_data(tree, str(tree / "mask.png")))[0]
    with pytest.raises(UserError, match=r"8x9 .* test/pit/a.png is 8x10") as caught:
        load_roi(record, (8, 10))
    assert caught.value.where == str(tree / "mask.png")


def test_a_roi_that_marks_nothing_is_refused(tree: Path) -> None:
    draw(tree, "mask.png", value=0)
    record = attach_roi(read_data(tree, str(tree / "mask.png")))[0]
    with pytest.raises(UserError, match="marks nothing") as caught:
        load_roi(record, (8, 10))
    assert caught.value.where == str(tree / "mask.png")


@given(gt=masks, roi=masks, min_pixels=st.integers(1, 30))
def test_the_roi_rule(gt: NDArray[np.uint8], roi: NDArray[np.uint8], min_pixels: int) -> None:
    inside, outside = int((gt & roi).sum()), int((gt & (1 - roi)).sum())
    assert label_in_roi(gt, roi, min_pixels=min_pixels) == (inside >= min_pixels)
    assert label_in_roi(gt * 255, roi * 255, min_pixels=min_pixels) == (inside >= min_pixels)
    places = {(False, False): "none", (True, False): "inside", (False, True): "outside", (True, True): "both"}
    assert defect_place(gt, roi) == places[inside > 0, outside > 0]
    assert label_in_roi(gt, roi) == (defect_place(gt, roi) in ("inside", "both"))


@given(gt=masks, roi=masks)
def test_a_defect_wholly_outside_makes_a_good_image(gt: NDArray[np.uint8], roi: NDArray[np.uint8]) -> None:
    assert label_in_roi(gt & (1 - roi), roi) == 0
    assert label_in_roi(gt, np.ones_like(gt)) == gt.any()
    assert label_in_roi(gt, np.zeros_like(gt)) == 0


def test_masks_must_agree_in_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        label_in_roi(np.ones((4, 4), np.uint8), np.ones((4, 1), np.uint8))
    with pytest.raises(ValueError, match="shape"):
        defect_place(np.ones((4, 4), np.uint8), np.ones(4, np.uint8))
    with pytest.raises(ValueError, match="min_pixels"):
        label_in_roi(np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8), min_pixels=0)


def test_records_are_not_changed(tree: Path) -> None:
    records = read_records(tree)
    before = list(records)
    attach_roi(read_data(tree, "none"), records)
    assert records == before and all(isinstance(r, Record) for r in records)
