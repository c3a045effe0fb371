"""What is exported answers as what was trained, or there is no export."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from roinspect import Inspector, UserError  # noqa: E402
from roinspect.exports.export import export  # noqa: E402
from roinspect.inspection.bundle import Threshold, read_bundle, replace_threshold  # noqa: E402
from roinspect.inspection.exported import graph_file, read_export  # noqa: E402
from roinspect.inspection.targets import TARGETS  # noqa: E402
from roinspect.inspection.targets.onnx import Onnx  # noqa: E402
from roinspect.inspection.targets.torchscript import TorchScript  # noqa: E402


def silent(line: str) -> None:
    """Tells nobody."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Colour, grey and 16-bit files of odd sizes, smaller and larger than any model's."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, shape, kind, highest in (
        ("colour.png", (61, 47, 3), np.uint8, 256),
        ("grey.png", (203, 33), np.uint8, 256),
        ("deep.png", (97, 211), np.uint16, 65536),
        ("deep_colour.tiff", (131, 129, 3), np.uint16, 65536),
        ("one.png", (1, 1, 3), np.uint8, 256),
        ("photo.jpg", (150, 151, 3), np.uint8, 256),
    ):
        grain = rng.integers(0, highest, shape).astype(np.float32)
        cv2.imwrite(str(folder / name), cv2.blur(grain, (3, 3)).astype(kind))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("method", ["grdnet", "ceod"])
def test_an_export_gives_the_verdicts_of_the_trained_graph(
    method: str, to: str, make_bundle: Callable[..., Path], photographs: list[Path]
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    bundle = make_bundle(method)
    told: list[str] = []
    assert export(bundle, to, images=photographs, tell=told.append) == graph_file(bundle, to)
    assert read_export(bundle, to).precision == "float32"
    assert "14 images" in told[0]

    expected = [Inspector.load(bundle, "torch").inspect(path) for path in photographs]
    # The threshold between two scores: verdicts of both kinds.
    low, high = sorted(verdict.pred_score for verdict in expected)[2:4]
    replace_threshold(bundle, Threshold((low + high) / 2, "chosen"))
    found = Inspector.load(bundle, TARGETS[to].runtime, threads=1)
    assert found.runtime == TARGETS[to].runtime
    for batch_size in (1, 4):
        verdicts = list(found.inspect_many(photographs, batch_size=batch_size))
        for verdict, reference in zip(verdicts, expected, strict=True):
            assert verdict.pred_score == pytest.approx(reference.pred_score, rel=1e-4)
            assert verdict.is_defect == (reference.pred_score > low)
            assert verdict.anomaly_map is not None and reference.anomaly_map is not None
            np.testing.assert_allclose(verdict.anomaly_map, reference.anomaly_map, atol=1e-4)
    assert len({verdict.is_defect for verdict in verdicts}) == 2


def test_the_onnx_file_takes_decoded_pixels_in_any_number(bundle: Path) -> None:
    model = onnx.load(export(bundle, "onnx", tell=silent))
    onnx.checker.check_model(model, full_check=True)
    (image,), outputs = model.graph.input, list(model.graph.output)
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (image, *outputs)
    }
    height, width = read_bundle(bundle).size_hw
    assert shapes == {
        "image": ["batch", height, width, 3],
        "pred_score": ["batch"],
        "anomaly_map": ["batch", 1, height, width],
        "roi_map": ["batch", 1, height // 4, width // 4],
        "novelty": ["batch"],
    }


def test_another_graph_is_refused_with_a_table_and_nothing_stays(
    bundle: Path, make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = export(make_bundle(seed=1), "torchscript", tell=silent)
    monkeypatch.setattr(TorchScript, "write", lambda self, source, file: shutil.copyfile(other, file))
    before, told = content(bundle), list[str]()
    with pytest.raises(UserError, match="does not predict the same as the trained one"):
        export(bundle, "torchscript", tell=told.append)
    assert content(bundle) == before and sorted(path.name for path in bundle.iterdir()) == sorted(before)
    head, score, anomaly_map, scene, verdicts = told[0].splitlines()
    assert "8 images" in head and "allowed" in head
    assert score.startswith("score") and float(score.split()[-2]) > float(score.split()[-1])
    assert (
        anomaly_map.startswith("map")
        and scene.startswith("scene")
        and verdicts.startswith("verdicts changed")
    )


def test_a_refused_export_leaves_the_one_before(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(bundle, "onnx", tell=silent)
    before = content(bundle)

    def full(self: Onnx, source: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Onnx, "write", full)
    with pytest.raises(UserError, match="No space left"):
        export(bundle, "onnx", tell=silent)
    assert content(bundle) == before
    assert Inspector.load(bundle, "onnxruntime").runtime == "onnxruntime"


def test_an_unreadable_photograph_is_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none\.png"):
        export(bundle, "torchscript", images=[tmp_path / "none.png"], tell=silent)
    assert not (bundle / "torchscript").exists()


def test_an_export_is_made_from_these_weights_and_settings(bundle: Path) -> None:
    export(bundle, "torchscript", tell=silent)
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    note = json.loads((bundle / "torchscript" / "export.json").read_bytes())
    assert note["made_from"]["weights_sha256"] == manifest["weights_sha256"]
    assert note["made_from"]["method_settings"] == manifest["method_settings"]


@pytest.mark.parametrize(
    ("to", "int8", "told"), [("tensorrt", None, "no such target"), ("torchscript", Path(), "--int8")]
)
def test_what_cannot_be_exported_is_said_at_once(to: str, int8: Path | None, told: str, bundle: Path) -> None:
    with pytest.raises(UserError, match=told):
        export(bundle, to, int8=int8, tell=silent)


def test_openvino_that_is_not_there_is_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r'openvino is not installed; pip install "roinspect\[openvino\]"'):
        export(bundle, "openvino", tell=silent)
    assert not (bundle / "openvino").exists()


def test_a_full_disk_leaves_nothing_of_openvinos(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")

    def full(*given: object, **options: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino, "save_model", full)
    before = content(bundle)
    with pytest.raises(UserError, match=r"cannot be written \(OpenVINO: basic_ios"):
        export(bundle, "openvino", tell=silent)
    assert content(bundle) == before
