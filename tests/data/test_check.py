"""`check` finds what would break training, tells it once, and reads every file once."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from roinspect.data.account import account
from roinspect.data.check import Findings, check, print_findings
from roinspect.data.reading import read_data
from roinspect.data.records import FEW_GOOD, Record, read_records
from roinspect.data.roi import attach_roi
from roinspect.images import pixels
from roinspect.images.pixels import write_image

SIZE = (32, 40)


@pytest.fixture
def parts(tmp_path: Path) -> list[Record]:
    """Two good photographs to train on, one to test, and three defects: inside the ROI, outside, both."""
    rng = np.random.default_rng(0)
    roi = np.zeros(SIZE, np.uint8)
    roi[:, :20] = 255
    places = {"inside": slice(4, 8), "outside": slice(30, 35), "both": slice(18, 22)}
    keys = [f"train/good/{i}" for i in range(2)] + ["test/good/0"] + [f"test/pit/{place}" for place in places]
    for key in keys:
        write_image(tmp_path / f"{key}.png", rng.integers(0, 256, (*SIZE, 3), np.uint8))
        write_image(tmp_path / f"roi/{key}.png", roi)
    for place, columns in places.items():
        mask = np.zeros(SIZE, np.uint8)
        mask[5:9, columns] = 255
        write_image(tmp_path / f"ground_truth/pit/{place}_mask.png", mask)
    return attach_roi(read_data(tmp_path, "auto"))


def shown(findings: Findings, width: int = 80) -> str:
    out = io.StringIO()
    print_findings(findings, Console(file=out, width=width, no_color=True))
    return out.getvalue()


def test_a_sound_data_set(parts: list[Record]) -> None:
    findings = check(parts, (64, 80))
    assert findings.problems == findings.warnings == findings.duplicates == ()
    facts = [(row.split, row.category, row.label, row.images) for row in findings.rows]
    assert facts == [("train", "good", "good", 2), ("test", "good", "good", 1), ("test", "pit", "bad", 3)]
    pit = findings.rows[2]
    assert pit.places == {"inside": 1, "outside": 1, "both": 1}
    assert pit.coverage == (0.5, 0.5, 0.5) and pit.sizes_hw == {SIZE: 3}


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_a_terminal(parts: list[Record], width: int) -> None:
    text = shown(check(parts), width)
    assert "…" not in text and "50/50/50" in text and "32x40" in text and "pit" in text
    assert "Nothing here would break training" in text
    assert max(map(len, text.splitlines())) <= width


def test_problems_and_warnings_are_printed_whole_and_unmarked() -> None:
    line = "a[red]b/[1].png: " + "long " * 40
    text = shown(Findings((), (), (line,), (line,)))
    assert f"problem: {line}" in text and f"warning: {line}" in text and "Nothing here" not in text


def test_each_file_is_read_once(parts: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    counter: Counter[str] = Counter()
    lock = threading.Lock()
    decode = pixels._decode

    def counted(data: bytes, where: str, *bits: int) -> tuple[pixels.Pixels, bool, int]:
        with lock:
            counter[where] += 1
        return decode(data, where, *bits)

    monkeypatch.setattr(pixels, "_decode", counted)
    one_roi = [replace(record, roi_path=parts[0].roi_path) for record in parts]
    check(one_roi, workers=4)
    assert set(counter.values()) == {1} and len(counter) == 6 + 3 + 1


def damaged(part: Record, how: str) -> tuple[Path, Record]:
    assert part.roi_path is not None
    path = part.roi_path
    if how == "unreadable image":
        path = part.image_path
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "unreadable ROI":
        path.write_bytes(b"junk")
    elif how == "missing ROI file":
        path.unlink()
    elif how == "empty ROI":
        write_image(path, np.zeros(SIZE, np.uint8))
    elif how == "ROI of another size":
        write_image(path, np.ones((32, 41), np.uint8))
    elif how == "mask of another size":
        path = part.image_path.with_name("mask.png")
        write_image(path, np.ones((33, 40), np.uint8))
        part = replace(part, mask_path=path)
    return path, part


@pytest.mark.parametrize(
    "how",
    [
        "unreadable image",
        "unreadable ROI",
        "missing ROI file",
        "empty ROI",
        "ROI of another size",
        "mask of another size",
    ],
)
@pytest.mark.parametrize("which", [0, 3, 5])
def test_what_breaks_training_is_named(parts: list[Record], how: str, which: int) -> None:
    path, parts[which] = damaged(parts[which], how)
    (problem,) = check(parts).problems
    assert str(path) in problem and "\n" not in problem
    assert sum(row.images for row in check(parts).rows) == 5
    assert str(path) in shown(check(parts)) and "Nothing here" not in shown(check(parts))


def test_every_damaged_file_is_listed_but_a_shared_one_once(parts: list[Record], tmp_path: Path) -> None:
    for record in parts[:4]:
        record.image_path.write_bytes(b"")
    assert len([p for p in check(parts).problems if "empty" in p]) == 4
    write_image(tmp_path / "roi.png", np.zeros(SIZE, np.uint8))
    shared = [replace(record, roi_path=tmp_path / "roi.png") for record in parts]
    assert len([p for p in check(shared).problems if "marks nothing" in p]) == 1


def test_one_image_without_a_roi_is_a_problem_and_all_without_is_none(parts: list[Record]) -> None:
    some = [*parts[:-1], replace(parts[-1], roi_path=None)]
    (problem,) = check(some).problems
    assert parts[-1].key in problem and "1 of 6" in problem
    findings = check([replace(record, roi_path=None) for record in parts])
    assert findings.problems == () and all(row.coverage is None for row in findings.rows)
    assert findings.rows[2].places == {"inside": 3}


def test_nothing_to_train_on(parts: list[Record]) -> None:
    (problem,) = check([record for record in parts if record.split == "test"]).problems
    assert "no readable photograph" in problem
    inside = next(record for record in parts if record.image_path.stem == "inside")
    (problem,) = check([replace(inside, split="train")]).problems
    assert "no good photograph" in problem
    outside = next(record for record in parts if record.image_path.stem == "outside")
    assert check([replace(outside, split="train")]).problems == ()
    assert check([]).problems


def test_a_defect_of_fewer_pixels_than_training_counts_makes_a_good_part(parts: list[Record]) -> None:
    both = next(record for record in parts if record.image_path.stem == "both")
    only = [replace(both, split="train")]
    assert check(only, min_pixels=9).problems == (), "eight of its pixels lie inside the ROI"
    (problem,) = check(only, min_pixels=8).problems
    assert "no good photograph" in problem


def test_the_same_pixels_in_two_splits_whatever_the_file(parts: list[Record], tmp_path: Path) -> None:
    train = next(record for record in parts if record.split == "train")
    copy = tmp_path / "test/good/copy.bmp"
    write_image(copy, pixels.read_image(train.image_path))
    twin = replace(train, image_path=copy, split="test", key="test/good/copy.bmp")
    findings = check([*parts, twin])
    assert findings.problems == () and len(findings.duplicates) == 1
    assert set(findings.duplicates[0]) == {train.key, twin.key}
    assert any(train.key in line and twin.key in line for line in findings.warnings)
    assert check([*parts, replace(twin, split="train")]).duplicates == ()


def test_many_twins_are_counted_and_some_are_named(parts: list[Record], tmp_path: Path) -> None:
    one = next(record for record in parts if record.split == "train")
    copies = [replace(one, key=f"test/good/copy{i}", split="test") for i in range(30)]
    line, *_ = check([*parts, *copies]).warnings
    assert line.count("copy") < 12 and ", ...: the same picture in more than one split" in line
    others = list[Record]()
    rng = np.random.default_rng(1)
    for i in range(14):
        path = tmp_path / f"other{i}.png"
        write_image(path, rng.integers(0, 256, (*SIZE, 3), np.uint8))
        others += [
            replace(one, key=f"{split}/{i}", image_path=path, split=split) for split in ("train", "test")
        ]
    findings = check([*parts, *others])
    assert len(findings.duplicates) == 14, "the list is whole"
    told = [line for line in findings.warnings if "than one split" in line]
    assert len(told) == 11 and told[-1].startswith("4 further pictures")


def test_labels_that_the_masks_contradict(parts: list[Record], tmp_path: Path) -> None:
    inside = next(record for record in parts if record.image_path.stem == "inside")
    others = [record for record in parts if record is not inside]
    write_image(tmp_path / "empty.png", np.zeros(SIZE, np.uint8))
    for changed, message in (
        (replace(inside, label=0), "labelled good but"),
        (replace(inside, mask_path=tmp_path / "empty.png"), "mask is empty, so it counts as good"),
        (replace(inside, mask_path=None), "without a mask"),
        (replace(inside, mask_path=None, label=None), "no label"),
    ):
        (warning,) = check([*others, changed]).warnings
        assert message in warning and inside.key in warning


def test_an_empty_mask_of_a_defect_to_learn_from_is_a_problem(parts: list[Record], tmp_path: Path) -> None:
    inside = next(record for record in parts if record.image_path.stem == "inside")
    write_image(tmp_path / "empty.png", np.zeros(SIZE, np.uint8))
    for split in ("train", "val"):
        findings = check(
            [*parts, replace(inside, split=split, key="x.png", mask_path=tmp_path / "empty.png")]
        )
        (problem,) = findings.problems
        assert (
            problem.startswith("x.png: labelled defective but its mask is empty")
            and "label it good" in problem
        )
        assert not any("empty" in warning for warning in findings.warnings)


def test_defects_too_narrow_at_the_training_size(parts: list[Record]) -> None:
    findings = check(parts, (16, 20))
    smallest = (
        "The smallest of 2 defects is 2.0 pixels wide at 16x20 and 4.0 in the photograph itself "
        "(test/pit/both.png)."
    )
    assert findings.remarks[-1] == smallest
    (warning,) = findings.warnings
    assert "2.0 pixels wide at 16x20" in warning and "2 such" in warning
    # The photographs themselves show no more than four pixels.
    assert "4.0 in the photograph itself; photograph the part closer up" in warning
    assert findings.remarks[0] in shown(findings, 200)


def test_the_size_that_would_do_is_named(parts: list[Record], tmp_path: Path) -> None:
    both = next(record for record in parts if record.image_path.stem == "both")
    mask = np.zeros(SIZE, np.uint8)
    mask[4:14, 10:30] = 255
    write_image(tmp_path / "wide.png", mask)
    (warning,) = check(
        [*parts[:1], replace(both, mask_path=tmp_path / "wide.png"), *parts[-1:]], (8, 10)
    ).warnings
    assert "2.5 pixels wide at 8x10" in warning and "10.0 in the photograph itself" in warning
    assert "--size 32x32 would do, at 12.8 times the pixels of today; so would --tile 256" in warning


def test_files_that_are_not_used_are_warned_of(parts: list[Record], tmp_path: Path) -> None:
    write_image(tmp_path / "ground_truth/pit/nobodys.png", np.zeros(SIZE, np.uint8))
    (tmp_path / "train/good/phone.heic").write_bytes(b"x")
    findings = check(parts, files=account(read_data(tmp_path), parts))
    assert any("ground_truth/pit/nobodys.png" in warning for warning in findings.warnings)
    assert any("phone.heic" in warning and "PNG" in warning for warning in findings.warnings)
    text = shown(findings)
    assert "regions of interest" in text and "masks that fit no photograph" in text
    assert max(map(len, text.split("warning:")[0].splitlines())) <= 80


def test_a_photograph_of_another_product_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        part = np.full((40, 40, 3), (60, 90, 120), np.uint8)
        part[10:30, 10:30] += rng.integers(0, 20, (20, 20, 3), np.uint8)
        write_image(tmp_path / f"good/{number:02}.png", part)
    write_image(tmp_path / "good/other.png", rng.integers(0, 256, (40, 40, 3), np.uint8))
    (warning,) = check(read_records(tmp_path)).warnings
    assert warning.startswith("good/other.png: 1 of 31 good photographs look unlike the rest")
    (tmp_path / "good/other.png").unlink()
    assert check(read_records(tmp_path)).warnings == ()


def test_many_sizes_are_summed_up(parts: list[Record], tmp_path: Path) -> None:
    odd = []
    for side in range(8, 13):
        write_image(tmp_path / f"{side}.png", np.full((side, side), side, np.uint8))
        odd.append(Record(tmp_path / f"{side}.png", "train", 0, "good", key=f"{side}.png"))
    findings = check(odd)
    assert len(findings.rows[0].sizes_hw) == 5 and "3 more" in shown(findings)


DATA = Path(os.environ.get("ROINSPECT_DATA", Path(__file__).parents[2] / "../shared/data"))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no photographs at {DATA} (ROINSPECT_DATA)")
def test_the_ball_screw_with_half_of_its_raceway() -> None:
    data = DATA / "ballscrew"
    findings = check(attach_roi(read_data(data, "column:roi_right_path")))
    assert findings.problems == ()
    places = {(row.split, row.category): row.places for row in findings.rows}
    assert places["train", "pitting"] == {"inside": 88, "both": 1, "outside": 57}
    assert places["test", "pitting"] == {"inside": 23, "outside": 42}
    assert places["test", "good"] == {"none": 142}


def test_few_good_photographs_and_a_blank_one_are_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(FEW_GOOD):
        write_image(tmp_path / f"train/good/{number}.png", rng.integers(0, 9, (16, 16, 3), np.uint8))
    assert check(read_records(tmp_path)).warnings == ()
    write_image(tmp_path / "train/good/0.png", np.zeros((16, 16, 3), np.uint8))
    blank = check(read_records(tmp_path)).warnings[0]
    assert blank.startswith("train/good/0.png: labelled good but all its pixels have one colour")
    (tmp_path / "train/good/0.png").unlink()
    (few,) = check(read_records(tmp_path)).remarks
    assert few == "9 good photographs to train on are few: add some, at least 10, better 50."


def test_a_region_smaller_than_a_cell_is_warned_of(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[30:34, 30:33] = 255
    write_image(tmp_path / "roi.png", mask)
    record = Record(tmp_path / "good.png", "train", 0, "good", key="good.png", roi_path=tmp_path / "roi.png")
    write_image(
        record.image_path, np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3).astype(np.uint8)
    )
    (warning,) = check([record], (64, 64)).warnings
    assert warning.startswith("good.png: its ROI has 12.0 pixels at 64x64, less than one cell")
    assert check([record], (128, 128)).warnings == ()
