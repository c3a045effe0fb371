"""Results of benchmarks: one schema, files that a script reads, and the tables in the docs that show them."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from results import FOLDER, NotMeasuredError, Results, Run, where  # noqa: E402
from tables import filled, stale  # noqa: E402

FILES = sorted(FOLDER.iterdir())
KEYS = [field.name for field in dataclasses.fields(Run)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_line_is_a_run(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        run: dict[str, Any] = json.loads(line)
        assert list(run) == KEYS
        assert run["benchmark"] == file.stem
        assert isinstance(run["settings"], dict)
        assert run["seed"] is None or type(run["seed"]) is int
        assert isinstance(run["measures"], dict) and run["measures"]
        assert "cores, torch " in run["machine"]
        assert datetime.date.fromisoformat(run["date"]) >= datetime.date(2026, 1, 1)
        assert all(isinstance(version, str) for version in run["versions"].values())
        # Infinity and NaN are no JSON.
        json.dumps(run, allow_nan=False)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_script_of_the_same_name_reads_it(file: Path) -> None:
    assert file.suffix == ".jsonl"
    script = BENCHMARKS / f"{file.stem}.py"
    assert f'Results("{file.stem}")' in script.read_text(encoding="utf-8")


def test_the_tables_in_the_docs_are_those_of_the_results() -> None:
    pytest.importorskip("torch")
    command = [sys.executable, str(BENCHMARKS / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_table_that_differs_is_named(tmp_path: Path) -> None:
    docs = tmp_path / "page.md"
    docs.write_text("<!-- a -->\nold\n<!-- /a -->\n<!-- b -->\nsame\n<!-- /b -->\n")
    assert stale(docs, {"a": lambda: "new", "b": lambda: "same"}) == ["a"]


def test_a_table_without_results_stays_as_it_is(tmp_path: Path) -> None:
    text = "<!-- a -->\nold\n<!-- /a -->\n"
    assert filled(text, {"a": lambda: where(Results("none", tmp_path).read())}) == text


@pytest.fixture
def results(tmp_path: Path) -> Results:
    pytest.importorskip("torch")
    return Results("toy", tmp_path / "results")


def test_what_is_appended_is_read(results: Results) -> None:
    run = results.append({"set": "zipper"}, {"auroc": 0.9}, seed=1, packages=["numpy"])
    assert Results("toy", results.file.parent).read() == [run]
    assert run.date == datetime.date.today().isoformat() and set(run.versions) == {"numpy"}
    assert results.read(set="zipper") == [run] and results.read(set="bottle") == []


def test_a_benchmark_goes_on_where_it_stopped(results: Results) -> None:
    assert not results.has({"set": "zipper"}, 0)
    results.append({"set": "zipper"}, {"auroc": 0.9}, seed=0)
    assert results.has({"set": "zipper"}, 0)
    assert not results.has({"set": "zipper"}, 1)
    assert not results.has({"set": "zipper", "size": 64}, 0)


def test_a_later_run_replaces_an_earlier_one_in_its_row(results: Results) -> None:
    results.append({"set": "zipper"}, {"auroc": 0.8})
    results.append({"set": "bottle"}, {"auroc": 0.7})
    results.append({"set": "zipper"}, {"auroc": 0.9})
    assert [run.measures["auroc"] for run in results.read()] == [0.9, 0.7]
    assert results.latest().measures["auroc"] == 0.9


def test_what_json_cannot_hold_is_kept_as_null(results: Results) -> None:
    results.append({}, {"shares": [float("nan"), 1.0], "most": float("inf")})
    assert results.latest().measures == {"shares": [None, 1.0], "most": None}


def test_a_run_is_one_line_whatever_its_text(results: Results) -> None:
    results.append({"set": "a\nb\u2028c"}, {"auroc": 0.9})
    results.append({"set": "zipper"}, {"auroc": 0.9})
    assert [run.settings["set"] for run in results.read()] == ["a\nb\u2028c", "zipper"]


def test_no_run_is_no_result(results: Results) -> None:
    with pytest.raises(NotMeasuredError):
        results.latest(set="zipper")
    with pytest.raises(NotMeasuredError):
        where([])
