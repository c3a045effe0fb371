"""Results of the line, in whatever file: read whole, or refused with the line."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from roinspect.errors import UserError
from roinspect.production.delivery import identified
from roinspect.production.tables import write_table
from roinspect.review.rows import read_results

from .fakes import row, write_rows


def test_rows_of_a_watch_are_read_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "r.jsonl",
        [row("in/b.png", 0.9), row("in/a.png", None), row("in/c.png", 0.1, verdict="not inspectable")],
    )
    found = read_results(path)
    assert [(one.line, one.part, one.verdict) for one in found] == [
        (1, "in/b.png", "defective"),
        (2, "in/a.png", None),
        (3, "in/c.png", "not inspectable"),
    ]
    assert found[0].score == 0.9 and math.isnan(found[1].score)
    assert found[0].id == identified(row("in/b.png", 0.9), found[0].version)["id"]


def test_the_row_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "r.jsonl", [row("a.png", 0.1)])
    with path.open("a") as file:
        file.write('{"image_path": "b.png", "verd')
    assert [one.part for one in read_results(path)] == ["a.png"]


def test_a_table_of_predict_says_the_same_as_lines(tmp_path: Path) -> None:
    rows = [
        {k: v for k, v in row(f"{n}.png", n / 4).items() if k not in ("bytes", "mtime_ns")} for n in range(4)
    ]
    rows.append({"image_path": "x.png", "error": "x.png: cut off"})
    for name in ("t.csv", "t.jsonl"):
        write_table(tmp_path / name, rows)
    table, lines = (read_results(tmp_path / name) for name in ("t.csv", "t.jsonl"))
    assert [(a.part, a.verdict) for a in table] == [(b.part, b.verdict) for b in lines]
    assert [a.score for a in table[:4]] == [b.score for b in lines[:4]] == [0.0, 0.25, 0.5, 0.75]
    assert table[0].version == "" and table[0].id == "" and table[0].time is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pred_score": None}, "line 2: has no pred_score"),
        ({"pred_score": "much"}, "line 2: has no pred_score"),
        ({"pred_score": math.nan}, "line 2: has no pred_score"),
        ({"threshold": None}, "line 2: has no threshold"),
        ({"verdict": "fine"}, "line 2: verdict 'fine' is none of good, defective, not inspectable"),
        ({"verdict": None}, "line 2: verdict None is none"),
        ({"image_path": ""}, "line 2: has no image_path"),
        ({"time": "yesterday"}, "line 2: 'yesterday' is no time"),
    ],
)
def test_a_row_without_what_is_needed_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write_rows(tmp_path / "r.jsonl", [row("a.png", 0.1), row("b.png", 0.1) | change])
    with pytest.raises(UserError) as error:
        read_results(path)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_table_without_scores_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_path", "verdict"], ["a.png", "good"]])
    with pytest.raises(UserError, match=r"line 2: has no pred_score; a review needs score and threshold"):
        read_results(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.jsonl", "", "holds no results"),
        ("r.jsonl", "[1]\n", "contains something other than rows"),
        ("r.txt", "", "is no results file"),
        ("r.parquet", "", "is no results file"),
        ("r.csv", "\xff\xfe", "cannot be read"),
        (None, "", "cannot be read"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str | None, content: str, words: str) -> None:
    path = tmp_path / (name or "missing.jsonl")
    if name is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        read_results(path)
