"""`roinspect review`: from the results of a line to figures, a threshold and the next training."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")

from roinspect.cli import main
from roinspect.inspection.bundle import bundle_version, read_bundle
from roinspect.review.corrections import read_corrections, store_of


@pytest.fixture(scope="module")
def inspected(model: Path, zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `predict` wrote, with the times and the version that `watch` adds."""
    out = tmp_path_factory.mktemp("line") / "r.jsonl"
    assert main(["predict", str(model), str(zipper / "test"), "--out", str(out), "--self-test", "off"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"time": f"2026-11-20T06:00:{number:02}+00:00", "model_version": bundle_version(model)}
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


@pytest.fixture
def results(inspected: Path, tmp_path: Path) -> Path:
    path = tmp_path / "r.jsonl"
    path.write_bytes(inspected.read_bytes())
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("part,truth\ngood/000.png,good\ngood/001.png,good\n")
    return path


def test_corrections_figures_a_draw_and_the_threshold_in_one_run(
    model: Path, results: Path, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["review", str(model), str(results), "--correct", str(csv), "--by", "Anna B."]
    words += ["--since", "2026-11-20", "--until", "2026-11-20", "--false-reject", "20%"]
    drawing = ["--draw", "2", "--draw-of", "rejected", "--seed", "3"]
    assert main([*words, "--json", str(tmp_path / "f.json"), *drawing]) == 0
    said = capsys.readouterr().out
    assert "2 new corrections." in said and "Looked at by people: 2 of these parts (Anna B. 2)." in said
    assert f"Version {bundle_version(model)} (the bundle)" in said and "Drawn with seed 3" in said
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["looked_at"] == {"Anna B.": 2} and figures["proposal"]["false_reject"] == 0.2
    assert [one.by for one in read_corrections(store_of(results))] == ["Anna B.", "Anna B."]
    # The proposed command does what it says.
    found = re.search(r"To set it: roinspect (calibrate .* --threshold (\S+))", said)
    assert found is not None and float(found[2]) == figures["proposal"]["threshold"]["value"]
    assert main(words) == 0
    assert "0 new corrections, 2 known already" in capsys.readouterr().out


def test_the_proposed_threshold_can_be_set(
    model: Path, results: Path, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    bundle = tmp_path / "m 2"
    shutil.copytree(model, bundle)
    assert main(["review", str(bundle), str(results), "--correct", str(csv), "--by", "Anna"]) == 0
    found = re.search(r"To set it: roinspect (.*)", capsys.readouterr().out)
    assert found is not None and main(shlex.split(found[1])) == 0
    assert read_bundle(bundle).threshold.value == float(found[1].split()[-1])


def test_the_next_training_set_is_written_with_the_data(
    model: Path, results: Path, csv: Path, zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "next set"
    words = ["review", str(model), str(results), "--training-set", str(out), "--data", str(zipper)]
    assert main([*words, "--correct", str(csv), "--by", "Anna"]) == 0
    said = capsys.readouterr().out
    found = re.search(r"To train: (.*)", said)
    assert found is not None and shlex.split(found[1])[2] == str(out / "manifest.csv")
    assert f"The next training set is {out / 'manifest.csv'}: 20 photographs of the data and 0 new" in said
    assert "2 looked-at photographs are in the data already, with this label" in said
    assert main(words) == 2
    assert "exists already, and is not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("part,truth\nx.png,good\n", ["--by", "A"], "t.csv, line 2: no part is called x.png"),
        ("part,truth\ngood/000.png,fine\n", ["--by", "A"], "t.csv, line 2: unknown truth 'fine'"),
        ("part,truth\ngood/000.png,good\n", [], "t.csv, line 2: who says so is missing"),
        ("part,truth\n000.png,good\n", ["--by", "A"], "t.csv, line 2: 000.png could be "),
        ("part,truth\n", ["--by", "A", "--since", "soon"], "--since: 'soon' is no date"),
        ("part,truth\n", ["--by", "A", "--until", "2020-01-01"], "no row is of this period"),
        ("part,truth\n", ["--by", "A", "--false-reject", "2"], "--false-reject: must be"),
        ("part,truth\n", ["--by", "A", "--draw", "0"], "--draw: must be at least 1"),
        ("part,truth\n", ["--by", "A", "--columns.part", "teil"], "t.csv: has no column 'teil'"),
    ],
)
def test_bad_input_is_one_line_and_keeps_nothing(
    model: Path,
    results: Path,
    csv: Path,
    content: str,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    csv.write_text(content)
    assert main(["review", str(model), str(results), "--correct", str(csv), *options]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and said.startswith("roinspect: ")
    assert read_corrections(store_of(results)) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "Anna"], "--by: goes with --correct; give both"),
        (["--draw-to", "d.csv"], "--draw-to: goes with --draw; give both"),
        (["--data", "parts"], "--data: goes with --training-set; give both"),
    ],
)
def test_an_option_that_needs_another_says_so(
    model: Path, results: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(model), str(results), *options]) == 2
    assert capsys.readouterr().err == f"roinspect: {words}\n"


def test_a_drawn_name_that_is_not_utf8_is_printed_escaped(
    model: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    rows = [row | {"image_path": f"{number}\udcff.png"} for number, row in enumerate(rows)]
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["review", str(model), str(results), "--draw", "99"]) == 0
    assert "\\udcff.png\n" in capsys.readouterr().out


def test_results_without_scores_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("image_path,verdict\na.png,good\n")
    assert main(["review", str(model), str(path)]) == 2
    said = capsys.readouterr().err
    assert "line 2: has no pred_score" in said and said.count("\n") == 1
