"""The report, the measures and the rows tell the same story, and a bad photograph costs its row alone."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
from sklearn.metrics import roc_auc_score

from roinspect import Inspector, UserError
from roinspect.cli import main
from roinspect.evaluation.evaluate import (
    METRICS,
    PREDICTIONS,
    REPORT,
    default_out,
    evaluate,
    evaluate_models,
)
from roinspect.images.pixels import read_image, write_image
from roinspect.inspection.bundle import Threshold, read_bundle, read_weights, replace_threshold, save_bundle


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
    assert [row["verdict"] == "defective" for row in found] == alarms.tolist()
    assert told["caught"] == int(alarms[labels == 1].sum())
    assert told["false_rejects"] == int(alarms[labels == 0].sum())


def test_a_picture_that_shows_something_else_is_told_wherever_parts_are_counted(
    model: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = sorted((data / "test/good").iterdir())[0]
    write_image(strange, np.zeros((64, 64, 3), np.uint8))
    replaced = shutil.copytree(model, tmp_path / "model")
    replace_threshold(replaced, Threshold(1e9, "nothing is rejected"))
    evaluate(replaced, data, tmp_path / "out")
    (row,) = (row for row in rows(tmp_path / "out") if row["verdict"] == "not inspectable")
    assert row["key"].endswith(strange.name) and row["reason"]
    told = measures(tmp_path / "out")["not_inspectable"]
    assert (told["good"], told["defective"]) == (1, 0) and row["reason"] in told["such_as"]
    words = "1 good and 0 defective parts that the score alone would pass are not inspectable"
    assert words in caplog.text and words in (tmp_path / "out/report.html").read_text()


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


def test_groups_intervals_and_warnings_reach_the_measures(
    zipper: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = sorted((zipper / "test").rglob("*.png"))
    lines = ["image_path,split,label,position"]
    lines += [f"{path},test,{path.parent.name},{row % 2}" for row, path in enumerate(images)]
    manifest = tmp_path / "parts.csv"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    values = evaluate(model, manifest, tmp_path / "out", roi="none", columns={"group": "position"})
    told = measures(tmp_path / "out")
    assert [group["name"] for group in told["groups"]] == ["0", "1"]
    assert sum(group["parts"] for group in told["groups"]) == len(images)
    assert (told["intervals"]["unit"], told["intervals"]["units"]) == ("group", 2)
    assert set(told["intervals"]["bounds"].values()) == {None}
    assert "too few groups" in caplog.text
    assert told["threshold_warning"] == read_bundle(model).threshold.warning != ""
    page = (tmp_path / "out" / REPORT).read_text(encoding="utf-8")
    assert told["threshold_warning"] in page and "Note: too few groups" in page and "By group" in page
    assert "ROC curve" in page and values.groups[0].parts == 4


def test_a_bad_photograph_costs_one_row(data: Path, model: Path, tmp_path: Path) -> None:
    cut = data / "test/good/000.png"
    cut.write_bytes(cut.read_bytes()[:100])
    evaluate(model, data, tmp_path / "out")
    bad = [row for row in rows(tmp_path / "out") if row["error"]]
    assert [row["key"] for row in bad] == ["test/good/000.png"]
    assert bad[0]["pred_score"] == bad[0]["verdict"] == bad[0]["label"] == ""
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


# -- two models ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(zipper: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another size, which finds the hottest half of a rejected part's map."""
    folder = tmp_path_factory.mktemp("models")
    options = [*tiny, "--training.steps", "2", "--seed", "5"]
    options[options.index("--size") + 1] = "96x64"
    assert main(["train", "grdnet", str(zipper), "--out", str(folder / "trained"), *options]) == 0
    bundle = read_bundle(folder / "trained")
    changed = dataclasses.replace(bundle, map_share=0.5, threshold=Threshold(0.01, "set for the test"))
    save_bundle(folder / "other", changed, read_weights(folder / "trained"))
    return folder / "other"


def test_two_models_measure_together_what_they_measure_alone(
    model: Path, other: Path, zipper: Path, tmp_path: Path
) -> None:
    together, alone = tmp_path / "together", [tmp_path / "first", tmp_path / "second"]
    values = evaluate_models([model, other], zipper, together, batch_size=3)
    for bundle, folder, value in zip((model, other), alone, values, strict=True):
        assert evaluate(bundle, zipper, folder, batch_size=3) == value
    told = measures(together)
    against = told.pop("against")
    assert told == measures(alone[0])
    assert against["bundle"] == str(other) and against["threshold"] == 0.01
    assert against.items() <= measures(alone[1]).items()
    for row, first, second in zip(rows(together), *map(rows, alone), strict=True):
        assert row.pop("against_pred_score") == second["pred_score"]
        assert row.pop("against_verdict") == second["verdict"]
        assert row.pop("against_reason") == second["reason"]
        assert row == first


def test_photographs_are_decoded_once_for_both(
    model: Path, other: Path, zipper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(content: bytes, bits: int, name: Path) -> Any:
        decoded.append(name)
        return read_image(content, bits)

    monkeypatch.setattr("roinspect.data.dataset.read_image", counted)
    monkeypatch.setattr("roinspect.evaluation.evaluate.load_examples", lambda *_, **__: [])
    evaluate_models([model, other], zipper, tmp_path / "out")
    assert len(decoded) == len(set(decoded)) == 8


def test_models_of_one_name_are_told_apart(model: Path, zipper: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy" / model.name)
    evaluate_models([model, copy], zipper, tmp_path / "out")
    page = (tmp_path / "out" / REPORT).read_text(encoding="utf-8")
    assert f"found by {model}" in page and f"found by {copy}" in page


def test_a_bad_photograph_costs_one_row_of_both(data: Path, model: Path, other: Path, tmp_path: Path) -> None:
    (data / "test/good/000.png").write_bytes(b"")
    evaluate_models([model, other], data, tmp_path / "out")
    (bad,) = (row for row in rows(tmp_path / "out") if row["error"])
    assert not any(bad[name] for name in ("pred_score", "against_pred_score", "against_verdict"))
    assert measures(tmp_path / "out")["against"]["good_parts"] == 1


def test_what_was_trained_on_is_told(
    model: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(model, data, tmp_path / "train", split="train")
    told = measures(tmp_path / "train")["trained_on"]
    assert 0 < told < measures(tmp_path / "train")["photographs"]
    assert f"was trained on {told} of these" in caplog.text
    page = (tmp_path / "train" / "report.html").read_text(encoding="utf-8")
    assert f"was trained on {told} of these" in page
    evaluate(model, data, tmp_path / "test")
    assert measures(tmp_path / "test")["trained_on"] == 0
