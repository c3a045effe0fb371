"""Corrections: all are kept with who and when, the last counts, and no fault loses one."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.review.corrections import (
    Corrections,
    add_corrections,
    correction,
    latest,
    read_corrections,
    store_of,
)


def test_the_last_word_on_a_part_counts_and_all_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    assert read_corrections(path) == [] and not path.exists()
    add_corrections(
        path, correction("a.png", "good", "Anna"), correction("b.png", "defective", "Anna", kind="dent")
    )
    add_corrections(
        path, correction("a.png", "Defective", "  Bela   B. "), correction("b.png", "unknown", "Anna")
    )
    entries = read_corrections(path)
    assert [(one.part, one.truth, one.by) for one in entries] == [
        ("a.png", "good", "Anna"),
        ("b.png", "defective", "Anna"),
        ("a.png", "defective", "Bela B."),
        ("b.png", "unknown", "Anna"),
    ]
    assert {photograph: one.by for photograph, one in latest(entries).items()} == {("a.png", None): "Bela B."}
    assert all(one.time.endswith("+00:00") for one in entries)


def test_an_overwritten_photograph_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    add_corrections(
        path,
        correction("a.png", "good", "Anna", state=(10, 1)),
        correction("a.png", "defective", "Anna", state=(10, 2)),
    )
    assert [one.truth for one in latest(read_corrections(path)).values()] == ["good", "defective"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"truth": "bad"}, "unknown truth 'bad'; write good or defective, or unknown"),
        ({"truth": ""}, "unknown truth ''"),
        ({"by": "  "}, "who says so is missing; fill in the column by, or pass --by NAME"),
        ({"kind": "dent"}, "'dent' is no kind of defect of a part that is good"),
        ({"truth": "defective", "kind": "ok"}, "'ok' is no kind of defect"),
        ({"time": "noon"}, "'noon' is no time"),
        ({"time": "0001-01-01T00:00+10:00"}, "'0001-01-01T00:00+10:00' is no time"),
    ],
)
def test_what_cannot_be_a_correction_is_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as error:
        correction(**({"part": "a.png", "truth": "good", "by": "Anna", "where": "t.csv, line 3"} | values))
    assert str(error.value).startswith("t.csv, line 3: ") and words in str(error.value)


def test_a_time_keeps_its_moment_in_any_zone() -> None:
    assert correction("a", "good", "A", time="2026-11-28T14:00+02:00").time == "2026-11-28T12:00:00.000+00:00"
    assert correction("a", "good", "A", time="2026-11-28").time == "2026-11-28T23:59:59.999+00:00"


def test_the_file_lies_beside_the_results() -> None:
    assert store_of(Path("line/r.jsonl")) == Path("line/r.jsonl.corrections.jsonl")


def test_a_line_cut_off_by_a_power_cut_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    add_corrections(path, correction("a.png", "good", "Anna"))
    with path.open("ab") as file:
        file.write(b'{"part": "b.png", "tru')
    assert [one.part for one in read_corrections(path)] == ["a.png"]
    add_corrections(path, correction("c.png", "good", "Anna"))
    assert [one.part for one in read_corrections(path)] == ["a.png", "c.png"]


@pytest.mark.parametrize(
    "row",
    [
        {"part": "a"},
        {"part": "a", "truth": "bad", "by": "A"},
        {"part": "a", "truth": "good"},
        {"part": "", "truth": "good", "by": "A"},
        {"part": "a", "truth": "good", "by": "A", "state": [1]},
        {"part": "a", "truth": "good", "by": 3},
        {"part": "a", "truth": "good", "by": "A", "time": "noon"},
        {"image_path": "a", "verdict": "good"},
    ],
)
def test_a_file_of_something_else_is_neither_read_nor_written(tmp_path: Path, row: dict[str, object]) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"line 1: is not a correction"):
        read_corrections(path)
    with pytest.raises(UserError, match="is not a correction"):
        Corrections(path)
    assert path.read_text() == json.dumps(row) + "\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_on_a_full_disk_nothing_that_was_kept_is_lost(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "c.jsonl"
    add_corrections(path, correction("a.png", "good", "Anna"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(UserError, match=r"c\.jsonl: cannot be written .*; free space"):
            add_corrections(path, correction("b.png", "good", "Anna"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.part for one in read_corrections(path)] == ["a.png"]
    add_corrections(path, correction("b.png", "good", "Anna"))
    assert [one.part for one in read_corrections(path)] == ["a.png", "b.png"]


def _add(path: Path, name: str) -> None:
    for number in range(20):
        add_corrections(path, correction(f"{name}{number}.png", "good", name))


def test_two_processes_that_add_at_once_wait_for_each_other(tmp_path: Path) -> None:
    path, spawn = tmp_path / "c.jsonl", multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_add, args=(path, name)) for name in ("Anna", "Bela")]
    for one in others:
        one.start()
    for one in others:
        one.join(60)
        assert one.exitcode == 0
    entries = read_corrections(path)
    assert len(entries) == 40 and {one.by for one in entries} == {"Anna", "Bela"}
