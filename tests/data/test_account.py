"""Every file of a folder is told once: used as what, or not used and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from roinspect.data.account import FileUse, account, missed_line
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def told(root: Path, roi: str = "auto") -> dict[str, tuple[str, int]]:
    files = account(read_data(root, roi))
    every = [path for path in (root if root.is_dir() else root.parent).rglob("*") if path.is_file()]
    assert sum(file.count for file in files) == len(every)
    return {file.what: (file.standing, file.count) for file in files}


def test_an_mvtec_tree(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/good/0.png", "test/good/0.png", "test/pit/0.png", "ground_truth/pit/0_mask.png",
        "ground_truth/pit/9_mask.png", "ground_truth/good/0_mask.png", "roi/train/good/0.png",
        "roi/train/good/8.png", "LICENSE", "train/good/.hidden.png", ".git/config", "extra/1.png",
        "test_private/2.png", "train/good/a.heic", "train/good/b.HEIC", "train/good/c.gif", "loose.png",
        "train/good/0.json", "readme.txt",
    )  # fmt: skip
    assert told(tmp_path) == {
        "photographs": ("used", 3),
        "masks of defects": ("used", 1),
        "regions of interest": ("used", 1),
        "masks that fit no photograph": ("missed", 1),
        "regions that fit no photograph": ("missed", 1),
        "pictures in extra/ beside the splits": ("missed", 1),
        "pictures in test_private/ beside the splits": ("missed", 1),
        "pictures in a format that is not read (.heic)": ("missed", 2),
        "pictures in a format that is not read (.gif)": ("missed", 1),
        "pictures outside any folder": ("missed", 1),
        "annotations beside their photographs": ("missed", 1),
        "masks of good photographs, which need none": ("aside", 1),
        "hidden files": ("aside", 2),
        "other files": ("aside", 1),
        "text, JSON or XML files": ("aside", 1),
    }


@pytest.mark.parametrize("is_listed", [False, True])
def test_the_one_region_of_the_studio_is_used(tmp_path: Path, is_listed: bool) -> None:
    touch(tmp_path, "good/0.png", "roi.png")
    if is_listed:
        (tmp_path / "manifest.csv").write_text("image_path,label\ngood/0.png,good\n")
    assert told(tmp_path)["regions of interest"] == ("used", 1)
    assert told(tmp_path, "none")["the region in roi.png, as others are used"] == ("aside", 1)


def test_regions_that_are_attached(tmp_path: Path) -> None:
    touch(tmp_path, "good/0.png", "good/1.png", "roi/good/0.png", "roi/good/1.png", "roi/good/7.png")
    records = attach_roi(read_data(tmp_path, "auto"))
    files = {file.what: file for file in account(read_data(tmp_path), records)}
    assert files["regions of interest"].count == 2
    assert files["regions that fit no photograph"].examples == ("roi/good/7.png",)
    none = {file.what: file.standing for file in account(read_data(tmp_path, "none"))}
    assert none["regions in roi/, as --roi none leaves them aside"] == "aside"


def test_a_mask_for_all_is_used_where_it_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "good/0.png", "roi_rim.png")
    assert told(tmp_path)["masks that --roi does not name"] == ("aside", 1)
    assert told(tmp_path, str(tmp_path / "roi_rim.png"))["regions of interest"] == ("used", 1)


def test_a_manifest_names_what_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/b.png", "x/c.png", "m/b.png", "roi/x/a.png", "masks/z.png")
    rows = ["image_path,label,mask_path", "x/a.png,good,", "x/b.png,pit,m/b.png"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    expected = {
        "photographs": ("used", 2),
        "masks of defects": ("used", 1),
        "the manifest": ("used", 1),
        "pictures that the manifest does not name": ("missed", 1),
        "masks that the manifest does not name": ("aside", 1),
        "regions in roi/, as others are named": ("aside", 1),
    }
    assert told(tmp_path) == expected
    assert told(tmp_path / "manifest.csv") == expected


def test_masks_in_pieces_and_beside_are_used(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/0.png", "test/pit/0.png", "test/pit/1.png", "test/pit/1_mask.png")
    touch(tmp_path, "ground_truth/pit/0/000.png", "ground_truth/pit/0/001.png")
    assert told(tmp_path) == {"photographs": ("used", 3), "masks of defects": ("used", 3)}


def test_long_lists_are_cut_and_counted() -> None:
    assert str(FileUse("pictures", "missed", 1234, ("a", "b", "c"), "save them")) == (
        "not used: 1,234 pictures: a, b, c, ...; save them"
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_line_for_the_verbs(tmp_path: Path, count: int) -> None:
    touch(tmp_path, "good/0.png", "README", *(f"good/{n}.gif" for n in range(count)))
    line = missed_line(read_data(tmp_path))
    if count:
        assert line and f"{count} file{'s are' if count > 1 else ' is'} not used" in line
        assert f"`roinspect check {tmp_path}`" in line and "\n" not in line
    else:
        assert line is None
