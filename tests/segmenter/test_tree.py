"""A tree of predicted masks: it goes on where it was ended, and what a person drew stays."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from roinspect.cli import main
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask, write_image
from roinspect.inspection.bundle import Bundle, Threshold, save_bundle
from roinspect.segmenter import tree as roi_prediction
from roinspect.segmenter.contact_sheet import SHOWN, contact_sheet
from roinspect.segmenter.finder import RegionFinder, cleaned, confidence
from roinspect.segmenter.roi import absolute_roi, with_drawn_roi, with_roi
from roinspect.segmenter.segmenter_bundle import SegmenterBundle
from roinspect.segmenter.tree import JOURNAL, SHEET, TABLE, predict_rois

SIDE = 48


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photographs of a bright square on black, in `data/train/good`."""
    for number in range(6):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[10:30, 5 + number : 30 + number] = 200
        write_image(tmp_path / "data" / "train" / "good" / f"{number}.png", image)
    return tmp_path / "data"


class ByBrightness:
    """Stands in for the network: what is bright is the region; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.sure = 1.0
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, _graph: object, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked += len(images)
        self.meanwhile()
        bright = images.mean(3) > 100
        return np.where(bright, self.sure, 1 - self.sure).astype(np.float32)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[ByBrightness]:
    """Two segmenters, `one` and `other`, that answer alike and are told apart by their digests."""
    found = ByBrightness()
    cleaning = {"smallest_part": 0.05, "largest_hole": 0.05}
    manifest = SegmenterBundle(cleaning, (SIDE, SIDE), least_confidence=0.9)
    monkeypatch.setattr("roinspect.segmenter.segmenter_bundle.read_segmenter", lambda path: manifest)
    monkeypatch.setattr("roinspect.segmenter.segmenter_bundle.made_from", lambda path: {"name": str(path)})
    monkeypatch.setattr("roinspect.segmenter.segmenter.load_segmenter", lambda path: (manifest, None))
    monkeypatch.setattr("roinspect.segmenter.segmenter.probabilities", found)
    yield found


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / TABLE).open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def key(number: int) -> str:
    return f"train/good/{number}.png"


ONE, OTHER = Path("one"), Path("other")


# -- the tree ------------------------------------------------------------------------------------------------


def test_the_tree_mirrors_the_photographs(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    out = tmp_path / "roi"
    tree = predict_rois(ONE, photos, out)
    assert tree.count("predicted") == 6 and tree.unsure == 0 and network.asked == 6
    for number in range(6):
        mask = read_mask(out / key(number))
        assert np.array_equal(mask, read_image(photos / key(number))[..., 0] > 100)
        row = table(out)[key(number)]
        assert row["origin"] == "predicted" and float(row["confidence"]) == 1 and row["error"] == ""
        assert float(row["share"]) == pytest.approx(mask.mean(), abs=1e-4)
    assert read_image(out / SHEET).shape[2] == 3
    records = with_roi(read_data(photos, str(out)))
    assert [record.roi_path for record in records] == [out / key(number) for number in range(6)]


def test_a_second_run_predicts_nothing(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    out = tmp_path / "roi"
    predict_rois(ONE, photos, out)
    before = {file: file.read_bytes() for file in out.rglob("*.png")}
    tree = predict_rois(ONE, photos, out)
    assert network.asked == 6 and tree.count("predicted") == 6
    assert {file: file.read_bytes() for file in out.rglob("*.png")} == before


@pytest.mark.parametrize("when", ["before the mask", "after the mask"])
def test_a_killed_run_goes_on(
    photos: Path, tmp_path: Path, network: ByBrightness, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    out, write, done = tmp_path / "roi", os.replace, list[Path]()

    def killed(partial: Path, target: Path) -> None:
        if len(done) == 3:
            if when == "after the mask":
                write(partial, target)
            raise KeyboardInterrupt
        done.append(target)
        write(partial, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            predict_rois(ONE, photos, out)
    assert not (out / TABLE).exists()
    network.asked = 0
    tree = predict_rois(ONE, photos, out)
    assert tree.count("predicted") == 6 and network.asked == (2 if when == "after the mask" else 3)
    assert len(list(out.rglob(".*.tmp"))) == 0


def test_what_a_person_drew_stays(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    out, drawn = tmp_path / "roi", np.zeros((SIDE, SIDE), np.uint8)
    drawn[:3] = 255
    write_image(out / "train" / "good" / "0.bmp", drawn)
    predict_rois(ONE, photos, out)
    write_image(out / key(1), drawn)  # corrected after it was predicted
    kept = (out / "train" / "good" / "0.bmp").read_bytes(), (out / key(1)).read_bytes()
    for overwrite in (False, True):
        tree = predict_rois(ONE, photos, out, overwrite=overwrite)
        assert tree.count("drawn") == 2 and tree.count("predicted") == 4
        assert ((out / "train" / "good" / "0.bmp").read_bytes(), (out / key(1)).read_bytes()) == kept
    assert table(out)[key(1)]["confidence"] == "" and table(out)[key(0)]["origin"] == "drawn"
    assert not (out / key(0)).exists()


@pytest.mark.parametrize("had_mask", [False, True])
def test_what_a_person_draws_while_it_runs_stays(
    photos: Path, tmp_path: Path, network: ByBrightness, had_mask: bool
) -> None:
    out, drawn = tmp_path / "roi", np.zeros((SIDE, SIDE), np.uint8)
    drawn[:3] = 255
    write_image(photos / key(4), np.zeros((SIDE, SIDE, 3), np.uint8))  # no region is found in it
    if had_mask:
        predict_rois(ONE, photos, out)

    def draw() -> None:
        for number in (2, 4):
            write_image(out / key(number), drawn)

    network.meanwhile = draw
    tree = predict_rois(OTHER, photos, out, overwrite=True)
    assert tree.count("drawn") == 2 and tree.count("predicted") == 4
    for number in (2, 4):
        assert table(out)[key(number)]["origin"] == "drawn"
        assert np.array_equal(read_mask(out / key(number)), drawn > 0)
    assert not list(out.rglob(".*.tmp"))
    assert predict_rois(OTHER, photos, out, overwrite=True).count("drawn") == 2


def test_the_mask_of_a_photograph_that_was_replaced_is_predicted_anew(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    out, drawn = tmp_path / "roi", np.full((SIDE, SIDE), 255, np.uint8)
    write_image(out / key(0), drawn)
    predict_rois(ONE, photos, out)
    network.asked = 0
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[20:40] = 200
    for number in (0, 1):
        write_image(photos / key(number), image)
    tree = predict_rois(ONE, photos, out)
    assert network.asked == 1 and tree.count("predicted") == 5
    assert np.array_equal(read_mask(out / key(1)), image[..., 0] > 100)
    assert read_mask(out / key(0)).all(), "that one was drawn"
    predict_rois(ONE, photos, out)
    assert network.asked == 1
    write_image(photos / key(1), np.zeros((SIDE, SIDE, 3), np.uint8))
    assert predict_rois(ONE, photos, out).count("none") == 1 and not (out / key(1)).exists()


def test_a_row_that_does_not_tell_its_photograph_is_of_none(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    out = tmp_path / "roi"
    predict_rois(ONE, photos, out)
    rows = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    (out / JOURNAL).write_text("".join(json.dumps({**row, "photograph": None}) + "\n" for row in rows))
    assert predict_rois(ONE, photos, out).count("predicted") == 6 and network.asked == 12


def test_a_run_that_is_killed_while_it_replaces_masks_leaves_none_that_passes_for_drawn(
    photos: Path, tmp_path: Path, network: ByBrightness, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, done, write = tmp_path / "roi", list[Path](), os.replace
    predict_rois(ONE, photos, out)

    def killed(partial: Path, target: Path) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(target)
        write(partial, target)

    for photo in photos.rglob("*.png"):
        write_image(photo, read_image(photo)[::-1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            predict_rois(OTHER, photos, out, overwrite=True)
    tree = predict_rois(OTHER, photos, out, overwrite=True)
    assert tree.count("predicted") == 6
    assert all(
        np.array_equal(read_mask(out / row.key), read_image(photos / row.key)[..., 0] > 100)
        for row in tree.rows
    )


def test_a_folder_whose_name_is_too_long(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        predict_rois(ONE, photos, tmp_path / ("x" * 300))


def test_a_drawing_in_an_annotation_file_takes_the_place_of_a_predicted_mask(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    out = tmp_path / "roi"
    predict_rois(ONE, photos, out)
    shape = {"label": "roi", "shape_type": "polygon", "points": [[0, 0], [48, 0], [48, 24], [0, 24]]}
    size = {"imageHeight": SIDE, "imageWidth": SIDE}
    drawing = {"version": "5.0.0", "imagePath": "2.png", "shapes": [shape], **size}
    (out / key(2)).with_suffix(".json").write_text(json.dumps(drawing))
    tree = predict_rois(ONE, photos, out)
    assert tree.count("drawn") == 1 and tree.count("predicted") == 5 and not (out / key(2)).exists()
    assert table(out)[key(2)]["share"] == "0.5000"
    assert len(with_roi(read_data(photos, str(out)))) == 6


def test_another_segmenter_needs_leave_and_still_spares_what_was_drawn(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    out, drawn = tmp_path / "roi", np.full((SIDE, SIDE), 255, np.uint8)
    predict_rois(ONE, photos, out)
    write_image(out / key(2), drawn)
    network.asked, network.sure = 0, 0.8
    with pytest.raises(UserError, match="5 masks of another segmenter"):
        predict_rois(OTHER, photos, out)
    assert network.asked == 0
    tree = predict_rois(OTHER, photos, out, overwrite=True)
    assert network.asked == 5 and tree.unsure == 5 and read_mask(out / key(2)).all()


def test_a_bad_image_costs_one_row(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    out = tmp_path / "roi"
    (photos / key(3)).write_bytes(b"no image")
    write_image(photos / key(4), np.zeros((SIDE, SIDE, 3), np.uint8))
    tree = predict_rois(ONE, photos, out)
    assert tree.count("predicted") == 4 and tree.count("none") == 2
    assert "not a PNG" in table(out)[key(3)]["error"] and "no region" in table(out)[key(4)]["error"]
    assert not (out / key(3)).exists() and not (out / key(4)).exists()
    shutil.copyfile(photos / key(0), photos / key(3))
    assert predict_rois(ONE, photos, out).count("predicted") == 5, "once mended it is predicted"


def test_unsorted_photographs_will_do_and_masks_among_them_are_none(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    flat = tmp_path / "flat"
    shutil.copytree(photos / "train" / "good", flat)
    tree = predict_rois(ONE, flat, flat / "roi")
    assert [row.key for row in tree.rows] == [f"{number}.png" for number in range(6)]
    assert len(predict_rois(ONE, flat, flat / "roi").rows) == 6
    assert len(predict_rois(ONE, flat, flat / "masks of mine").rows) == 6


def test_photographs_that_would_share_a_mask_are_refused(
    photos: Path, tmp_path: Path, network: ByBrightness
) -> None:
    shutil.copyfile(photos / key(0), photos / "train" / "good" / "0.bmp.png")
    assert len(predict_rois(ONE, photos, tmp_path / "fine").rows) == 7
    write_image(photos / "train" / "good" / "1.bmp", np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(UserError, match="share its mask"):
        predict_rois(ONE, photos, tmp_path / "roi")
    assert not (tmp_path / "roi").exists()


def test_the_verb_tells_what_to_look_at(
    photos: Path, tmp_path: Path, network: ByBrightness, capsys: pytest.CaptureFixture[str]
) -> None:
    network.sure = 0.8
    words = ["roi", "predict", "one", str(photos), "--out", str(tmp_path / "roi")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "6 have a predicted mask and 0 a drawn one" in told and SHEET in told
    assert "6 masks have a confidence below 0.900" in told
    assert main([*words, "--certain", "0.1"]) == 0 and "0 masks have" in capsys.readouterr().out
    assert main([*words, "--certain", "2"]) == 2
    for photo in photos.rglob("*.png"):
        photo.write_bytes(b"")
    assert main([*words[:-1], str(tmp_path / "other")]) == 2
    assert "none of 6 photographs got a mask" in capsys.readouterr().err


# -- confidence and clean-up ---------------------------------------------------------------------------------

maps = arrays(np.float32, (9, 12), elements=st.floats(0, 1, width=32))
masks = arrays(np.bool_, (9, 12))


@settings(deadline=None)
@given(probability=maps)
def test_confidence_lies_between_nothing_and_certainty(probability: NDArray[np.float32]) -> None:
    mask = (probability >= 0.5).astype(np.uint8)
    found = confidence(probability, mask)
    assert 0 <= found <= 1
    assert confidence(mask.astype(np.float32), mask) == float(mask.any())
    assert confidence(probability, np.zeros_like(mask)) == 0


@settings(deadline=None)
@given(mask=masks, part=st.floats(0, 1), hole=st.floats(0, 1))
def test_clean_up_keeps_the_largest_part_and_settles(
    mask: NDArray[np.bool_], part: float, hole: float
) -> None:
    found = cleaned(mask, part, hole)
    assert found.dtype == np.uint8 and set(np.unique(found)) <= {0, 1} and found.any() == mask.any()
    assert np.array_equal(cleaned(mask, 0, 0), mask)
    assert np.array_equal(cleaned(found > 0, part, 0), found)


def test_clean_up_drops_crumbs_and_fills_pits() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:35] = 1
    wanted = mask.copy()
    mask[10:14, 10:14] = 0  # a defect that looks like no region
    mask[38:, 38:] = 1  # a crumb
    assert np.array_equal(cleaned(mask > 0, 0.05, 0.05), wanted)
    mask[15:30, 15:30] = 0
    assert cleaned(mask > 0, 0.05, 0.05)[20, 20] == 0, "a ring keeps its hole"
    assert cleaned(mask > 0, 1, 1)[20, 20] == 1
    two = np.zeros((9, 9), np.uint8)
    two[:3], two[6:8] = 1, 1
    assert np.array_equal(cleaned(two > 0, 0.5, 0), two) and cleaned(two > 0, 1, 0).sum() == 27


# -- in front of other verbs ---------------------------------------------------------------------------------


def test_predicted_masks_serve_as_drawn_ones_and_are_made_once(
    photos: Path, tmp_path: Path, network: ByBrightness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROINSPECT_CACHE", str(tmp_path / "cache"))
    records = read_records(photos)
    found = with_roi(read_data(photos, "segmenter:one"), records)
    for record in found:
        assert record.roi_path is not None
        assert np.array_equal(read_mask(record.roi_path), read_image(record.image_path)[..., 0] > 100)
    assert network.asked == 6
    again = with_roi(read_data(photos, "segmenter:one"), records)
    assert again == found and network.asked == 6
    shutil.copytree(photos, tmp_path / "moved")
    with_roi(read_data(tmp_path / "moved", "segmenter:one"))
    assert network.asked == 6, "the same photographs elsewhere"
    with_roi(read_data(photos, "segmenter:other"), records)
    assert network.asked == 12


def test_a_region_that_is_not_found_is_an_error_and_an_unreadable_image_is_left_to_its_reader(
    photos: Path, tmp_path: Path, network: ByBrightness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROINSPECT_CACHE", str(tmp_path / "cache"))
    (photos / key(3)).write_bytes(b"no image")
    found = with_roi(read_data(photos, "segmenter:one"))
    assert [record.roi_path is None for record in found] == [number == 3 for number in range(6)]
    write_image(photos / key(4), np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(UserError, match="finds no region in 1 photographs"):
        with_roi(read_data(photos, "segmenter:one"))


def test_another_method_is_no_segmenter(tmp_path: Path) -> None:
    save_bundle(tmp_path / "model", Bundle("roibank", {}, (SIDE, SIDE), Threshold(0.1, "")), {})
    with pytest.raises(UserError, match="of roibank, not of a segmenter"):
        RegionFinder(tmp_path / "model")


def test_drawn_ones_are_told_from_missing_ones(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 2, 5):
        write_image(photos / "roi" / key(number), np.full((SIDE, SIDE), 255, np.uint8))
    with caplog.at_level(logging.INFO, "roinspect"):
        found = with_drawn_roi(read_data(photos, "auto"))
    assert [record.key for record in found] == [key(0), key(2), key(5)]
    assert "3 of 6 photographs have an ROI" in caplog.text


def test_where_masks_come_from_may_be_told_to_another_process() -> None:
    here = Path.cwd()
    assert [absolute_roi(roi) for roi in ("auto", "none", "column:x")] == ["auto", "none", "column:x"]
    assert absolute_roi("roi") == str(here / "roi")
    assert absolute_roi("segmenter:model") == f"segmenter:{here / 'model'}"


# -- the sheet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [[(20, 30)], [(20, 30), (40, 10)] * 3, [(320, 128)] * SHOWN])
def test_a_sheet_holds_every_tile(shapes: Sequence[tuple[int, int]]) -> None:
    tiles: list[tuple[str, Any]] = [("name " * 20, np.full((*shape, 3), 7, np.uint8)) for shape in shapes]
    assert (contact_sheet(tiles) == 7).all(2).sum() == sum(h * w for h, w in shapes)


def test_journal_and_table_are_no_masks(photos: Path, tmp_path: Path, network: ByBrightness) -> None:
    out = photos / "roi"
    predict_rois(ONE, photos, out)
    assert {file.name for file in out.iterdir()} == {"train", TABLE, SHEET, JOURNAL}
    assert len(with_roi(read_data(photos, "auto"))) == 6
    assert roi_prediction.predict_rois(ONE, photos, out).count("predicted") == 6
