"""Every layout gives the same records in the same order; what is ambiguous or missing is named."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roinspect.data.records import COLUMNS, Record, find_images, read_records
from roinspect.errors import UserError

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text("abcXYZ019-_ .é", min_size=1, max_size=8).filter(lambda s: s.strip(". ") == s)


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def write_manifest(
    path: Path, rows: list[dict[str, str]], delimiter: str = ",", encoding: str = "utf-8"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def facts(records: list[Record]) -> list[tuple[str, str, int | None, str, bool]]:
    return [(r.key, r.split, r.label, r.category, r.mask_path is not None) for r in records]


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "train/good/001.png", "train/good/000.png", "val/good/000.jpg", "test/good/000.png",
        "test/crack/000.png", "test/crack/001.PNG", "test/hole/000.png",
        "ground_truth/crack/000_mask.png", "ground_truth/crack/001.png",
        "roi/test/crack/000.png", "LICENSE", "train/good/Thumbs.db", "train/good/.hidden.png",
    )  # fmt: skip
    return tmp_path


def test_an_mvtec_tree(mvtec: Path) -> None:
    assert facts(read_records(mvtec)) == [
        ("test/crack/000.png", "test", 1, "crack", True),
        ("test/crack/001.PNG", "test", 1, "crack", True),
        ("test/good/000.png", "test", 0, "good", False),
        ("test/hole/000.png", "test", 1, "hole", False),
        ("train/good/000.png", "train", 0, "good", False),
        ("train/good/001.png", "train", 0, "good", False),
        ("val/good/000.jpg", "val", 0, "good", False),
    ]
    masks = {r.key: r.mask_path for r in read_records(str(mvtec)) if r.mask_path}
    assert masks["test/crack/000.png"] == mvtec / "ground_truth/crack/000_mask.png"
    assert masks["test/crack/001.PNG"] == mvtec / "ground_truth/crack/001.png"


def test_validation_is_val(tmp_path: Path) -> None:
    touch(tmp_path, "validation/ok/a.png", "train/ok/a.png")
    assert [(r.split, r.label) for r in read_records(tmp_path)] == [("train", 0), ("val", 0)]


def test_masks_below_the_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/pit/1.jpg", "test/pit/1.jpg", "train/good/1.jpg")
    touch(tmp_path, "ground_truth/train/pit/1_mask.png", "ground_truth/test/pit/1.png")
    found = {r.key: r.mask_path for r in read_records(tmp_path)}
    assert found["train/pit/1.jpg"] == tmp_path / "ground_truth/train/pit/1_mask.png"
    assert found["test/pit/1.jpg"] == tmp_path / "ground_truth/test/pit/1.png"


def test_plain_folders(tmp_path: Path) -> None:
    touch(tmp_path, "good/day 1/a.png", "good/day 2/a.png", "bad/a.tif", "torn/b.webp", "readme.txt")
    touch(tmp_path, "masks/bad/a.png", "roi/good/a.png", "masks/torn/c.png")
    assert facts(read_records(tmp_path)) == [
        ("bad/a.tif", "train", 1, "bad", True),
        ("good/day 1/a.png", "train", 0, "good", False),
        ("good/day 2/a.png", "train", 0, "good", False),
        ("torn/b.webp", "train", 1, "torn", False),
    ]


@pytest.mark.parametrize("folder", ["good", "Good", "OK", "normal"])
def test_good_folders_whatever_their_case(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}/a.png", "rest/a.png")
    assert [r.label for r in read_records(tmp_path) if r.category == folder] == [0]


def test_the_good_names_are_a_setting(tmp_path: Path) -> None:
    touch(tmp_path, "gut/a.png", "good/a.png")
    assert {r.category: r.label for r in read_records(tmp_path, good=["GUT"])} == {"gut": 0, "good": 1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no photographs"),
        (("a.png", "b.png"), "sort them into folders"),
        (("roi/a.png", "masks/x/a.png"), "no photographs"),
        (("train/a.png", "train/good/b.png"), "outside any category"),
        (("bottle/train/good/a.png", "cable/train/good/a.png"), "several products"),
        (("bad/a.png", "masks/bad/a.png", "masks/bad/a_mask.png"), "same image"),
        (("bad/a.png", "masks/bad/a.png", "masks/bad/a.bmp"), "same image"),
        (("bad/a.png", "masks/bad/a.png", "ground_truth/bad/a.png"), "same image"),
        (("bad/a.png", "bad/a.jpg", "masks/bad/a.png"), "fits 2 images"),
        (("train/pit/1.png", "test/pit/1.png", "ground_truth/pit/1.png"), "fits 2 images"),
        (("test/pit/1.png", "ground_truth/pit/1.png", "ground_truth/test/pit/1.png"), "same image"),
    ],
)
def test_layouts_that_cannot_be_right(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(UserError, match=message) as caught:
        read_records(tmp_path)
    assert str(tmp_path) in caught.value.where and caught.value.remedy


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_records(tmp_path / "nowhere")


@quick
@given(
    tree=st.dictionaries(names, st.sets(names, min_size=1, max_size=4), min_size=1, max_size=4),
    seed=st.integers(),
)
def test_the_order_does_not_depend_on_the_disk(
    tree: dict[str, set[str]], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / f"{abs(hash((str(tree), seed)))}"
    categories = {f"c{name}" for name in tree}
    for name, files in tree.items():
        touch(root, *(f"c{name}/{file}.png" for file in files if not file.startswith(".")))
    touch(root, "good/x.png")
    plain = read_records(root)
    scandir = os.scandir

    @contextmanager
    def shuffled(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        random.Random(seed).shuffle(entries)
        yield entries

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", shuffled)
        assert read_records(root) == plain
    assert {r.category for r in plain} <= categories | {"good"}
    assert [r.key for r in plain] == sorted({r.key for r in plain})
    assert all((root / r.key) == r.image_path and r.image_path.is_file() for r in plain)
    shutil.rmtree(root)


def test_links_are_followed_and_keep_their_names(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/good").symlink_to(tmp_path / "elsewhere")
    assert [r.key for r in read_records(tmp_path / "data")] == ["good/a.png"]


def test_images_are_known_by_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.PNG", "b.jpeg", "c.TIF", "d.gif", "e", ".f.png", ".git/g.png")
    assert [p.name for p in find_images(tmp_path)] == ["a.PNG", "b.jpeg", "c.TIF"]


PIT = {"image_path": "x/b.png", "split": "test", "label": "pit", "mask_path": "m/b.png"}
GOOD = {"image_path": "x/a.png", "split": "train", "label": "good", "mask_path": ""}
ROWS = [PIT | {"roi_path": "r.png", "group": "2"}, GOOD | {"roi_path": "r.png", "group": "1"}]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    touch(tmp_path, "x/a.png", "x/b.png", "m/b.png", "r.png", "q.png")
    return tmp_path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_manifest(listed: Path, delimiter: str, encoding: str) -> None:
    write_manifest(listed / "manifest.csv", ROWS, delimiter, encoding)
    expected = [
        Record(listed / "x/a.png", "train", 0, "good", None, listed / "r.png", "1", "x/a.png"),
        Record(listed / "x/b.png", "test", 1, "pit", listed / "m/b.png", listed / "r.png", "2", "x/b.png"),
    ]
    assert read_records(listed) == expected
    assert read_records(listed / "manifest.csv") == expected


def test_cells_with_odd_line_breaks_and_quotes(listed: Path) -> None:
    group = 'a\x0bb\u2028"c", d\ne'
    write_manifest(listed / "manifest.csv", [{"image_path": "x/a.png", "group": group}])
    assert [r.group for r in read_records(listed)] == [group]


def test_columns_of_any_name(listed: Path) -> None:
    rows = [{"file": "x/a.png", "verdict": "IO", "place": "left", "roi": "q.png", "roi_path": "r.png"}]
    write_manifest(listed / "parts.csv", rows)
    columns = {"image_path": "file", "label": "verdict", "group": "place", "roi_path": "roi"}
    (record,) = read_records(listed / "parts.csv", columns=columns, good=["io"])
    assert (record.label, record.group, record.roi_path) == (0, "left", listed / "q.png")


def test_what_a_manifest_leaves_out(listed: Path) -> None:
    write_manifest(listed / "manifest.csv", [{"image_path": "x/a.png"}])
    assert read_records(listed) == [Record(listed / "x/a.png", "train", None, "", key="x/a.png")]


@pytest.mark.parametrize(
    ("text", "label"), [("0", 0), ("Good", 0), (" ok ", 0), ("1", 1), ("pit", 1), ("", None), ("  ", None)]
)
def test_labels_in_a_manifest(listed: Path, text: str, label: int | None) -> None:
    write_manifest(listed / "manifest.csv", [{"image_path": "x/a.png", "label": text}])
    assert [r.label for r in read_records(listed)] == [label]


def test_paths_may_be_absolute_climbing_or_from_windows(listed: Path) -> None:
    paths = [str(listed / "x/a.png"), "..\\x\\b.png", "../q.png"]
    write_manifest(listed / "lists/manifest.csv", [{"image_path": path} for path in paths])
    records = read_records(listed / "lists")
    assert sorted(r.image_path for r in records) == sorted(
        listed / p for p in ("x/a.png", "x/b.png", "q.png")
    )
    assert all(".." not in r.key and not r.key.startswith("/") for r in records)
    assert len({r.key for r in records}) == 3


def test_a_relative_root_gives_the_same_keys(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(listed / "manifest.csv", ROWS)
    keys = [r.key for r in read_records(listed)]
    monkeypatch.chdir(listed)
    for here in (".", "./", "manifest.csv", "x/.."):
        assert [r.key for r in read_records(here)] == keys


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_path": ""}, "line 3: no image path"),
        ({"split": "training"}, "line 3: unknown split 'training'"),
        ({"split": ""}, "unknown split"),
        ({"image_path": "x/b.png"}, "line 2 already"),
        ({"image_path": "x/../x//b.png"}, "line 2 already"),
        ({"image_path": "x/gone.png"}, "names 1 files that are not there: .*gone.png"),
        ({"mask_path": "gone.png"}, "not there"),
        ({"roi_path": "x"}, "not there"),
    ],
)
def test_a_manifest_that_is_wrong(listed: Path, change: dict[str, str], message: str) -> None:
    write_manifest(listed / "manifest.csv", [ROWS[0], ROWS[1] | change])
    with pytest.raises(UserError, match=message):
        read_records(listed)


def test_the_first_three_missing_files_and_their_count(listed: Path) -> None:
    write_manifest(listed / "manifest.csv", [{"image_path": f"gone{i}.png"} for i in range(7)])
    with pytest.raises(UserError, match="names 7 files") as caught:
        read_records(listed)
    assert [f"gone{i}" in str(caught.value) for i in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "no column 'image_path'"),
        ("image_path\n", {}, "no photographs"),
        ("image_path,label\nx/a.png\n", {}, "not 2 fields"),
        ("image_path\nx/a.png,good\n", {}, "not 1 fields"),
        ("image_path,group,group\nx/a.png,1,2\n", {}, "two columns"),
        ("image_path\nx/a.png\n", {"roi_path": "roi"}, "no column 'roi'"),
        ("image_path\nx/a.png\n", {"roi": "roi"}, "unknown column 'roi'"),
        ("path\nx/a.png\n", {}, "no column 'image_path'"),
        ('image_path\nx/a.png\n"x/b.png\nq.png\n', {}, "line 3: a quote is not closed"),
        ('image_path,label\n"x/a.png,good\nx/b.png,pit\n', {}, "line 2: a quote is not closed"),
        # Each of these would leave the second photograph out, and the first would pass for defective.
        ('image_path,label\nx/a.png,"good\nx/b.png,good\n', {}, "line 2: a quote is not closed"),
        ('image_path,label\nx/a.png,"good\nx/b.png,"good"\n', {}, "line 2: a quote is not closed"),
        ('image_path,mask_path\nx/a.png,"m/\nx/b.png"\n', {}, "line 2: a quote is not closed"),
        ('image_path,"label\nx/a.png,good\n', {}, "line 1: a quote is not closed"),
    ],
)
def test_columns_that_are_wrong(listed: Path, text: str, columns: dict[str, str], message: str) -> None:
    (listed / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_records(listed, columns=columns)


def test_a_mask_file_for_each_row_costs_each_row_the_same(
    listed: Path, calls: Callable[[Callable[[], object]], int]
) -> None:
    def cost(rows: int) -> int:
        folder = listed / str(rows)
        drawing = {"imagePath": "a.png", "imageHeight": 8, "imageWidth": 8, "shapes": []}
        names = [f"{number}" for number in range(rows)]
        touch(folder, *(f"{name}.png" for name in names))
        for name in names:
            (folder / f"{name}.json").write_text(json.dumps(drawing))
        cells = [{"image_path": f"{name}.png", "roi_path": f"{name}.json"} for name in names]
        write_manifest(folder / "manifest.csv", cells)
        return calls(lambda: read_records(folder))

    cost(1)
    assert cost(160) < 2.5 * cost(80)


def test_columns_need_a_manifest(mvtec: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.csv"):
        read_records(mvtec, columns={"group": "position"})


@quick
@given(content=st.binary(max_size=200) | st.text(",;\n\"'\tab\0image_path", max_size=120).map(str.encode))
def test_any_bytes_give_records_or_a_user_error(content: bytes, listed: Path) -> None:
    for start in (b"", b"image_path,label\nx/a.png,good\n"):
        (listed / "manifest.csv").write_bytes(start + content)
        try:
            records = read_records(listed)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert records and all(r.image_path.is_file() for r in records)


@quick
@given(rows=st.lists(
    st.fixed_dictionaries({
        "split": st.sampled_from(["train", "val", "test", "Test", "validation"]),
        "label": st.sampled_from(["good", "0", "1", "pit", ""]), "group": names,
    }), min_size=1, max_size=8), order=st.permutations(COLUMNS))  # fmt: skip
def test_a_manifest_survives_a_round_trip(
    rows: list[dict[str, str]], order: list[str], tmp_path: Path
) -> None:
    full = [{"image_path": f"{i}.png", "mask_path": "", "roi_path": ""} | row for i, row in enumerate(rows)]
    touch(tmp_path, *(row["image_path"] for row in full))
    write_manifest(tmp_path / "manifest.csv", [{name: row[name] for name in order} for row in full])
    records = {r.key: r for r in read_records(tmp_path)}
    assert set(records) == {row["image_path"] for row in full}
    for row in full:
        record = records[row["image_path"]]
        assert record.group == row["group"] and record.category == row["label"]
        assert record.split == {"validation": "val"}.get(row["split"].lower(), row["split"].lower())


DATA = Path(os.environ.get("ROINSPECT_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no photographs at {DATA} (ROINSPECT_DATA)")


@needs_data
def test_the_ball_screw() -> None:
    records = read_records(DATA / "ballscrew", columns={"group": "position"})
    assert len(records) == 621 and len({r.group for r in records}) == 9
    split_of = {r.group: r.split for r in records}
    assert all(split_of[r.group] == r.split for r in records)
    assert sum(r.label == 0 for r in records if r.split == "train") == 268
    assert all((r.mask_path is not None) == (r.label == 1) and r.roi_path for r in records)


@needs_data
def test_the_hazelnuts() -> None:
    records = read_records(DATA / "hazelnut_toy")
    counts = {(r.split, r.category): 0 for r in records}
    for record in records:
        counts[record.split, record.category] += 1
    assert counts == {("train", "good"): 28, ("test", "good"): 6, ("test", "colour"): 17}
    assert all((r.mask_path is not None) == (r.label == 1) for r in records)
