"""Groups are suspected where names or times show them, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roinspect.data.likeness import time_taken, undeclared_groups, warning_of
from roinspect.data.records import Record
from roinspect.synthetic.products import ProductName, plan

NOON = 1_700_000_000


def records(*names: str, group: str = "") -> list[Record]:
    return [Record(Path(name), "train", 0, "good", group=group, key=name) for name in names]


def files(folder: Path, seconds: list[float], taken: list[str] | None = None) -> list[Record]:
    found = []
    for number, second in enumerate(seconds):
        path = folder / f"{number:03}.jpg"
        stamp = b"Exif\x00\x00II" + taken[number].encode() + b"\x00" if taken else b"nothing"
        path.write_bytes(b"\xff\xd8\xff\xe1" + stamp)
        os.utime(path, (NOON + second, NOON + second))
        found.append(Record(path, "train", 0, "good", key=path.name))
    return found


def suspected(found: list[Record]) -> str:
    """What is said of photographs whose files have been read; those that are gone say nothing."""
    paths = [record.image_path for record in found]
    return undeclared_groups(found, [time_taken(p.read_bytes()) if p.is_file() else None for p in paths])


@pytest.mark.parametrize(
    "names",
    [
        [f"good/{number:03}.png" for number in range(100)],
        [f"good/IMG_{number:04}.JPG" for number in range(40)],
        [f"good/hazelnut ({number}).png" for number in range(40)],
        [f"good/part-{number}-top.png" for number in range(40)],
        [f"good/{number * 7919 % 100003:x}f.png" for number in range(40)],
        ["good/a_1.png", "good/a_2.png", "good/b_1.png", "good/b_2.png"],
        ["good/0.png"],
        [],
    ],
)
def test_ordinary_names_say_nothing(names: list[str]) -> None:
    assert suspected(records(*names)) == ""


@pytest.mark.parametrize("name", ["{:03}", "IMG_{:04}", "part ({})", "part-{}-top"])
def test_numbering_in_a_folder_for_each_category_and_split_suggests_nothing(name: str) -> None:
    numbered = [
        Record(Path("x"), split, 0, category, key=f"{split}/{category}/{name.format(number)}.png")
        for split in ("train", "test")
        for category in ("good", "scratch_outside", "stain_outside")
        for number in range(5)
    ]
    assert undeclared_groups(numbered, [None] * len(numbered)) == ""


@pytest.mark.parametrize("product", ["zipper", "vials"])
def test_a_synthetic_data_set_suggests_nothing(product: ProductName) -> None:
    parts = [
        Record(Path("x"), item.split, 0, item.folder, key=f"{item.split}/{item.folder}/{item.stem}.png")
        for item in plan(product, 160)
        if item.defect is None or item.place == "outside"
    ]
    assert undeclared_groups(parts, [None] * len(parts)) == ""


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([f"good/part{row // 4:02}_{row % 4}.png" for row in range(40)], 10),
        ([f"good/{row // 2:03}{'ab'[row % 2]}.png" for row in range(40)], 20),
        ([f"good/exp{row // 10}_num_{row * 37}.jpg" for row in range(60)], 6),
        ([f"good/{row:04}_position{row % 5}_crop.png" for row in range(60)], 5),
        ([f"good/batch{row // 10}/{row % 10}.png" for row in range(60)], 6),
        ([f"good/2024010{row // 10}_12{row:04}.png" for row in range(40)], 4),
    ],
)
def test_names_that_differ_by_a_number_alone_suggest_groups(names: list[str], count: int) -> None:
    assert suspected(records(*names)) == f"their names suggest {count} groups of near-duplicates"
    assert "--columns group=COLUMN" in warning_of(records(*names), [None] * len(names))


def test_declared_groups_are_taken_as_they_are() -> None:
    names = [f"good/part{row // 4}_{row % 4}.png" for row in range(40)]
    assert suspected(records(*names, group="a")) == warning_of(records(*names, group="a"), [None] * 40) == ""


def test_bursts_suggest_groups(tmp_path: Path) -> None:
    found = files(tmp_path, [600 * (row // 5) + 2 * (row % 5) for row in range(30)])
    assert suspected(found) == "their times suggest 6 groups of near-duplicates"


@pytest.mark.parametrize("pause", [0, 0.01, 7, 3600])
def test_a_steady_pace_says_nothing(tmp_path: Path, pause: float) -> None:
    assert suspected(files(tmp_path, [pause * row for row in range(30)])) == ""


def test_copied_in_two_goes_is_no_pattern(tmp_path: Path) -> None:
    assert suspected(files(tmp_path, [0.01 * row + 9000 * (row > 12) for row in range(30)])) == ""


def test_the_cameras_clock_counts_before_the_files(tmp_path: Path) -> None:
    taken = [f"2024:05:01 {8 + row // 5:02}:00:{row % 5:02}" for row in range(30)]
    found = files(tmp_path, [0.01 * row for row in range(30)], taken)
    assert suspected(found) == "their times suggest 6 groups of near-duplicates"


def test_files_that_are_gone_say_nothing(tmp_path: Path) -> None:
    assert suspected(records(*(str(tmp_path / f"{number}.png") for number in range(9)))) == ""
