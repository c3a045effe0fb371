"""The report, the measures and the rows tell the same story, and a bad photograph costs its row alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
from sklearn.metrics import roc_auc_score

from roinspect import Inspector, UserError
from roinspect.evaluation.evaluate import METRICS, PREDICTIONS, REPORT, default_out, evaluate


def rows(out: Path) -> list[dict[str, str]]:
    with (out / PREDICTIONS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measures(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / METRICS).read_text(encoding="utf-8")))


@pytest.fixture
def data(zipper: Path, tmp_path: Path) -> Path:
    return shutil.copytree(zipper, tmp_path / "data")


@pytest.fixture(scope="module")
def out(model: Path, zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation") / "out"
    evaluate(model, zipper, folder, batch_size=3)
    return folder


def test_rows_and_measures_agree(out: Path) -> None:
    found, told = rows(out), measures(out)
    scores = np.array([float(row["pred_score"]) for row in found])
    labels = np.array([int(row["label"]) for row in found])
    assert told["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    alarms = scores >= told["threshold"]
    assert [int(row["is_defect"]) for row in found] == alarms.astype(int).tolist()
    assert told["caught"] == int(alarms[labels == 1].sum())
    assert told["false_rejects"] == int(alarms[labels == 0].sum())


def test_a_defect_outside_the_region_makes_a_good_part(out: Path) -> None:
    for row in rows(out):
        place = row["category"].rpartition("_")[2]
        assert row["place"] == ("none" if place == "good" else place)
        assert row["label"] == str(int(place in ("inside", "both")))
    told = measures(out)
    assert (told["defective_parts"], told["good_parts"], told["outside_only_parts"]) == (4, 2, 2)


def test_scores_are_those_of_the_inspector(out: Path, model: Path, zipper: Path) -> None:
    verdicts = Inspector.load(model).inspect_many(zipper / row["key"] for row in rows(out))
    expected = [float(row["pred_score"]) for row in rows(out)]
    assert [verdict.pred_score for verdict in verdicts] == pytest.approx(expected, abs=1e-5)


def test_the_report_shows_every_kind_of_part(out: Path) -> None:
    page = (out / REPORT).read_text(encoding="utf-8")
    assert "<script src" not in page and "data:image/jpeg" in page
    shown = ("right", "escape", "false reject", "outside damage")
    assert sum(page.count(word) for word in shown) >= 4
    assert sorted(path.name for path in out.iterdir()) == sorted((REPORT, METRICS, PREDICTIONS))


def test_a_bad_photograph_costs_one_row(data: Path, model: Path, tmp_path: Path) -> None:
    cut = data / "test/good/000.png"
    cut.write_bytes(cut.read_bytes()[:100])
    evaluate(model, data, tmp_path / "out")
    bad = [row for row in rows(tmp_path / "out") if row["error"]]
    assert [row["key"] for row in bad] == ["test/good/000.png"]
    assert bad[0]["pred_score"] == bad[0]["is_defect"] == bad[0]["label"] == ""
    assert measures(tmp_path / "out")["unreadable"] == 1
    assert measures(tmp_path / "out")["good_parts"] == 1


def test_an_unlabelled_photograph_is_scored_but_not_measured(
    zipper: Path, model: Path, tmp_path: Path
) -> None:
    lines = ["image_path,split,label"]
    for name, label in (("good/000", "good"), ("good/001", ""), ("scratch_both/000", "bad")):
        lines.append(f"{zipper}/test/{name}.png,test,{label}")
    manifest = tmp_path / "parts.csv"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    values = evaluate(model, manifest, tmp_path / "out", roi="none")
    assert (values.good_parts, values.defective_parts) == (1, 1)
    assert [row["label"] for row in rows(tmp_path / "out")] == ["0", "", "1"]
    assert all(row["pred_score"] for row in rows(tmp_path / "out"))


def test_a_second_evaluation_takes_the_place_of_the_first(data: Path, model: Path, tmp_path: Path) -> None:
    evaluate(model, data, tmp_path / "out")
    shutil.rmtree(data / "test/good")
    evaluate(model, data, tmp_path / "out")
    assert len(rows(tmp_path / "out")) == 6 and measures(tmp_path / "out")["good_parts"] == 0


@pytest.mark.parametrize("split", ["test", "val"])
def test_nothing_to_measure(data: Path, model: Path, tmp_path: Path, split: str) -> None:
    for image in (data / "test").rglob("*.png"):
        image.write_bytes(b"")
    with pytest.raises(UserError, match=split):
        evaluate(model, data, tmp_path / "out", split=split)
    assert not (tmp_path / "out").exists()


def test_the_report_lies_beside_the_bundle_by_default() -> None:
    assert default_out(Path("a/b.model")) == Path("a/b.model.evaluation")
    assert default_out(Path()).name == f"{Path.cwd().name}.evaluation"
