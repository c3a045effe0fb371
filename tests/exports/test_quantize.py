"""INT8 is kept where no verdict on a held-out part changes."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnx
import torch

from roinspect import Inspector, UserError
from roinspect.data.records import read_records
from roinspect.data.splits import hold_out
from roinspect.exports.export import export
from roinspect.exports.graph import write_onnx
from roinspect.exports.quantize import CALIBRATION_IMAGES, calibration_split, quantize
from roinspect.inspection.bundle import (
    Bundle,
    Threshold,
    read_bundle,
    read_weights,
    replace_threshold,
    save_bundle,
)
from roinspect.inspection.exported import describe, graph_file, read_export
from roinspect.inspection.references import Reference
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.openvino import OpenVino
from roinspect.methods.method import InspectionGraph, Look
from roinspect.production.batch import terms_of
from roinspect.production.verdict_images import Pictures


def silent(line: str) -> None:
    """Tells nobody."""


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_is_small_and_kept_where_verdicts_agree(
    to: str, bundle: Path, zipper: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    export(bundle, to, tell=silent)
    weights = graph_file(bundle, to).with_name("graph.onnx" if to == "onnx" else "graph.bin")
    size, told = weights.stat().st_size, list[str]()
    replace_threshold(bundle, Threshold(0.999, "out of reach"))
    export(bundle, to, int8=zipper, tell=told.append)
    assert read_export(bundle, to).precision == "int8"
    assert weights.stat().st_size < 0.6 * size
    assert told[1].startswith("INT8 on 2 held-out photographs, 0 of them defective: scores differ by")
    assert "verdicts changed: 0" in told[1]

    Inspector.load(bundle, "onnxruntime" if to == "onnx" else "openvino")
    assert not [record for record in caplog.records if record.name.startswith("roinspect")]
    replace_threshold(bundle, Threshold(0.99, "lower"))
    with caplog.at_level(logging.WARNING):
        Inspector.load(bundle, "onnxruntime" if to == "onnx" else "openvino")
    assert "checked at the threshold 0.999, which is now 0.99" in caplog.text


def test_int8_that_changes_a_verdict_is_refused(bundle: Path, zipper: Path) -> None:
    replace_threshold(bundle, Threshold(0.999, "out of reach"))
    export(bundle, "onnx", int8=zipper, tell=silent)
    _, (part, *_) = calibration_split(read_bundle(bundle), zipper)
    small, exact = (
        Inspector.load(bundle, runtime).inspect(part.image_path).pred_score
        for runtime in ("onnxruntime", "torch")
    )
    assert small != pytest.approx(exact, rel=3e-4), "this part cannot tell the two apart"
    replace_threshold(bundle, Threshold((small + exact) / 2, "between the two"))
    before, told = graph_file(bundle, "onnx").read_bytes(), list[str]()
    with pytest.raises(UserError, match="INT8 changes verdicts, and is not kept"):
        export(bundle, "onnx", int8=zipper, tell=told.append)
    assert "verdicts changed: " in told[1] and "verdicts changed: 0" not in told[1]
    assert graph_file(bundle, "onnx").read_bytes() == before


def test_ranges_come_from_good_parts_and_verdicts_from_parts_that_were_held_out(zipper: Path) -> None:
    training = {"held_out": 0.3, "seed": 5}
    bundle = Bundle("grdnet", {}, (64, 64), Threshold(0.5, ""), training=training)
    good, held_out = calibration_split(bundle, zipper)
    records = [record for record in read_records(zipper) if record.split != "test"]
    _, expected = hold_out(records, "good", 0.3, 5, zipper)
    assert held_out == expected and not {r.key for r in good} & {r.key for r in held_out}
    assert all(record.label == 0 and record.split == "train" for record in good)


def test_one_module_is_reduced_but_not_its_first_convolution(tmp_path: Path) -> None:
    class Nested(InspectionGraph):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
            self.head = torch.nn.Conv2d(3, 1, 1)

        def look(self, image: torch.Tensor) -> Look:
            cells = self.head(self.backbone(image))
            return Look(cells.amax((1, 2, 3)), cells, cells)

    source, small = tmp_path / "source.onnx", tmp_path / "small.onnx"
    write_onnx(Nested(), (16, 16), source)
    quantize(
        source, np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8), small, module="backbone"
    )
    graph = onnx.load(small).graph
    restored = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    is_int8 = [node.input[1] in restored for node in graph.node if node.op_type == "Conv"]
    assert is_int8 == [False, True, True, False]


def test_a_few_dozen_spread_over_all_are_enough(tmp_path: Path) -> None:
    (tmp_path / "train/good").mkdir(parents=True)
    for number in range(200):
        (tmp_path / f"train/good/{number:03}.png").touch()
    bundle = Bundle("grdnet", {}, (64, 64), Threshold(0.5, ""))
    good, _ = calibration_split(dataclasses.replace(bundle, training={"held_out": 0.1, "seed": 0}), tmp_path)
    numbers = [int(record.image_path.stem) for record in good]
    assert len(set(numbers)) == len(numbers) == CALIBRATION_IMAGES
    assert np.diff(numbers).max() < 10 and numbers[0] < 10 and numbers[-1] > 190


def test_bfloat16_is_kept_where_verdicts_agree_and_the_processor_has_it(bundle: Path, zipper: Path) -> None:
    pytest.importorskip("openvino")
    replace_threshold(bundle, Threshold(0.999, "out of reach"))
    if not TARGETS["openvino"].has_bfloat16():
        with pytest.raises(UserError, match="this processor has no bfloat16"):
            export(bundle, "openvino", bf16=zipper, tell=silent)
        assert not (bundle / "openvino").exists()
        return
    told = list[str]()
    export(bundle, "openvino", bf16=zipper, tell=told.append)
    assert read_export(bundle, "openvino").precision == "bfloat16"
    assert told[1].startswith("bfloat16 on 2 held-out photographs") and "verdicts changed: 0" in told[1]
    _, (part, *_) = calibration_split(read_bundle(bundle), zipper)
    rounded, exact = (
        Inspector.load(bundle, runtime).inspect(part.image_path).pred_score
        for runtime in ("openvino", "torch")
    )
    assert rounded == pytest.approx(exact, rel=0.25) and rounded != pytest.approx(exact, rel=1e-4)
    replace_threshold(bundle, Threshold((rounded + exact) / 2, "between the two"))
    with pytest.raises(UserError, match="bfloat16 changes verdicts, and is not kept"):
        export(bundle, "openvino", bf16=zipper, tell=silent)


def test_a_processor_without_bfloat16_answers_in_float32(
    bundle: Path, zipper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    export(bundle, "openvino", tell=silent)
    part = read_records(zipper)[0].image_path
    expected = Inspector.load(bundle, "openvino").inspect(part).pred_score
    describe(bundle, bundle / "openvino", "openvino", "bfloat16", read_bundle(bundle).threshold.value)
    monkeypatch.setattr(OpenVino, "has_bfloat16", lambda self: False)
    assert Inspector.load(bundle, "openvino").inspect(part).pred_score == expected


@pytest.mark.parametrize(
    ("to", "int8", "told"), [("onnx", False, "for openvino"), ("openvino", True, "int8")]
)
def test_bfloat16_is_openvinos_alone(to: str, int8: bool, told: str, bundle: Path, zipper: Path) -> None:
    with pytest.raises(UserError, match=told):
        export(bundle, to, bf16=zipper, int8=zipper if int8 else None, tell=silent)


def test_rows_of_another_precision_are_another_table(bundle: Path) -> None:
    export(bundle, "onnx", tell=silent)
    whole = terms_of(bundle, "onnxruntime", Pictures())
    assert whole == terms_of(bundle, "torch", Pictures()), "runtimes agree"
    describe(bundle, bundle / "onnx", "onnx", "int8", 0.5)
    assert terms_of(bundle, "onnxruntime", Pictures()) != whole


def test_an_int8_export_keeps_what_it_scores_here(bundle: Path, zipper: Path) -> None:
    """A line with another processor is held to that, and not to the trained graph's scores."""
    photographs = {f"{place}.png": path.read_bytes() for place, path in enumerate(_some(zipper))}
    references = tuple(
        Reference(name, 0, Inspector.load(bundle, "torch").inspect(content).pred_score)
        for name, content in photographs.items()
    )
    manifest = dataclasses.replace(
        read_bundle(bundle), references=references, threshold=Threshold(0.999, "out of reach")
    )
    save_bundle(bundle, manifest, read_weights(bundle), photographs=photographs, overwrite=True)
    export(bundle, "onnx", tell=silent)
    assert read_export(bundle, "onnx").scores == {}
    export(bundle, "onnx", int8=zipper, tell=silent)
    scores = read_export(bundle, "onnx").scores
    assert list(scores) == list(photographs)
    assert any(abs(scores[one.name] / one.pred_score - 1) > 1e-4 for one in references)
    assert Inspector.load(bundle, "onnxruntime", self_test="stop").self_test().is_passed


def _some(zipper: Path) -> list[Path]:
    return sorted((zipper / "test" / "good").glob("*.png"))[:2]
