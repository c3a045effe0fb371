"""A batch has one row for every image, whatever happens on the way."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roinspect import Inspector, UserError
from roinspect.images.pixels import image_size, write_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.prediction import Prediction
from roinspect.production.batch import BatchSummary, Rows, inspect_to_table, predictions
from roinspect.production.journal import Journal
from roinspect.production.progress import Progress
from roinspect.production.sources import list_images
from roinspect.production.tables import write_table
from roinspect.production.verdict_images import Pictures

SIZE = (8, 12)
NONE = Pictures()
TERMS = {"model": {"size_hw": SIZE}, "threshold": 0.5}


def brightness(images: Any) -> Any:
    maps = images.mean(axis=3, dtype=np.float32) / np.float32(255)
    return Prediction(
        maps.max(axis=(1, 2)), maps, np.ones((len(maps), 1, 1), np.float32), np.zeros(len(maps), np.float32)
    )


def inspector() -> Inspector:
    return Inspector(Bundle("test", {}, SIZE, Threshold(0.5, "chosen")), brightness)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty images, three of which cannot be read."""
    folder = tmp_path / "images"
    for number in range(30):
        path = folder / f"{number % 3}" / f"{number:02}.png"
        write_image(path, np.full((16, 24, 3), 8 * number, np.uint8))
        if number % 10 == 5:
            path.write_bytes(path.read_bytes()[:40])
    return folder


class Stopped(BaseException):
    """Stands for a kill."""


class Model:
    """Inspects, remembers what it was asked for, and may stop after a number of rows."""

    def __init__(self, stop_after: int = 10**9, pictures: Pictures = NONE) -> None:
        self.asked: dict[str, str] = {}
        self.left, self.pictures = stop_after, pictures

    def __call__(self, names: Mapping[str, str]) -> Rows:
        self.asked = dict(names)
        for row in predictions(inspector(), names, self.pictures):
            if not self.left:
                raise Stopped
            self.left -= 1
            yield row


def table(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_stopped_run_goes_on_where_it_was(images: Path, tmp_path: Path) -> None:
    listed, out = list_images([images]), tmp_path / "out.jsonl"
    whole = tmp_path / "whole.jsonl"
    inspect_to_table(listed, whole, Model(), TERMS, NONE)
    stopped = 0
    for rows in (0, 7, 1, 11):
        with pytest.raises(Stopped):
            inspect_to_table(listed, out, Model(rows), TERMS, NONE)
        stopped += rows
        assert not out.exists()
    last = Model()
    tally = inspect_to_table(listed, out, last, TERMS, NONE)
    assert len(last.asked) == 30 - stopped
    assert tally == BatchSummary(images=30, defective=13, errors=3)
    assert out.read_bytes() == whole.read_bytes()
    assert [row["image_path"] for row in table(out)] == list(listed)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "out.jsonl", "whole.jsonl"}


@pytest.mark.parametrize("torn", [b'{"image_pa', b"\0" * 100, b'{"image_path": "x"', b"{"])
def test_a_torn_last_line_does_not_count(images: Path, tmp_path: Path, torn: bytes) -> None:
    listed, out = list_images([images]), tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        inspect_to_table(listed, out, Model(9), TERMS, NONE)
    with (tmp_path / "out.jsonl.unfinished.jsonl").open("ab") as file:
        file.write(torn)
    rest = Model()
    inspect_to_table(listed, out, rest, TERMS, NONE)
    assert len(rest.asked) == 21
    assert [row["image_path"] for row in table(out)] == list(listed)


@pytest.mark.parametrize("length", [0, 1, 30, 10**6])
def test_a_journal_cut_anywhere_gives_the_same_table(images: Path, tmp_path: Path, length: int) -> None:
    listed, out = list_images([images]), tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        inspect_to_table(listed, out, Model(9), TERMS, NONE)
    unfinished = tmp_path / "out.jsonl.unfinished.jsonl"
    unfinished.write_bytes(unfinished.read_bytes()[:length])
    inspect_to_table(listed, out, Model(), TERMS, NONE)
    assert [row["image_path"] for row in table(out)] == list(listed)


def test_a_foreign_file_is_not_touched(images: Path, tmp_path: Path) -> None:
    out, unfinished = tmp_path / "out.jsonl", tmp_path / "out.jsonl.unfinished.jsonl"
    for content in (b"notes of mine", b'{"a": 1}\nnotes\n{"b": 2}\n'):
        unfinished.write_bytes(content)
        with pytest.raises(UserError, match="something other than rows"):
            inspect_to_table(list_images([images]), out, Model(), TERMS, NONE)
        assert unfinished.read_bytes() == content


def test_rows_of_another_model_are_not_mixed_in(images: Path, tmp_path: Path) -> None:
    listed, out = list_images([images]), tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        inspect_to_table(listed, out, Model(9), TERMS, NONE)
    other = {**TERMS, "threshold": 0.6}
    with pytest.raises(UserError, match="another model, threshold"):
        inspect_to_table(listed, out, Model(), other, NONE)
    second = Model()
    inspect_to_table(listed, out, second, other, NONE, overwrite=True)
    assert len(second.asked) == 30


def test_a_table_that_is_there_is_not_overwritten(images: Path, tmp_path: Path) -> None:
    listed, out = list_images([images]), tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        inspect_to_table(listed, out, Model(), TERMS, NONE)
    with pytest.raises(Stopped):
        inspect_to_table(listed, out, Model(5), TERMS, NONE, overwrite=True)
    assert out.read_text() == "mine"
    rest = Model()
    # The same command resumes; it does not start over each time.
    inspect_to_table(listed, out, rest, TERMS, NONE, overwrite=True)
    assert len(rest.asked) == 25 and out.read_text().startswith("image_path,")


def test_two_runs_do_not_write_one_table(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    listed, out = list_images([images]), tmp_path / "out.jsonl"

    def meanwhile(names: Mapping[str, str]) -> Rows:
        with pytest.raises(UserError, match="another run"):
            inspect_to_table(listed, out, Model(), TERMS, NONE)
        yield from Model()(names)

    assert inspect_to_table(listed, out, meanwhile, TERMS, NONE).images == 30


def test_rows_in_any_order_make_the_same_table(images: Path, tmp_path: Path) -> None:
    def shuffled(names: Mapping[str, str]) -> Rows:
        rows = list(Model()(names))
        for place in np.random.default_rng(0).permutation(len(rows)):
            yield rows[place]

    listed = list_images([images])
    inspect_to_table(listed, tmp_path / "a.csv", Model(), TERMS, NONE)
    inspect_to_table(listed, tmp_path / "b.csv", shuffled, TERMS, NONE)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_pictures_keep_their_names_and_are_not_inspected(images: Path, tmp_path: Path) -> None:
    write_image(images / "0/00.jpg", np.full((16, 24, 3), 99, np.uint8))
    pictures = Pictures(overlays=images / "seen", maps=images)

    def listed() -> dict[str, str]:
        return list_images([images], ignored=pictures.owns)

    out = tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        inspect_to_table(listed(), out, Model(4, pictures), TERMS, pictures)
    # One that comes in between must not take another's picture.
    write_image(images / "0/00.bmp", np.full((20, 10, 3), 99, np.uint8))
    inspect_to_table(listed(), out, Model(pictures=pictures), TERMS, pictures)
    rows = table(out)
    assert len(rows) == 32
    for name in ("overlay", "map"):
        written = [row[name] for row in rows if "error" not in row]
        assert len(set(written)) == len(written) == 29
        for row in rows:
            if "error" not in row:
                assert image_size(row[name]) == image_size(row["image_path"])


# -- what is inspected ---------------------------------------------------------------------------------------


def test_a_csv_names_images_which_need_not_be_there(images: Path, tmp_path: Path) -> None:
    names = ["0/00.png", "missing.png", "0/00.png", str(images / "1/01.png")]
    (images / "parts.csv").write_text("label;file\n" + "".join(f"good;{name}\n" for name in names))
    listed = list_images([images / "parts.csv"], columns={"image_path": "file"})
    assert list(listed.items()) == [
        (str(images / "0/00.png"), "0/00"),
        (str(images / "missing.png"), "missing"),
        (str(images / "1/01.png"), "1/01"),
    ]
    inspect_to_table(listed, tmp_path / "out.jsonl", Model(), TERMS, NONE)
    assert ["error" in row for row in table(tmp_path / "out.jsonl")] == [False, True, False]


@pytest.mark.parametrize(
    ("content", "columns", "words"),
    [
        ("file\na.png", {}, "image_path"),
        ("image_path\n", {}, "no images found"),
        ("image_path,x\n,1\n", {}, "no image path"),
        (None, {"image_path": "file"}, "--columns"),
    ],
)
def test_bad_sources(content: str | None, columns: dict[str, str], words: str, tmp_path: Path) -> None:
    given = tmp_path / ("parts.csv" if content is not None else "part.png")
    given.write_text(content or "")
    with pytest.raises(UserError, match=words):
        list_images([given], columns=columns)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_in_a_log() -> None:
    stream = io.StringIO()
    with Progress(1000, 400, stream) as progress:
        for number in range(600):
            progress.step(is_error=number < 2)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("1,000 of 1,000 images, ") and line.endswith("images/s, 2 not inspected")


def test_progress_is_redrawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(10, 4, stream) as progress:
        progress.step(is_error=False)
    text = stream.getvalue()
    assert "4 of 10 images" in text and "5 of 10 images" in text and text.count("\n") <= 2


# -- with real processes ----------------------------------------------------------------------------------

PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_batch as t
model = t.Model()
def slowly(names):
    for row in model(names):
        time.sleep(0.004)
        yield row
out = Path(sys.argv[3])
t.inspect_to_table(t.list_images([Path(sys.argv[2])]), out, slowly, t.TERMS, t.NONE)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_again_and_again_it_has_every_row_once(images: Path, tmp_path: Path) -> None:
    for number in range(30, 120):
        write_image(images / f"{number}.png", np.full((16, 24, 3), number, np.uint8))
    out = tmp_path / "out.csv"
    unfinished = tmp_path / "out.csv.unfinished.jsonl"
    words = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(images), str(out)]
    kills = before = 0

    def size() -> int:
        try:
            return unfinished.stat().st_size
        except FileNotFoundError:
            return 0

    while not out.exists() or unfinished.exists():
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        # Killed at another place of a row each time, but not before it has written some.
        while process.poll() is None and size() < before + 3000:
            time.sleep(0.002)
        time.sleep(0.0013 * (kills % 7))
        process.kill()
        process.wait()
        before = size()
        kills += 1
        assert kills < 40
    assert kills > 3
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_path"] for row in rows] == list(list_images([images]))
    assert sum(bool(row["error"]) for row in rows) == 3


def test_a_row_is_with_the_system_before_the_next_image(images: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "out.jsonl.unfinished.jsonl"
    seen = []

    def watching(names: Mapping[str, str]) -> Rows:
        for row in Model()(names):
            seen.append(len(unfinished.read_bytes().splitlines()) - 1 if unfinished.exists() else 0)
            yield row

    inspect_to_table(list_images([images]), tmp_path / "out.jsonl", watching, TERMS, NONE)
    assert seen == list(range(30))


def test_a_full_disk_is_reported_and_loses_nothing(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = list_images([images]), tmp_path / "out.jsonl"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            inspect_to_table(listed, out, Model(), TERMS, NONE)
    assert not out.exists()
    inspect_to_table(listed, out, Model(), TERMS, NONE)
    assert [row["image_path"] for row in table(out)] == list(listed)


def test_an_image_is_inspected_once_however_it_is_written(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = Path("images/0/00.png")
    listed = list_images([one, images / "0/00.png", Path("images/../images/0/00.png"), Path("images/0")])
    assert len(listed) == 10 and next(iter(listed)) == str(one)
    # A run that is continued with another spelling has no row twice either.
    with pytest.raises(Stopped):
        inspect_to_table(list_images([Path("images")]), Path("out.jsonl"), Model(7), TERMS, NONE)
    rest = Model()
    assert inspect_to_table(list_images([images]), Path("out.jsonl"), rest, TERMS, NONE).images == 30
    assert len(rest.asked) == 23


def test_pictures_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parts.csv").write_text("image_path\n../elsewhere/a.png\n../../b.png\nsub/c.png\n")
    assert list(list_images([Path("parts.csv")]).values()) == ["a", "b", "sub/c"]


OLD_NAME = os.fsdecode(b"caf\xe9.png")
"""Of a disk whose names are no UTF-8."""


def test_a_name_of_an_old_disk_has_its_row_in_text(tmp_path: Path) -> None:
    rows = [{"image_path": OLD_NAME, "error": f"{OLD_NAME}: cut off"}]
    write_table(tmp_path / "out.csv", rows)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["image_path"] == r"caf\udce9.png"
    write_table(tmp_path / "out.jsonl", rows)
    assert table(tmp_path / "out.jsonl") == rows


def test_a_name_of_an_old_disk_has_its_row_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason='the extra "scale" is not installed')
    write_table(tmp_path / "out.parquet", [{"image_path": OLD_NAME, "error": f"{OLD_NAME}: cut off"}])
    assert parquet.read_table(tmp_path / "out.parquet")["error"][0].as_py() == r"caf\udce9.png: cut off"


def test_a_run_that_ends_meanwhile_takes_no_journal_of_another(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out, lock, looks = list_images([images]), tmp_path / "out.jsonl", Journal._lock, iter(range(9))

    def other_ends(journal: Journal, file: Any) -> None:
        lock(journal, file)
        if next(looks) == 0:
            journal.path.unlink()

    monkeypatch.setattr(Journal, "_lock", other_ends)
    with pytest.raises(Stopped):
        inspect_to_table(listed, out, Model(9), TERMS, NONE)
    rest = Model()
    inspect_to_table(listed, out, rest, TERMS, NONE)
    assert len(rest.asked) == 21, "what was done is not lost"

    def other_finishes(journal: Journal, file: Any) -> None:
        lock(journal, file)
        out.write_text("its table")

    out.unlink()
    monkeypatch.setattr(Journal, "_lock", other_finishes)
    with pytest.raises(UserError, match="already exists"):
        inspect_to_table(listed, out, Model(), TERMS, NONE)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "out.jsonl"}
