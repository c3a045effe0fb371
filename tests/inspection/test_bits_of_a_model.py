"""A model of 12-bit photographs is that of the same photographs in 8 bits, wherever it meets them."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect import Inspector, UserError
from roinspect.cli import main
from roinspect.comparison import contender, job, method_process, peers
from roinspect.comparison.compare import CompareSettings, compare
from roinspect.data.dataset import DecodedCache
from roinspect.data.records import read_records
from roinspect.evaluation.evaluate import METRICS, PREDICTIONS, evaluate, evaluate_models
from roinspect.evaluation.example_images import ExamplePrediction
from roinspect.evaluation.examples import load_examples
from roinspect.evaluation.parts import Part
from roinspect.evaluation.scoring import load_models
from roinspect.exports.samples import photographs
from roinspect.images.pixels import read_image, write_image
from roinspect.inspection.bundle import read_bundle, read_weights
from roinspect.production.batch import terms_of
from roinspect.production.verdict_images import Pictures
from roinspect.training.recalibration import Way, recalibrate
from roinspect.training.settings import TrainingSettings

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def deep(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of `zipper` in 12 bits, from zero up in 16-bit files: the same with `bits`."""
    folder = Path(shutil.copytree(zipper, tmp_path_factory.mktemp("deep") / "zipper"))
    for record in read_records(folder):
        values = read_image(record.image_path).astype(np.float64) * (4095 / 255)
        write_image(record.image_path, values.round().astype(np.uint16))
    return folder


@pytest.fixture(scope="module")
def twelve(deep: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `model`, of `deep`."""
    out = tmp_path_factory.mktemp("models") / "twelve.model"
    assert run("train", "grdnet", deep, "--out", out, "--training.steps", 4, *tiny, "--bits", 12) == 0
    return out


def test_training_reads_them_in_full_and_the_bundle_keeps_it(model: Path, twelve: Path) -> None:
    bundle, plain = read_bundle(twelve), read_bundle(model)
    assert (bundle.bits, bundle.training["bits"], plain.bits) == (12, 12, 16)
    weights, expected = read_weights(twelve), read_weights(model)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    assert bundle.threshold == plain.threshold and bundle.scene == plain.scene


def test_it_is_a_setting_like_others(
    deep: Path, tmp_path: Path, tiny: tuple[str, ...], capsys: Capture
) -> None:
    for option in ("--bits", "--training.bits"):
        assert run("train", "grdnet", deep, "--out", tmp_path / "no", *tiny, option, 11) == 2
        assert "training.bits: must be 10, 12, 14 or 16, not 11" in capsys.readouterr().err
    assert run("check", deep, "--bits", 11) == 2
    assert "--bits: must be 10, 12, 14 or 16, not 11" in capsys.readouterr().err
    assert run("train", "grdnet", deep, "--out", tmp_path / "no", *tiny, "--training.bits", 10) == 2
    assert "is more than 10 bits hold (1,023)" in capsys.readouterr().err
    with pytest.raises(UserError, match="must be 10, 12, 14 or 16, not 8"):
        TrainingSettings(bits=8)


def test_check_on_the_command_line(deep: Path, capsys: Capture) -> None:
    assert run("check", deep) == 0
    assert "train with --bits 12" in capsys.readouterr().out
    assert run("check", deep, "--bits", 12) == 0
    assert "bits" not in capsys.readouterr().out


def test_one_verdict_on_the_line(model: Path, twelve: Path, zipper: Path, deep: Path) -> None:
    ours, plain = Inspector.load(twelve), Inspector.load(model)
    for record, other in zip(read_records(deep), read_records(zipper), strict=True):
        expected = plain.inspect(other.image_path).pred_score
        assert ours.inspect(record.image_path).pred_score == expected
        assert ours.inspect(record.image_path.read_bytes()).pred_score == expected


def test_one_evaluation(model: Path, twelve: Path, zipper: Path, deep: Path, tmp_path: Path) -> None:
    evaluate(model, zipper, tmp_path / "plain")
    evaluate(twelve, deep, tmp_path / "deep")
    assert (tmp_path / "plain" / PREDICTIONS).read_text() == (tmp_path / "deep" / PREDICTIONS).read_text()


def test_two_models_side_by_side_see_each_its_own(
    model: Path, twelve: Path, deep: Path, tmp_path: Path
) -> None:
    alone = [evaluate(path, deep, tmp_path / path.name) for path in (model, twelve)]
    both = evaluate_models([model, twelve], deep, tmp_path / "both")
    assert [values.to_dict() for values in both] == [values.to_dict() for values in alone]
    assert alone[0].to_dict() != alone[1].to_dict()
    strange = Path(shutil.copytree(deep, tmp_path / "strange"))
    first = next(record for record in read_records(strange) if record.split == "test")
    write_image(first.image_path, np.full((64, 64, 3), 60000, np.uint16))
    evaluate_models([model, twelve], strange, tmp_path / "one")
    assert json.loads((tmp_path / "one" / METRICS).read_text())["unreadable"] == 1


def test_the_pictures_of_a_report_show_what_each_model_saw(
    model: Path, twelve: Path, zipper: Path, deep: Path
) -> None:
    def shown(data: Path, *bundles: Path) -> list[ExamplePrediction]:
        record = next(record for record in read_records(data) if record.split == "test")
        scores = (0.0,) * len(bundles)
        part = Part(record, 0, "none", pred_scores=scores, reasons=("",) * len(bundles))
        (example,) = load_examples([part], load_models(bundles), min_pixels=1)
        return list(example.predictions)

    first, second = shown(deep, model, twelve)
    (expected,) = shown(zipper, model)
    assert np.array_equal(second.anomaly_map, expected.anomaly_map)
    assert not np.array_equal(first.anomaly_map, expected.anomaly_map)


def test_one_calibration(model: Path, twelve: Path, zipper: Path, deep: Path, tmp_path: Path) -> None:
    changes = []
    for bundle, data in ((model, zipper), (twelve, deep)):
        copy = Path(shutil.copytree(bundle, tmp_path / bundle.name))
        changes.append(recalibrate(copy, data, Way(false_reject=0.1)))
    assert changes[0] == changes[1]


def test_an_export_is_compared_on_what_the_graph_will_see(twelve: Path, zipper: Path, deep: Path) -> None:
    paths = [record.image_path for record in read_records(deep)]
    seen = photographs(paths, read_bundle(twelve))
    for image, record in zip(seen, read_records(zipper), strict=True):
        assert np.array_equal(image, read_image(record.image_path))


def test_the_studio_shows_what_the_camera_saw(twelve: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from roinspect.studio.pages.camera import camera

    photograph, rows = tmp_path / "part.png", tmp_path / "rows.jsonl"
    write_image(photograph, np.full((64, 64, 3), 4095, np.uint16))
    row = {"image_path": str(photograph), "verdict": "good", "pred_score": 0.0, "threshold": 1.0}
    rows.write_text(json.dumps(row) + "\n")
    command = ["watch", str(twelve), str(tmp_path), "--out", str(rows)]
    job = SimpleNamespace(commands=[command], state=lambda: "done", subject="x", fault=lambda: "")
    (shown,) = re.findall(r"data:image/\w+;base64,([^\"\']+)", camera(job, "p"))  # type: ignore[arg-type]
    assert read_image(base64.b64decode(shown)).min() > 250


def test_tables_and_masks_that_are_kept_are_of_these_bits(model: Path, twelve: Path) -> None:
    terms = [terms_of(path, None, Pictures())["model"] for path in (model, twelve)]
    # The weights are equal.
    assert terms[0] | {"bits": 12} == terms[1] and terms[0] != terms[1]


def test_a_segmenter_reads_with_its_own(zipper: Path, deep: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("ROINSPECT_CACHE", str(tmp_path / "cache"))
    options = {
        "--size": 64,
        "--training.epochs": 8,
        "--method.backbone": "test_convnext",
        "--method.weights": "none",
        "--method.strides": "[4,8]",
        "--method.width": 8,
        "--method.learning_rate": 0.01,
    }
    small = [word for option in options.items() for word in option]
    masks = []
    for data, bits in ((zipper, 16), (deep, 12)):
        out = tmp_path / f"{bits}.segmenter"
        assert run("train", "segmenter", data, "--out", out, *small, "--bits", bits) == 0
        assert run("roi", "predict", out, data, "--out", tmp_path / f"roi{bits}") == 0
        masks.append((tmp_path / f"roi{bits}" / "confidence.csv").read_text())
        assert (tmp_path / f"roi{bits}" / "contact_sheet.jpg").is_file()
    assert masks[0] == masks[1]
    sheets = [read_image(tmp_path / f"roi{bits}" / "contact_sheet.jpg") for bits in (16, 12)]
    assert np.array_equal(*sheets)


def test_a_comparison_says_so_to_ours_and_others(zipper: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    asked: list[dict[str, Any]] = []

    def spy(module: str, request: dict[str, Any], *_: Any, **__: Any) -> None:
        asked.append(request)

    for caller in (job, peers):
        monkeypatch.setattr(caller, "run_contender", spy)
    monkeypatch.setattr(peers, "refuse_unknown_peer", lambda name: None)
    for method in ("grdnet", "padim"):
        terms = {"batch_size": 8, "budget_seconds": 1.0, "threads": 1, "log": tmp_path / "log"}
        job.run(job.ComparisonJob(method, 0, zipper, (64, 64), **terms, bits=12))
    assert [request["bits"] for request in asked] == [12, 12]

    given: list[TrainingSettings] = []
    monkeypatch.setattr(method_process, "train", lambda *_, training, **__: given.append(training))
    monkeypatch.setattr(method_process, "load_graph", lambda path: pytest.fail("was trained"))
    request = asked[0] | {
        "method": "roibank",
        "size_hw": (64, 64),
        "folder": str(tmp_path),
        "budget_seconds": 1,
    }
    with pytest.raises(pytest.fail.Exception, match="was trained"):
        method_process.main(request, lambda stage: None)
    assert [training.bits for training in given] == [12]


def test_all_methods_are_scored_on_what_they_read_so(zipper: Path, deep: Path, tmp_path: Path) -> None:
    scores = []
    for data, bits in ((zipper, 16), (deep, 12)):
        test = [str(record.image_path) for record in read_records(data)]
        request = {"folder": str(tmp_path), "test": test, "size_hw": (64, 64), "bits": bits}
        told = {"own_hw": (32, 32), "train_seconds": 1.0, "steps": 1, "model_bytes": 1, "notes": {}}
        contender.tested(lambda image: (float(image.mean()), None), request, **told)
        scores.append(np.load(tmp_path / "scores.npy"))
    assert np.array_equal(*scores) and scores[0].min() > 0


def test_results_of_other_bits_are_other_terms(deep: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    asked: list[int] = []

    def run_all(jobs: list[job.ComparisonJob], **_: Any) -> Iterator[tuple[job.ComparisonJob, str]]:
        for one in jobs:
            asked.append(one.bits)
            yield one, "broke down"

    monkeypatch.setattr("roinspect.comparison.compare.run_all", run_all)
    settings = CompareSettings(methods=("grdnet",), seeds=1, size="64", budget_seconds=1, bits=12)
    for wanted, told in (
        (12, "no training succeeded"),
        (16, r"other terms \(bits\)"),
        (12, "no training succeeded"),
    ):
        with pytest.raises(UserError, match=told):
            compare(deep, tmp_path, dataclasses.replace(settings, bits=wanted))
    assert asked == [12]
    with pytest.raises(UserError, match="--bits: must be"):
        CompareSettings(bits=13)


def test_a_cache_reads_with_them(zipper: Path, deep: Path) -> None:
    with DecodedCache(read_records(zipper), (64, 64)) as plain:
        with DecodedCache(read_records(deep), (64, 64), bits=12) as cache:
            assert np.array_equal(cache.images, plain.images)
        with DecodedCache(read_records(deep), (64, 64)) as dark:
            assert dark.images.max() < 17
