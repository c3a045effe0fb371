"""A bundle that no training wrote is refused in one line; it neither crashes nor gives verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from onnx import TensorProto

from roinspect import Inspector, UserError
from roinspect.inspection.bundle import Bundle, Threshold, read_bundle
from roinspect.inspection.exported import describe
from roinspect.inspection.plain import parse_object
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.tiles import Tiling

from ..graphs import SHAPES, SIZE, constant_graph, forge, graph_with_weights_in

NAN, INFINITY = math.nan, math.inf


def loaded(bundle: Path) -> Inspector:
    inspector = Inspector.load(bundle, "onnxruntime", threads=1)
    inspector.warm_up()
    return inspector


def test_a_graph_that_keeps_its_promises_runs(tmp_path: Path) -> None:
    verdict = loaded(forge(tmp_path / "b", constant_graph())).inspect(np.zeros((20, 30, 3), np.uint8))
    assert verdict.pred_score == 0.25 and verdict.verdict == "good"


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": {"anomaly_map": (1, 1, 0, 0)}},
        {"shapes": {"anomaly_map": (1, 1, 0, 12)}},
        {"shapes": {"anomaly_map": (1, 1, 4, 6)}},
        {"shapes": {"anomaly_map": (96,)}},
        {"shapes": {"anomaly_map": (1, 3, *SIZE)}},
        {"shapes": {"anomaly_map": (2, 1, *SIZE)}},
        {"shapes": {"anomaly_map": (1, 1, 1, *SIZE)}},
        {"shapes": {"roi_map": (1, 1, 0, 3)}},
        {"shapes": {"roi_map": (1, 6)}},
        {"shapes": {"pred_score": ()}},
        {"shapes": {"pred_score": (1, 1)}},
        {"shapes": {"pred_score": (0,)}},
        {"shapes": {"novelty": (2,)}},
        {"dtype": TensorProto.DOUBLE},
        {"dtype": TensorProto.FLOAT16},
        {"dtype": TensorProto.INT64, "values": dict.fromkeys(SHAPES, 1)},
        *({"values": {name: value}} for name in SHAPES for value in (NAN, INFINITY, -INFINITY)),
        {"values": {"roi_map": 1.5}},
        {"values": {"roi_map": -0.5}},
        {"values": {"novelty": -1.0}},
        {"names": ("score", "anomaly_map", "roi_map", "novelty")},
    ],
    ids=str,
)
def test_outputs_are_as_documented(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="export it again"):
        loaded(forge(tmp_path / "b", constant_graph(**change)))


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(range(256)) * 9])
def test_what_is_no_graph_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"graph\.onnx: cannot be loaded"):
        loaded(forge(tmp_path / "b", content))


@pytest.mark.parametrize("place", ["../secret", "{}/secret", "inside"])
def test_a_graph_reads_no_other_file(place: str, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", graph_with_weights_in(place.format(tmp_path)))
    for path in (tmp_path / "secret", bundle / "secret", bundle / "onnx/inside"):
        path.write_bytes(np.float32(0.125).tobytes())
    with pytest.raises(UserError, match="has weights in files of its own"):
        loaded(bundle)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY, None, True, False, "0.5", [0.5], {}, 10**400])
def test_a_threshold_is_a_finite_number(value: Any, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", constant_graph(), threshold=Threshold(value, "chosen"))
    with pytest.raises(UserError, match=r"threshold\.value must be a finite number, not "):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "values",
    [
        {"bits": 3},
        {"bits": "16"},
        {"bits": True},
        {"size_hw": (0, 12)},
        {"size_hw": (10**6, 12)},
        {"size_hw": (8, 12, 3)},
        {"size_hw": "ab"},
        {"map_share": NAN},
        {"map_share": 0},
        {"map_share": 2.0},
        {"scene": [1]},
        {"scene": {"roi_area": [0, 1]}},
        {"method": 5},
        {"method_settings": []},
        {"fingerprints": None},
    ],
    ids=str,
)
def test_every_value_of_the_manifest_is_checked(values: dict[str, Any], tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", constant_graph(), **values)
    with pytest.raises(UserError, match=r"bundle\.json: .*copy the bundle again"):
        read_bundle(bundle)


def test_tiles_have_a_size() -> None:
    for side, scale in ((0, 1.0), (8, 0.0), (8, 2.0)):
        with pytest.raises(UserError, match="is not possible"):
            Tiling(side, scale, SIZE, SIZE, "")


DEEP = b"[" * 100_000 + b"]" * 100_000
TEXTS = [b"", b"[]", b"5", b"null", b'"schema_version"', b"\xff", DEEP, b'{"schema_version": ' + DEEP + b"}"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["bundle.json", "onnx/export.json"])
def test_only_an_object_in_json_is_read(name: str, text: bytes, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", constant_graph())
    (bundle / name).write_bytes(text)
    with pytest.raises(UserError, match="damaged"):
        loaded(bundle)
    with pytest.raises(ValueError):
        parse_object(text)


@pytest.mark.parametrize("precision", ["float64", None, ["float32"]])
def test_an_export_is_of_a_known_precision(precision: Any, tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", constant_graph())
    describe(bundle, bundle / "onnx", "onnx", precision, 0.5)
    with pytest.raises(UserError, match="the export is damaged"):
        loaded(bundle)


@pytest.mark.parametrize("name", ["anomaly_map", "roi_map"])
def test_a_map_that_is_no_number_later_gives_no_verdict(name: str, tmp_path: Path) -> None:
    """The black image of the warm-up says little about photographs."""
    inspector = Inspector.load(forge(tmp_path / "b", constant_graph(values={name: NAN})), "onnxruntime")
    (verdict,) = inspector.inspect_many([np.zeros((20, 30, 3), np.uint8)])
    assert verdict.verdict is None and verdict.error and "NaN or infinity" in verdict.error


def test_both_networks_of_a_bundle_with_tiles_are_checked() -> None:
    """That for tiles answers at their size, that for the region on any grid."""

    def right(images: np.ndarray) -> Prediction:
        maps = np.zeros(images.shape[:3], np.float32)
        return Prediction(maps[:, 0, 0], maps, maps[:, :4, :6], maps[:, 0, 0])

    def empty(images: np.ndarray) -> Prediction:
        return right(images)._replace(anomaly_map=np.zeros((len(images), 0, 0), np.float32))

    def coarse(images: np.ndarray) -> Prediction:
        return right(images)._replace(anomaly_map=np.zeros((len(images), 3, 4), np.float32))

    tiles = Tiling(32, 1.0, (120, 200), (120, 200), "")
    bundle = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen"), tiles=tiles)
    Inspector(bundle, coarse, close=right).warm_up()
    for whole, close in ((empty, right), (coarse, empty), (coarse, coarse)):
        with pytest.raises(UserError, match="anomaly_map"):
            Inspector(bundle, whole, close=close).warm_up()
