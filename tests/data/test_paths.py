"""A path that no file system can hold names nothing, wherever it is typed: one line, no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roinspect.cli import main
from roinspect.data.paths import find_files, kind
from roinspect.data.records import read_records
from roinspect.errors import UserError

LONG = "x" * 300


def test_what_lies_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "to a").symlink_to("a")
    (tmp_path / "to nothing").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    names = ["", "a", "to a", "to nothing", "pipe", "a/b", LONG, "a\0", "/".join([LONG[:200]] * 40)]
    kinds = ["folder", "file", "file", "none", "other", "none", "none", "none", "none"]
    assert [kind(tmp_path / name) for name in names] == kinds


@pytest.mark.parametrize(
    "words",
    [
        ["check", LONG],
        ["check", "parts", "--roi", LONG],
        ["check", "parts", "--roi", f"{LONG}#teeth"],
        ["check", "parts", "--roi", f"{LONG}.json"],
        ["roi", "convert", LONG, "out", "--to", "masks"],
        ["roi", "convert", f"{LONG}#teeth", "out", "--to", "masks"],
        ["roi", "convert", "parts", LONG, "--to", "masks"],
        ["roi", "convert", "parts", f"{LONG}.json", "--to", "coco"],
        ["roi", "convert", "parts", "out", "--to", "masks", "--images", LONG],
        ["synth", "zipper", LONG],
    ],
)
def test_a_name_that_is_too_long(
    words: list[str], zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").symlink_to(zipper / "roi" if words[0] == "roi" else zipper)
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


@pytest.mark.parametrize("column", ["image_path", "mask_path", "roi_path"])
@pytest.mark.parametrize("cell", [LONG, f"{LONG}.json#teeth", "a\0.png"])
def test_one_in_a_manifest_is_a_missing_file(column: str, cell: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    row = {"image_path": "a.png", "mask_path": "", "roi_path": "", column: cell}
    (tmp_path / "manifest.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    with pytest.raises(UserError, match="names 1 files that are not there"):
        read_records(tmp_path)


# -- what lies below a folder


def test_hidden_files_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "A.PNG", "sub/c.png", ".d.png", ".hidden/e.png", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_files(tmp_path, {".png"})
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["A.PNG", "b.png", "sub/c.png"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    for name in ("one", "two"):
        (watched / name).mkdir(parents=True)
        (watched / name / f"{name}.png").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.png").touch()
    (watched / "linked").symlink_to(tmp_path / "elsewhere")
    (watched / "one/up").symlink_to(watched)
    (watched / "one/over").symlink_to(watched / "two")
    (watched / "two/back").symlink_to(watched / "one")
    (watched / "two/out").symlink_to(tmp_path)
    found = [path.relative_to(watched).as_posix() for path in find_files(watched, {".png"})]
    # Two ways into a folder are two places; the way back into one that it lies in is none.
    assert found == [
        "linked/far.png",
        "one/one.png",
        "one/over/out/elsewhere/far.png",
        "one/over/two.png",
        "two/back/one.png",
        "two/out/elsewhere/far.png",
        "two/two.png",
    ]
