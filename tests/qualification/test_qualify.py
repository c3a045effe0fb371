"""From a plan to a folder of results, through the command line."""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect.cli import main
from roinspect.inspection import inspector as inspector_module
from roinspect.inspection.bundle import (
    Threshold,
    photograph_digest,
    read_held_out,
    read_trained_on,
    replace_threshold,
)

PLAN = """\
title: Zippers <line 1>
intended_use: Rejects zippers with damaged teeth & straps.
written_by: A. Example
written_on: 2026-11-20
bundle: model
tests:
  - data: challenge
repeatability: {photographs: 4, threads: [1]}
robustness:
  photographs: 4
  strengths: {brightness: [0.1], contrast: [], blur: [1], shift: [], rotation: [], jpeg: [], noise: []}
limits:
"""
LENIENT = "  without_verdict: 0\n  score_difference: 0.001\n  equal_verdicts: true\n"


@pytest.fixture(scope="module")
def workshop(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that rejects about half of what it sees, and photographs that it was not trained on."""
    from roinspect import Inspector
    from roinspect.synthetic.products import write_dataset

    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(model, folder / "model")
    write_dataset("zipper", folder / "challenge", count=20, seed=5, size_hw=(64, 64))
    shutil.rmtree(folder / "challenge/train")
    photographs = sorted((folder / "challenge/test").rglob("*.png"))
    scores = [Inspector.load(folder / "model").inspect(path).pred_score for path in photographs]
    replace_threshold(folder / "model", Threshold(sorted(scores)[len(scores) // 2] * 0.999, "half"))
    return folder


@pytest.fixture
def bench(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change, as the current folder."""
    folder = tmp_path / "bench"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    return folder


def run(folder: Path, limits: str = LENIENT, plan: str = PLAN) -> int:
    (folder / "plan.yaml").write_text(plan + limits, encoding="utf-8")
    return main(["qualify", "plan.yaml"])


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "plan.qualification/qualification.json").read_text())
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "plan.qualification/photographs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_plan_that_is_met_ends_with_0_and_one_that_is_not_with_1(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bench) == 0
    assert "The plan is met." in capsys.readouterr().out
    found = figures(bench)
    assert found["met"] is True
    assert [criterion["name"] for criterion in found["criteria"]] == [
        "without_verdict",
        "equal_verdicts",
        "score_difference",
    ]
    shutil.rmtree(bench / "plan.qualification")
    assert run(bench, "  detection_rate: 0.99\n") == 1
    printed = capsys.readouterr()
    assert "NOT MET  detection_rate" in printed.out and "299 would do" in printed.out
    assert "limits.detection_rate" in printed.err and "are too few, even without an error" in printed.err
    assert figures(bench)["met"] is False


def test_the_figures_agree_with_the_rows(bench: Path) -> None:
    assert run(bench) == 0
    found, table = figures(bench), rows(bench)
    counts = found["counts"]
    assert counts["photographs"] == len(table) == len(list((bench / "challenge/test").rglob("*.png")))
    defective = [row for row in table if row["label"] == "1"]
    good = [row for row in table if row["label"] == "0"]
    assert (counts["detection"]["parts"], counts["false_reject"]["parts"]) == (len(defective), len(good))
    assert counts["detection"]["found"] == sum(row["verdict"] == "defective" for row in defective)
    assert counts["escape"]["found"] == sum(row["verdict"] == "good" for row in defective)
    assert counts["false_reject"]["found"] == sum(row["verdict"] != "good" for row in good)
    assert all(float(row["defect_width_px"]) > 0 for row in defective)
    # A zipper damaged outside the region only is good.
    assert any("outside" in row["key"] for row in good)
    assert {way["name"] for way in found["repeated"]} == {"again", "1 thread"}
    assert set(found["runtimes_missing"]) == {"openvino", "onnxruntime", "torchscript"}
    assert {one["kind"] for one in found["disturbances"]} == {"brightness", "blur"}
    assert found["plan"]["title"] == "Zippers <line 1>"
    assert found["agreement"] is None and found["knapp"] is None


def test_the_report_is_one_file_without_anything_from_elsewhere(bench: Path) -> None:
    assert run(bench) == 0
    page = (bench / "plan.qualification/qualification.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "Zippers &lt;line 1&gt;" in page and "Zippers <line 1>" not in page
    assert "damaged teeth &amp; straps" in page
    tables = re.findall(r"Table (\d+)\.", page)
    assert tables == [str(number) for number in range(1, len(tables) + 1)] and len(tables) > 7
    assert re.findall(r"Figure (\d+)\.", page)[-1:] in (["1"], ["2"])
    assert page.count("<tr><th>") >= 3 and "Approved by" in page
    assert "break-before: page" in page and "@page" in page
    assert (bench / "plan.qualification/plan.yaml").read_text() == PLAN + LENIENT


@pytest.mark.parametrize("read_known", [read_trained_on, read_held_out])
def test_a_test_on_photographs_of_the_training_is_refused_and_names_them(
    bench: Path,
    zipper: Path,
    capsys: pytest.CaptureFixture[str],
    read_known: Callable[[Path], frozenset[str]],
) -> None:
    digests = read_known(bench / "model")
    known = next(path for path in (zipper / "train/good").iterdir() if photograph_digest(path) in digests)
    shutil.copy(known, bench / "challenge/test/good/known.png")
    shutil.copy(zipper / "roi/train/good" / known.name, bench / "challenge/roi/test/good/known.png")
    assert run(bench) == 2
    error = capsys.readouterr().err
    assert "1 of " in error and "were used in training: challenge/test/good/known.png" in error
    assert not (bench / "plan.qualification").exists()


def test_the_same_photograph_twice_is_refused(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = min((bench / "challenge/test/good").iterdir())
    for root in ("challenge/test/good", "challenge/roi/test/good"):
        shutil.copy(bench / root / first.name, bench / root / "zz.png")
    assert run(bench) == 2
    assert "zz.png: is the same photograph as challenge/test/good" in capsys.readouterr().err


def test_an_unreadable_photograph_has_a_row_and_counts_against_the_machine(bench: Path) -> None:
    good = sorted((bench / "challenge/test/good").iterdir())
    bad = sorted(path for path in (bench / "challenge/test").rglob("*.png") if "inside" in path.parent.name)
    good[0].write_bytes(b"")
    bad[0].write_bytes(bad[0].read_bytes()[:80])
    assert run(bench) == 1
    found = figures(bench)
    broken = [row for row in rows(bench) if row["error"]]
    assert {row["key"] for row in broken} == {
        path.relative_to(bench / "challenge").as_posix() for path in (good[0], bad[0])
    }
    assert all(row["verdict"] == "" and row["pred_score"] == "" and row["right"] == "no" for row in broken)
    assert found["counts"]["without_verdict"] == 2
    names = {part["name"] for part in found["wrong_parts"]}
    assert {row["key"] for row in broken} <= names
    assert found["criteria"][0]["found"].startswith("2 of ")
    assert any("2 photographs could not be inspected" in remark for remark in found["remarks"])


def write_looks(folder: Path, parts: list[str], leave_out: int | None = None) -> None:
    lines = [
        f"{part},{inspector},{look},{'reject' if 'good' not in part else 'accept'}"
        for part in parts
        for inspector in ("Anna", "Bela")
        for look in (1, 2)
    ]
    if leave_out is not None:
        del lines[leave_out]
    (folder / "looks.csv").write_text("\n".join(["part,inspector,look,verdict", *lines]) + "\n")


def test_inspectors_are_compared_with_the_machine(bench: Path) -> None:
    chosen = [
        path.relative_to(bench / "challenge").as_posix()
        for path in sorted((bench / "challenge/test").rglob("*.png"))
        if path.parent.name == "good" or "inside" in path.parent.name
    ]
    write_looks(bench, chosen)
    limits = "  knapp: true\n  kappa: 0.01\nlooks: looks.csv\n"
    assert run(bench, limits) in (0, 1)
    found, table = figures(bench), {row["key"]: row for row in rows(bench)}
    study = found["agreement"]
    assert [one["name"] for one in study["appraisers"]] == ["Anna", "Bela", "machine"]
    assert study["appraisers"][0]["kappa"]["value"] == 1.0
    right = sum(table[key]["right"] == "yes" for key in chosen) / len(chosen)
    assert study["appraisers"][2]["effectiveness"]["value"] == pytest.approx(right)
    defective = [key for key in chosen if "good" not in key]
    caught = sum(table[key]["verdict"] == "defective" for key in defective) / len(defective)
    assert found["knapp"]["manual"] == 1.0
    assert found["knapp"]["machine"] == pytest.approx(caught)
    assert found["knapp_passed"] is (caught == 1)


def test_missing_looks_are_refused_before_anything_is_inspected(
    bench: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_looks(bench, ["test/good/000.png"], leave_out=3)
    monkeypatch.setattr(inspector_module.Inspector, "inspect_many", lambda *_, **__: pytest.fail("inspected"))
    assert run(bench, LENIENT + "looks: looks.csv\n") == 2
    assert "1 looks are missing: look 2 of Bela at test/good/000.png" in capsys.readouterr().err


def test_foreign_pictures_are_inspected_from_a_folder_too(bench: Path) -> None:
    (bench / "others").mkdir()
    shutil.copy(min((bench / "challenge/roi/test/good").iterdir()), bench / "others/mask.png")
    (bench / "others/broken.png").write_bytes(b"x")
    assert run(bench, LENIENT + "foreign: others\n") == 0
    found = {picture["name"]: picture for picture in figures(bench)["foreign"]}
    assert found["broken.png"]["verdict"] == "" and "not a PNG" in found["broken.png"]["reason"]
    assert "mask.png" in found and "black (generated)" in found


def test_several_test_sets_have_names_of_their_own(bench: Path) -> None:
    shutil.copytree(bench / "challenge", bench / "second")
    for path in (bench / "second/test").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"\0")
    plan = PLAN.replace("  - data: challenge", "  - data: challenge\n  - {data: second, roi: second/roi}")
    assert run(bench, LENIENT, plan) == 0
    keys = [row["key"] for row in rows(bench)]
    assert len(set(keys)) == len(keys)
    assert {key.partition("/")[0] for key in keys} == {"challenge", "second"}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "challenge"), "challenge: no such folder or manifest"),
        (lambda folder: shutil.rmtree(folder / "model"), "cannot be read"),
        (lambda folder: (folder / "model/trained_on.txt").write_text(""), "was changed or damaged"),
        (lambda folder: (folder / "plan.qualification").mkdir(), "a qualification is not overwritten"),
    ],
)
def test_what_is_missing_or_in_the_way_is_said(
    bench: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[[Path], object], words: str
) -> None:
    prepare(bench)
    assert run(bench) == 2
    assert words in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_report_and_the_results_are_printed(
    bench: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.name == "photographs.csv":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(bench) == 2
    printed = capsys.readouterr()
    assert "The plan is met." in printed.out
    assert "the report cannot be written (No space left on device)" in printed.err
    assert not (bench / "plan.qualification").exists()
    assert not list(bench.glob(".*.tmp"))


def test_a_bundle_that_does_not_say_what_it_was_trained_on_is_refused(
    bench: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(bench / "model")
    shutil.copytree(bundle, bench / "model")
    assert run(bench) == 2
    assert "independence cannot be shown" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "lightning", "jinja2", "matplotlib", "scipy", "statsmodels", "sklearn"):
    sys.modules[name] = None
from roinspect.cli import main
sys.exit(main(["qualify", "plan.yaml"]))
"""


def test_the_pc_on_the_line_can_qualify_without_torch(bench: Path, written_once: None) -> None:
    pytest.importorskip("onnxscript")
    from roinspect.exports.export import export

    export(bench / "model", "onnx", tell=lambda line: None)
    (bench / "plan.yaml").write_text(PLAN + LENIENT, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = figures(bench)
    assert found["about"]["runtime"] == "onnxruntime"
    assert found["runtimes_missing"]["torch"] == "torch is not installed"


def test_other_runtimes_agree(bench: Path, written_once: None) -> None:
    pytest.importorskip("onnxscript")
    from roinspect.exports.export import export

    export(bench / "model", "onnx", tell=lambda line: None)
    assert run(bench, LENIENT.replace("0.001", "0.0001")) == 0
    assert {way["name"] for way in figures(bench)["repeated"]} == {"again", "torch", "1 thread"}


def test_torch_keeps_its_threads(bench: Path) -> None:
    import torch

    before = torch.get_num_threads()
    assert run(bench) == 0
    assert torch.get_num_threads() == before
