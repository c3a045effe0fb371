"""The synthetic products: what a sample promises about its masks, and what a tree on disk holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi
from roinspect.data.width import defect_width
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask
from roinspect.synthetic.products import (
    PLACES,
    ProductName,
    SyntheticSample,
    defects,
    plan,
    render,
    write_dataset,
)
from roinspect.synthetic.washers import radius_for

PRODUCTS: tuple[ProductName, ...] = get_args(ProductName)
SMALL = (96, 96)
EVERY_DEFECT = [
    pytest.param(product, defect, place, id=f"{product}-{defect}-{place}")
    for product in PRODUCTS
    for place in PLACES
    for defect in defects(product, place)
]


def draw(product: ProductName, seed: int, **kwargs: object) -> SyntheticSample:
    return render(product, np.random.default_rng(seed), **{"size_hw": SMALL, **kwargs})  # type: ignore[arg-type]


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160), (160, 96)])
def test_arrays_have_the_asked_size_and_masks_are_binary(
    product: ProductName, size_hw: tuple[int, int]
) -> None:
    sample = draw(product, 0, defect="stain", place="inside", size_hw=size_hw)
    assert sample.image.shape == (*size_hw, 3)
    assert sample.image.dtype == np.uint8
    for mask in (sample.roi_mask, sample.gt_mask):
        assert mask.shape == size_hw
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("product", PRODUCTS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_good_parts_have_no_defect_and_an_roi_that_is_neither_empty_nor_full(
    product: ProductName, seed: int
) -> None:
    sample = draw(product, seed)
    assert not sample.gt_mask.any()
    assert 0.01 < sample.roi_mask.mean() < 0.4
    assert sample.image.std() > 8


@pytest.mark.parametrize(("product", "defect", "place"), EVERY_DEFECT)
@pytest.mark.parametrize("seed", [0, 1])
def test_defects_lie_where_they_are_asked_to(
    product: ProductName, defect: str, place: str, seed: int
) -> None:
    sample = draw(product, seed, defect=defect, place=place)
    inside = int((sample.gt_mask & sample.roi_mask).sum())
    outside = int(sample.gt_mask.sum()) - inside
    assert (inside > 0) == (place in ("inside", "both"))
    assert (outside > 0) == (place in ("outside", "both"))
    assert 0.0004 <= sample.gt_mask.mean() <= 0.02


@pytest.mark.parametrize(("product", "defect", "place"), EVERY_DEFECT)
def test_a_defect_changes_its_mask_and_nothing_else(product: ProductName, defect: str, place: str) -> None:
    good = draw(product, 5)
    bad = draw(product, 5, defect=defect, place=place)
    change = np.abs(good.image.astype(int) - bad.image).max(axis=2)
    assert np.array_equal(good.roi_mask, bad.roi_mask)
    assert (change[bad.gt_mask > 0] >= 3).all()
    rim = cv2.dilate(bad.gt_mask, np.ones((5, 5), np.uint8))
    assert not change[rim == 0].any()
    if place != "both":
        assert not change[bad.roi_mask == (place == "outside")].any()


@pytest.mark.parametrize("product", PRODUCTS)
def test_pictures_repeat_with_the_seed_and_differ_without(product: ProductName) -> None:
    defect = defects(product, "both")[0]
    first, again, other = (draw(product, seed, defect=defect, place="both") for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_roi_moves_with_the_product(product: ProductName) -> None:
    masks = [draw(product, seed).roi_mask for seed in range(8)]
    centres = np.array([[index.mean() for index in np.nonzero(mask)] for mask in masks])
    assert centres.std(axis=0).max() > 1.5
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_the_same_part_grows_with_the_image() -> None:
    shares = [draw("zipper", 3, size_hw=(side, side)).roi_mask.mean() for side in (64, 256)]
    assert shares[0] == pytest.approx(shares[1], rel=0.12)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_tree_is_mvtec_like_with_a_mirrored_roi(product: ProductName, tmp_path: Path) -> None:
    out = tmp_path / "new" / "tree"
    write_dataset(product, out, count=24, seed=3, size_hw=SMALL)
    images = sorted(
        path.relative_to(out) for split in ("train", "test") for path in (out / split).rglob("*.png")
    )
    rois = sorted(path.relative_to(out / "roi") for path in (out / "roi").rglob("*.png"))
    assert len(images) == 24
    assert images == rois
    assert {path.parts[1] for path in images if path.parts[0] == "train"} == {"good"}
    assert len({read_image(out / path).tobytes() for path in images}) == 24

    masks = sorted(path.relative_to(out / "ground_truth") for path in (out / "ground_truth").rglob("*.png"))
    bad = [path for path in images if path.parts[1] != "good"]
    assert masks == sorted(Path(path.parts[1], f"{path.stem}_mask.png") for path in bad)
    for path in bad:
        gt_mask = read_mask(out / "ground_truth" / path.parts[1] / f"{path.stem}_mask.png")
        roi_mask = read_mask(out / "roi" / path)
        assert path.parts[1].endswith("_outside") != bool((gt_mask & roi_mask).any())
    assert set(np.unique(cv2.imread(str(out / "roi" / images[0]), cv2.IMREAD_UNCHANGED))) == {0, 255}
    assert [path.name for path in out.parent.iterdir()] == ["tree"]


def test_a_tree_repeats_to_the_byte_with_its_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset("vials", tmp_path / name, count=20, seed=seed, size_hw=SMALL)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


@given(count=st.integers(20, 3000))
def test_every_split_gets_its_share(count: int) -> None:
    items = plan("zipper", count)
    assert len({(item.split, item.folder, item.stem) for item in items}) == len(items) == count
    train = sum(item.split == "train" for item in items)
    assert abs(train - 0.6 * count) <= 1
    for place in PLACES:
        assert any(item.folder.endswith(f"_{place}") for item in items)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        write_dataset("zipper", tmp_path, count=20, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise UserError("cannot be written", where="disk")

    monkeypatch.setattr("roinspect.synthetic.products.write_image", full_disk)
    with pytest.raises(UserError, match="cannot be written"):
        write_dataset("zipper", tmp_path / "out", count=20, seed=0, size_hw=SMALL)
    assert not list(tmp_path.iterdir())


def test_bad_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such product"):
        write_dataset("bottle", tmp_path / "out", count=20, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at least 20"):
        write_dataset("zipper", tmp_path / "out", count=3, seed=0)
    with pytest.raises(UserError, match="0 or more"):
        write_dataset("zipper", tmp_path / "out", count=20, seed=-1)
    with pytest.raises(UserError, match="at least 64"):
        write_dataset("zipper", tmp_path / "out", count=20, seed=0, size_hw=(32, 256))
    with pytest.raises(UserError, match="choose one of"):
        draw("vials", 0, defect="missing_tooth", place="inside")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="must lie in"):
        write_dataset("zipper", tmp_path / "out", count=20, seed=0, train_defects=1.0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.8])
def test_a_share_of_every_kind_of_defect_can_be_trained_on(share: float) -> None:
    items = plan("zipper", 400, share)
    whole = plan("zipper", 400)
    kinds = Counter(item.folder for item in whole if item.defect)
    learned = Counter(item.folder for item in items if item.defect and item.split == "train")
    assert all(learned[kind] == int(count * share) for kind, count in kinds.items())
    assert [item._replace(split="") for item in items] == [item._replace(split="") for item in whole]
    masks = [(item.folder, item.stem) for item in items if item.defect]
    assert len(masks) == len(set(masks))


def test_defects_of_both_splits_find_their_masks(tmp_path: Path) -> None:
    write_dataset("vials", tmp_path / "out", count=40, seed=0, size_hw=SMALL, train_defects=0.5)
    records = read_records(tmp_path / "out")
    assert {(r.split, r.label) for r in records} == {("train", 0), ("train", 1), ("test", 0), ("test", 1)}
    assert all((r.mask_path is not None) == (r.label == 1) for r in records)
    attach_roi(read_data(tmp_path / "out", "auto"), records)


@pytest.mark.parametrize(("share", "count"), [(0.005, 1), (0.03, 1), (0.6, 1), (0.015, 3), (0.3, 3)])
@pytest.mark.parametrize("is_moving", [True, False])
def test_washers_cover_the_share_that_is_asked_for(share: float, count: int, is_moving: bool) -> None:
    options = {"count": count, "radius": radius_for(share, count), "is_moving": is_moving}
    masks = [draw("washers", seed, size_hw=(128, 128), options=options).roi_mask for seed in range(4)]
    assert np.mean(masks) == pytest.approx(share, rel=0.15)
    pieces = [cv2.connectedComponents(mask)[0] - 1 for mask in masks]
    assert pieces == [count] * 4
    middles = np.array([[index.mean() for index in np.nonzero(mask)] for mask in masks])
    if not is_moving:
        assert middles.std(axis=0).max() < 2
    elif share < 0.3:
        assert middles.std(axis=0).max() > 5


@pytest.mark.parametrize(("count", "missing"), [(1, 1), (3, 1), (3, 3)])
def test_a_washer_that_is_missing_leaves_all_else_as_it_was(count: int, missing: int) -> None:
    whole, less = (
        draw("washers", 4, size_hw=(128, 128), options={"count": count, "missing": some})
        for some in (0, missing)
    )
    assert cv2.connectedComponents(less.roi_mask)[0] - 1 == count - missing
    gone = whole.roi_mask & (1 - less.roi_mask)
    assert gone.sum() == pytest.approx(whole.roi_mask.sum() * missing / count, rel=0.2)
    # The room that a relief hides and the shadow that it casts reach a few pixels.
    far = cv2.dilate(gone, np.ones((31, 31), np.uint8)) == 0
    assert np.array_equal(whole.image[far], less.image[far])
    assert not np.array_equal(whole.image[gone > 0], less.image[gone > 0])


def test_washers_that_cannot_lie_in_the_picture_are_refused() -> None:
    with pytest.raises(UserError, match="too large"):
        draw("washers", 0, options={"radius": 140.0})
    with pytest.raises(UserError, match="no room for 3"):
        draw("washers", 0, options={"count": 3, "radius": 70.0})
    for odd in ({"count": 2}, {"count": 3, "missing": 4}):
        with pytest.raises(UserError, match="cannot be drawn"):
            draw("washers", 0, options=odd)


# Product, defect, place, mean of the image, pixels of defect and of ROI, before widths could be stated.
BEFORE: tuple[tuple[ProductName, str, str, float, int, int], ...] = (
    ("zipper", "missing_tooth", "inside", 90.222, 53, 1748),
    ("zipper", "hole", "outside", 90.334, 32, 1748),
    ("vials", "scratch", "inside", 161.353, 51, 824),
    ("vials", "particle", "both", 161.258, 41, 824),
    ("washers", "stain", "outside", 146.094, 56, 133),
    ("washers", "scratch", "both", 146.230, 43, 133),
)


@pytest.mark.parametrize(("product", "defect", "place", "mean", "defective", "inspected"), BEFORE)
def test_without_a_width_the_images_are_those_of_before(
    product: ProductName, defect: str, place: str, mean: float, defective: int, inspected: int
) -> None:
    sample = draw(product, 11, defect=defect, place=place, size_hw=(96, 160))
    # Within what another processor rounds differently.
    assert sample.image.mean() == pytest.approx(mean, abs=0.02)
    assert int(sample.gt_mask.sum()) == pytest.approx(defective, abs=3)
    assert int(sample.roi_mask.sum()) == pytest.approx(inspected, abs=3)


@pytest.mark.parametrize(
    ("product", "defect", "place"),
    [
        ("zipper", "scratch", "inside"),
        ("zipper", "pulled_thread", "outside"),
        ("zipper", "hole", "outside"),
        ("vials", "particle", "both"),
        ("vials", "stain", "inside"),
        ("washers", "scratch", "both"),
    ],
)
@pytest.mark.parametrize("width", [3.0, 5.0])
def test_a_defect_is_as_wide_as_asked_for(
    product: ProductName, defect: str, place: str, width: float
) -> None:
    options = {"defect": defect, "place": place, "size_hw": (256, 256), "defect_pixels": (width, width)}
    sample = draw(product, 3, **options)
    region = np.ones_like(sample.roi_mask) if place == "outside" else sample.roi_mask
    assert defect_width(sample.gt_mask, region) == pytest.approx(width, rel=0.25)
    inside = int((sample.gt_mask & sample.roi_mask).sum())
    assert (inside > 0) == (place != "outside")
    assert (inside < sample.gt_mask.sum()) == (place != "inside")


def test_widths_are_spread_over_the_range_and_the_part_stays_as_it_is() -> None:
    options = {"size_hw": (256, 256), "defect": "particle", "place": "outside"}
    samples = [draw("washers", seed, defect_pixels=(2.5, 5.0), **options) for seed in range(8)]
    widths = [defect_width(sample.gt_mask, np.ones_like(sample.gt_mask)) for sample in samples]
    assert 1.8 < min(widths) < 3.2 < 3.6 < max(widths) <= 6.25
    good = draw("washers", 0, size_hw=(256, 256))
    far = cv2.dilate(samples[0].gt_mask, np.ones((5, 5), np.uint8)) == 0
    assert np.array_equal(good.image[far], samples[0].image[far])


def test_teeth_have_no_free_width() -> None:
    assert not {"missing_tooth", "bent_tooth"} & set(defects("zipper", "inside", is_sized=True))
    with pytest.raises(UserError, match="choose one of scratch"):
        draw("zipper", 0, defect="missing_tooth", size_hw=(512, 512), defect_pixels=(3, 6))
    assert not any("tooth" in item.folder for item in plan("zipper", 200, is_sized=True))


@pytest.mark.parametrize("widths", [(1.0, 4.0), (6.0, 4.0), (4.0, float("nan")), (4.0, 80.0)])
def test_impossible_widths_are_refused(widths: tuple[float, float], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="defect_pixels"):
        write_dataset("vials", tmp_path / "out", count=20, seed=0, defect_pixels=widths)
    assert not list(tmp_path.iterdir())


def test_a_large_photograph_has_detail_at_its_own_scale() -> None:
    good = draw("zipper", 1, size_hw=(640, 640))
    bad = draw("zipper", 1, size_hw=(640, 640), defect="stain", place="inside")
    far = cv2.dilate(bad.gt_mask, np.ones((5, 5), np.uint8)) == 0
    assert np.array_equal(good.image[far], bad.image[far])
    # Threads, smoothed over more than the sensor's noise, differ from pixel to pixel.
    smooth = cv2.GaussianBlur(good.image, (0, 0), 1.5).astype(float)
    assert np.abs(np.diff(smooth, axis=0)).mean() > 1


@pytest.mark.parametrize("width", [None, (6.0, 6.0)])
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_mask_of_a_large_photograph_marks_the_defect_only(
    product: ProductName, width: tuple[float, float] | None
) -> None:
    sample = draw(product, 5, size_hw=(640, 640), defect="particle", place="inside", defect_pixels=width)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(sample.gt_mask)
    left, top = boxes[1:, :2].min(axis=0)
    right, bottom = (boxes[1:, :2] + boxes[1:, 2:4]).max(axis=0)
    assert max(right - left, bottom - top) < 60
