"""One table in three formats, and the commands that write it."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from roinspect import UserError
from roinspect.cli import main
from roinspect.images.pixels import image_size
from roinspect.production.tables import COLUMNS, SUFFIXES, write_table

REGION = {
    "polygon_xy": [[0.0, 1.0], [2.0, 1.0], [2.0, 3.5]],
    "box_xyxy": [0.0, 1.0, 2.0, 3.5],
    "area": 4.0,
    "score": 0.7,
}
ROWS: list[dict[str, Any]] = [
    {
        "image_path": 'a, "b"\n.png',
        "pred_score": 0.1 + 0.2,
        "is_defect": False,
        "threshold": 0.5,
        "regions": [],
    },
    {"image_path": "=ü.png", "error": "ü.png: the file is empty; take the photograph again"},
    {
        "image_path": "c.png",
        "pred_score": 0.7,
        "is_defect": True,
        "threshold": 0.5,
        "regions": [REGION, REGION],
        "overlay": "seen/c_overlay.png",
        "map": "maps/c_map.png",
        "map_factor": 1 / 65535,
    },
]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of any format, without what they have not."""
    if path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in rows]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        texts = ("image_path", "verdict", "reason", "overlay", "map", "error")
        return [
            {name: value if name in texts else json.loads(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def needs_pyarrow(suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason='the extra "scale" is not installed')


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    needs_pyarrow(suffix)
    path = tmp_path / "deep/er" / f"table{suffix}"
    write_table(path, iter(ROWS))
    assert read(path) == ROWS
    write_table(path, ROWS[:1])
    assert read(path) == ROWS[:1] and [file.name for file in path.parent.iterdir()] == [path.name]


def test_parquet_has_types_even_where_all_is_in_error(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason='the extra "scale" is not installed')
    for name, rows in (("some", ROWS), ("none", [ROWS[1]])):
        write_table(tmp_path / f"{name}.parquet", rows)
    some, none = (parquet.read_schema(tmp_path / f"{name}.parquet") for name in ("some", "none"))
    assert some == none and tuple(some.names) == COLUMNS and str(some.field("is_defect").type) == "bool"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_that_fails_half_way_leaves_the_former(suffix: str, tmp_path: Path) -> None:
    needs_pyarrow(suffix)
    path = tmp_path / f"table{suffix}"
    write_table(path, ROWS)

    def failing() -> Any:
        yield ROWS[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_table(path, failing())
    assert read(path) == ROWS and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.parquet, \.csv, \.jsonl"):
        write_table(tmp_path / "table.xlsx", ROWS)


def test_without_pyarrow_the_remedy_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "roinspect\[scale\]"'):
        write_table(tmp_path / "table.parquet", ROWS)


# -- the commands --------------------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def parts(zipper: Path, tmp_path: Path) -> Path:
    """Eight photographs, and one that is none."""
    folder = shutil.copytree(zipper / "test", tmp_path / "parts")
    (folder / "good/none.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_predict_writes_the_lines_that_it_would_print(
    suffix: str, model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_pyarrow(suffix)
    folders = ("--overlays", tmp_path / "seen", "--maps", tmp_path / "maps")
    capsys.readouterr()
    assert run("predict", model, parts, *folders) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / f"table{suffix}"
    assert run("predict", model, parts, *folders, "--out", out) == 0
    output = capsys.readouterr()
    assert read(out) == printed and len(printed) == 9
    assert "9 images" in output.out and "1 could not be read" in output.out
    assert "9 of 9 images, " in output.err and "images/s" in output.err
    assert image_size(printed[-1]["overlay"]) == image_size(printed[-1]["map"]) == (64, 64)
    assert run("predict", model, parts, *folders, "--out", out) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_predict_reads_a_csv(model: Path, parts: Path, tmp_path: Path) -> None:
    (parts / "list.csv").write_text("photo,label\ngood/000.png,good\ngone.png,good\n")
    out = tmp_path / "table.jsonl"
    assert run("predict", model, parts / "list.csv", "--columns.image_path", "photo", "--out", out) == 0
    assert ["error" in row for row in read(out)] == [False, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "table.txt"), "that ends in"),
        (("--on", "ray"), "--out"),
        (("--overwrite",), "--out"),
        (("--workers", "2", "--out", "a.csv"), "--workers"),
        (("--on", "ray", "--workers", "0", "--out", "a.csv"), "--workers"),
        (("--columns.image_path", "file"), "--columns"),
    ],
)
def test_bad_options(
    options: tuple[str, ...],
    words: str,
    model: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run("predict", model, parts, *options) == 2
    output = capsys.readouterr().err
    assert words in output and len(output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_a_table_of_errors_alone_is_written_and_is_a_fault(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.csv"
    assert run("predict", model, tmp_path / "gone.png", "--out", out) == 2
    assert len(read(out)) == 1 and "none of 1 images" in capsys.readouterr().err


def test_the_commands_export_and_predict_need_no_torch_afterwards(
    bundle: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run("export", bundle, "--to", "onnx", "--images", parts / "good/000.png", parts / "scratch_both") == 0
    )
    output = capsys.readouterr().out
    assert "no verdict changes" in output and str(bundle / "onnx/graph.onnx") in output
    # Eight synthetic images, one photograph, and those of the folder.
    shown = 9 + len(list((parts / "scratch_both").iterdir()))
    assert f"Compared on {shown} images" in output
    assert run("export", bundle, "--to", "tflite") == 2
    assert "openvino" in capsys.readouterr().err


def test_here_and_on_ray_the_table_is_the_same(
    bundle: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.data", reason='the extra "scale" is not installed')
    import roinspect.production.on_ray as on_ray

    # Shards of two, so that both processes have something to do.
    monkeypatch.setattr(on_ray, "_SHARD", 2)
    assert run("export", bundle, "--to", "onnx") == 0
    monkeypatch.chdir(tmp_path)
    local, ray = tmp_path / "local.csv", tmp_path / "ray.csv"
    folders = ("--overlays", "seen", "--maps", "maps")
    given = ("predict", bundle, "parts", *folders)
    assert run(*given, "--out", local) == 0
    pictures = {path: path.read_bytes() for path in tmp_path.glob("[sm]*/*/*")}
    for folder in ("seen", "maps"):
        shutil.rmtree(folder)
    assert run(*given, "--out", ray, "--on", "ray", "--workers", 2) == 0
    assert ray.read_bytes() == local.read_bytes()
    assert {path: path.read_bytes() for path in tmp_path.glob("[sm]*/*/*")} == pictures and len(
        pictures
    ) == 16
