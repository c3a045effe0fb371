"""Training puts held-out photographs into the bundle, and every verb tests itself with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect import Inspector, UserError
from roinspect.cli import main
from roinspect.inspection.bundle import Threshold, read_bundle, read_references, replace_threshold
from roinspect.inspection.references import LARGEST
from roinspect.synthetic.products import write_dataset
from roinspect.training import references as module

SHORT = ["--size", "64", "--training.steps", "2", "--training.batch_size", "4"]
NETWORK = ["--method.backbone", "test_efficientnet", "--method.weights", "none"]


def train(data: Path, out: Path, *options: str, method: str = "ceod") -> int:
    return main(["train", method, str(data), "--out", str(out), *SHORT, *NETWORK, *options])


@pytest.fixture(scope="module")
def zipper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With some of the defective ones for training."""
    folder = tmp_path_factory.mktemp("data") / "zipper"
    write_dataset("zipper", folder, count=40, seed=1, size_hw=(64, 64), train_defects=0.6)
    return folder


@pytest.fixture(scope="module")
def model(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("references") / "model"
    assert train(zipper, out, "--training.held_out", "0.4") == 0
    return out


def test_the_bundle_carries_held_out_files_as_they_are(model: Path, zipper: Path) -> None:
    bundle = read_bundle(model)
    files = read_references(model, bundle.references)
    assert 1 <= len(files) <= 4
    originals = {path.read_bytes() for path in (zipper / "train").rglob("*.png")}
    assert set(files) <= originals
    assert all(np.isfinite(reference.pred_score) for reference in bundle.references)
    for reference in bundle.references:
        assert (reference.pred_score >= bundle.threshold.value) == bool(reference.label)


def test_the_line_runs_it_first(
    model: Path, zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = str(next((zipper / "test" / "good").glob("*.png")))
    assert main(["selftest", str(model)]) == 0
    assert "score as when the model was trained" in capsys.readouterr().out
    assert main(["selftest", str(model), "--json", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
    assert main(["predict", str(model), photograph]) == 0
    assert capsys.readouterr().err == ""

    # A threshold can change; that a score was another one is a fault.
    replace_threshold(model, Threshold(123.0, "chosen"))
    assert main(["selftest", str(model)]) == 0
    altered = shutil.copytree(model, tmp_path / "altered")
    _rescale(altered, 0.5)
    capsys.readouterr()
    assert main(["selftest", str(altered)]) == 1
    assert "not as in training" in capsys.readouterr().out
    folder = tmp_path / "camera"
    folder.mkdir()
    for verb in (
        ["predict", str(altered), photograph],
        ["predict", str(altered), photograph, "--out", str(tmp_path / "table.csv")],
        ["watch", str(altered), str(folder), "--out", str(tmp_path / "rows.jsonl")],
    ):
        assert main(verb) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "self-test failed" in told and "altered" in told
    assert main(["predict", str(altered), photograph, "--self-test", "warn"]) == 0
    assert "WARNING" in capsys.readouterr().err
    assert main(["predict", str(altered), photograph, "--self-test", "off"]) == 0
    assert capsys.readouterr().err == ""
    Inspector.load(altered)
    with pytest.raises(UserError, match="self-test failed"):
        Inspector.load(altered, self_test="stop")


def _rescale(model: Path, factor: float) -> None:
    """As if the graph had given other scores in training."""
    import dataclasses

    from roinspect.inspection.bundle import read_weights, save_bundle

    bundle = read_bundle(model)
    contents = read_references(model, bundle.references)
    names = [reference.name for reference in bundle.references]
    changed = tuple(
        dataclasses.replace(reference, pred_score=factor * reference.pred_score)
        for reference in bundle.references
    )
    weights = read_weights(model)
    save_bundle(
        model,
        dataclasses.replace(bundle, references=changed),
        weights,
        photographs=dict(zip(names, contents, strict=True)),
        overwrite=True,
    )


def test_none_where_none_are_wanted(zipper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(zipper, tmp_path / "model", "--references", "0") == 0
    assert not read_bundle(tmp_path / "model").references
    assert not (tmp_path / "model" / "references.zip").exists()
    capsys.readouterr()
    assert main(["selftest", str(tmp_path / "model")]) == 2
    assert "train again with --references 4" in capsys.readouterr().err


def test_a_changed_archive_is_refused(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    content = bytearray((copy / "references.zip").read_bytes())
    content[100] ^= 1
    (copy / "references.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"references\.zip: was changed"):
        Inspector.load(copy)
    (copy / "references.zip").unlink()
    with pytest.raises(UserError, match=r"references\.zip: cannot be read"):
        Inspector.load(copy)


def test_huge_photographs_are_left_out_and_that_is_said(
    zipper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_size", lambda record: LARGEST + 1)
    assert train(zipper, tmp_path / "model") == 0
    assert not read_bundle(tmp_path / "model").references and "no references" in caplog.text


@pytest.mark.parametrize(
    ("count", "scores", "expected"),
    [
        (0, [1.0, 2.0, 3.0], []),
        (1, [1.0, 2.0, 3.0], [2]),
        (2, [1.0, 3.0, 2.0], [1, 0]),
        (3, [3.0, 1.0, 2.0, 5.0, 4.0], [3, 0, 1]),
        (9, [1.0, 2.0], [1, 0]),
    ],
)
def test_they_are_spread_from_the_highest_score_to_the_lowest(
    count: int, scores: list[float], expected: list[int]
) -> None:
    rows = np.arange(len(scores))
    assert module._spread(rows, np.array(scores, np.float32), count) == expected
