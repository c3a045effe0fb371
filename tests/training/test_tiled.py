"""Two looks: what is trained on tiles inspects photographs at their own resolution, in every runtime."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import roinspect.data.dataset as dataset
from roinspect.cli import main
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.data.tiles import decode_with_tiles
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask, resize_image, write_image
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.inspector import Inspector
from roinspect.methods.loading import load_graphs
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.nn.backbone import PACKAGED, PREFERRED
from roinspect.synthetic.products import write_dataset

ROOT = Path(__file__).resolve().parents[2]
SIZE = (160, 192)
METHODS = {
    "roibank": ["--method.backbone", "test_efficientnet", "--method.weights", "none",
                "--method.strides", "[4,8]", "--method.memory_size", "50", "--method.candidates", "500"],
    "grdnet": ["--method.width", "8", "--method.segmenter_width", "8"],
    "ceod": ["--method.backbone", "test_efficientnet", "--method.weights", "none", "--method.stride", "8"],
}  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zippers of 160 x 192 pixels; some of the defective ones are for training."""
    folder = tmp_path_factory.mktemp("large") / "zipper"
    write_dataset("zipper", folder, count=40, seed=1, size_hw=SIZE, train_defects=0.6)
    return folder


def train(method: str, data: Path, out: Path, *options: str) -> int:
    common = ["--size", "64", "--tile", "64", "--training.steps", "2", "--training.batch_size", "4"]
    return main(["train", method, str(data), "--out", str(out), *common, *METHODS[method], *options])


@pytest.fixture(scope="module")
def bundles(large: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    for method in METHODS:
        assert train(method, large, place / method) == 0
    return {method: place / method for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trained_on_tiles_inspects_photographs(
    bundles: dict[str, Path], large: Path, method: str, tmp_path: Path
) -> None:
    bundle = read_bundle(bundles[method])
    assert bundle.tiles is not None and bundle.tiles.side == 64
    assert bundle.tiles.smallest_hw == bundle.tiles.largest_hw == SIZE
    inspector = Inspector.load(bundles[method])
    verdict = inspector.inspect(next((large / "test" / "good").iterdir()))
    assert verdict.anomaly_map is not None and verdict.anomaly_map.shape == SIZE
    assert verdict.verdict is not None and np.isfinite(verdict.pred_score)
    if bundle.map_share is None:
        assert verdict.pred_score == pytest.approx(float(verdict.anomaly_map.max()))
    assert main(["evaluate", str(bundles[method]), str(large), "--out", str(tmp_path / "out")]) == 0
    with pytest.raises(UserError, match="is 64x64 pixels"):
        inspector.inspect(np.zeros((64, 64, 3), np.uint8))


def test_a_transformer_looks_at_tiles_and_a_cnn_finds_the_region(large: Path, tmp_path: Path) -> None:
    """A transformer has no levels that are fine enough."""
    pytest.importorskip("onnxscript")
    options = ("--method.backbone", "test_vit", "--method.strides", "[16]")
    assert train("roibank", large, tmp_path / "bundle", *options) == 0
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.tiles is not None and bundle.tiles.backbone in (PREFERRED, PACKAGED)
    assert bundle.method_settings["backbone"] == "test_vit"
    assert main(["export", str(tmp_path / "bundle"), "--to", "onnx"]) == 0


def test_what_is_in_a_tile_does_not_depend_on_the_rest_of_it(bundles: dict[str, Path]) -> None:
    close = load_graphs(bundles["roibank"]).close
    assert isinstance(close, RoiBankGraph)
    parts = torch.rand(1, len(close.usual), 16, 16)
    other = parts.clone()
    other[..., 8:] += 5
    roi = torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(close.scaled(parts, roi)[..., :8], close.scaled(other, roi)[..., :8])


@pytest.mark.parametrize("method", METHODS)
def test_both_graphs_are_exported_and_give_the_same_verdicts(
    bundles: dict[str, Path], large: Path, method: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    copy = Path(shutil.copytree(bundles[method], tmp_path / "copy"))
    assert main(["export", str(copy), "--to", "onnx"]) == 0
    trained, exported = Inspector.load(copy, "torch"), Inspector.load(copy, "onnxruntime")
    photographs = sorted((large / "test").rglob("*.png"))[:4]
    for one, other in zip(trained.inspect_many(photographs), exported.inspect_many(photographs), strict=True):
        assert one.verdict == other.verdict and other.pred_score == pytest.approx(one.pred_score, rel=1e-3)
    # One manifest entry: a byte of either graph that has changed is noticed.
    file = copy / "onnx" / "close" / "graph.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="changed or damaged"):
        Inspector.load(copy, "onnxruntime")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_cpp_program_looks_where_the_inspector_looks(large: Path, tmp_path: Path) -> None:
    home = Path(pytest.importorskip("openvino").__file__).parent
    # A network that has learned for two steps may find no region.
    mask, bundle = min((large / "roi/test/good").iterdir()), tmp_path / "model"
    assert train("grdnet", large, bundle, "--roi", str(mask)) == 0
    assert main(["export", str(bundle), "--to", "openvino"]) == 0
    (library,) = (home / "libs").glob("libopenvino.so*")
    program, source = tmp_path / "program", ROOT / "examples/inspect_in_tiles.cpp"
    words = [
        "g++",
        "-std=c++17",
        "-Wall",
        "-Werror",
        f"-isystem{home / 'include'}",
        str(source),
        str(library),
    ]
    words += [f"-Wl,-rpath,{home / 'libs'}", f"-Wl,-rpath-link,{home / 'libs'}", "-o", str(program)]
    subprocess.run(words, check=True)
    inspector = Inspector.load(bundle, "torch")
    for photograph in sorted((large / "test/good").iterdir())[:2]:
        pixels = read_image(photograph)
        small = resize_image(pixels, inspector.bundle.size_hw)
        pixels.tofile(tmp_path / "photo.rgb")
        small.tofile(tmp_path / "small.rgb")
        verdict, tiles = inspector.inspect(pixels), len(inspector._looks.tiles(pixels))
        assert verdict.pred_score > 0 and tiles > 1
        numbers = [*map(str, pixels.shape[:2]), "small.rgb", *map(str, small.shape[:2]), "64"]
        for factor, expected in ((0.9, "defective"), (1.1, "good")):
            words = [str(program), "model/openvino", "photo.rgb", *numbers, repr(factor * verdict.pred_score)]
            run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
            score, count, said = run.stdout.split(maxsplit=2)
            # OpenCV samples the region at 32nds of a cell.
            assert float(score) == pytest.approx(verdict.pred_score, rel=0.02)
            assert (int(count), said.strip()) == (tiles, expected)


def test_an_interrupted_training_resumes(large: Path, tmp_path: Path, bundles: dict[str, Path]) -> None:
    out = tmp_path / "again"
    assert train("grdnet", large, out) == 0
    shutil.rmtree(out)
    assert train("grdnet", large, out, "--resume") == 0
    assert read_bundle(out).threshold == read_bundle(bundles["grdnet"]).threshold


def test_one_mask_for_all_leaves_the_coarse_network_out(large: Path, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[40:120, 60:140] = 255
    write_image(tmp_path / "roi.png", mask)
    assert train("roibank", large, tmp_path / "still", "--roi", str(tmp_path / "roi.png")) == 0
    bundle = read_bundle(tmp_path / "still")
    assert bundle.tiles is not None and bundle.tiles.backbone == ""
    verdict = Inspector.load(tmp_path / "still").inspect(next((large / "test" / "good").iterdir()))
    assert verdict.anomaly_map is not None and not verdict.anomaly_map[:20].any()
    assert verdict.anomaly_map[60:100, 80:120].any()


def test_the_threshold_can_be_chosen_again(bundles: dict[str, Path], large: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundles["roibank"], tmp_path / "copy"))
    assert main(["calibrate", str(copy), str(large), "--false-reject", "0.4"]) == 0


# -- decoding ------------------------------------------------------------------------------------------------


def decoded(data: Path, side: int = 64, scale: float = 1.0, **options: Any) -> Any:
    source = read_data(data, "auto")
    options = {"clean_of_defective": False, **options}
    records = attach_roi(source, source.not_test())
    return decode_with_tiles(records, (64, 64), side, scale, **options)


def test_every_photograph_is_decoded_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def counted(*arguments: Any, **options: Any) -> Any:
        names.append(str(options["name"]))
        return read_image(*arguments, **options)

    monkeypatch.setattr(dataset, "read_image", counted)
    photographs = decoded(large)
    assert len(names) == len(set(names)) == len(photographs.whole)
    photographs.close()


def test_tiles_are_cut_from_the_photograph_and_labelled_by_the_roi_rule(large: Path) -> None:
    photographs = decoded(large, clean_of_defective=True)
    tiles, labels = photographs.tiles, photographs.tiles.labels
    assert 0 < (labels == 1).sum() < len(labels) and photographs.is_complete.all()
    for row in range(len(tiles)):
        record = photographs.whole.records[photographs.photograph[row]]
        left, top = map(int, tiles.records[row].key.rsplit(" at ", 1)[1].split(", "))
        place = np.s_[top : top + 64, left : left + 64]
        assert np.array_equal(tiles.images[row], read_image(record.image_path)[place])
        roi = read_mask(record.roi_path)[place]
        assert np.array_equal(tiles.roi_masks[row], roi) and roi.any()
        damage = 0 if record.mask_path is None else read_mask(record.mask_path)[place] & roi
        assert labels[row] == int(np.any(damage)) and tiles.records[row].group
    clean = decoded(large)
    good = {record.key for record in photographs.whole.records if record.label == 0}
    assert {r.key.rsplit(" at ", 1)[0] for r in clean.tiles.records if r.label == 0} <= good
    photographs.close()
    clean.close()


def test_a_defect_with_an_empty_mask_is_not_learned_as_good(large: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(large, tmp_path / "copy"))
    source = read_data(copy, "auto")
    defective = next(record for record in source.not_test() if record.mask_path is not None)
    assert isinstance(defective.mask_path, Path)
    write_image(defective.mask_path, np.zeros(SIZE, np.uint8))
    with pytest.raises(UserError, match="is empty, but it is labelled defective"):
        decoded(copy, clean_of_defective=True)


def test_nothing_is_left_behind(large: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="smaller than a tile"):
        decoded(large, side=256, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    photographs = decoded(large, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    photographs.close()
    assert not list(tmp_path.iterdir())


def test_a_smaller_scale_needs_fewer_tiles(large: Path) -> None:
    some, fewer = decoded(large), decoded(large, scale=0.5)
    assert len(fewer.tiles) < len(some.tiles) and len(fewer.whole) == len(some.whole)
    some.close()
    fewer.close()


def test_what_is_wrong_is_said_in_one_line(
    large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*options: str, method: str = "roibank") -> str:
        out = tmp_path / "model"
        common = ["train", method, str(large), "--out", str(out), "--size", "64"]
        assert main([*common, *options]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert not out.exists()
        return error

    assert "smaller than a tile of 256" in fault("--tile", "256")
    assert "smaller than a tile of 128 at scale 0.5" in fault("--tile", "128", "--scale", "0.5")
    assert "is for tiles" in fault("--scale", "0.5")
    assert "--tile" in fault("--tile", "64", method="segmenter")
    assert "multiple of 32" in fault("--tile", "50")
