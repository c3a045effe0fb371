"""The PC on the line has no torch, and need not wait: checked in a process that cannot import it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from roinspect import Inspector
from roinspect.exports.export import export
from roinspect.images.pixels import read_image

BASE = ("numpy", "cv2", "simplejpeg", "onnxruntime")
"""Beside these and Python's own, the base install has only what the command line needs."""

PROGRAM = """
import sys, time
start = time.process_time()
for name in ("torch", "torchvision", "lightning", "timm", "onnx", "onnxscript", "safetensors", "openvino"):
    sys.modules[name] = None
before = set(sys.modules)
from roinspect import Inspector
verdict = Inspector.load(sys.argv[1], threads=1).inspect(sys.argv[2])
seconds = time.process_time() - start
import json
loaded = sorted({name.split(".")[0] for name in set(sys.modules) - before})
boxes = [region.box_xyxy for region in verdict.regions]
print(json.dumps([verdict.pred_score, boxes, seconds, loaded]))
"""


@pytest.fixture(scope="module")
def told(make_bundle: object, zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    bundle = make_bundle()  # type: ignore[operator]
    export(bundle, "onnx", tell=lambda line: None)
    image = zipper / "test/good/000.png"
    words = [sys.executable, "-c", PROGRAM, str(bundle), str(image)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return bundle, image, json.loads(done.stdout)


def test_the_verdict_is_that_of_torch(told: tuple[Path, Path, list[object]]) -> None:
    bundle, image, (score, boxes, *_) = told
    expected = Inspector.load(bundle, "torch").inspect(read_image(image))
    assert score == pytest.approx(expected.pred_score, rel=1e-4)
    assert [tuple(box) for box in boxes] == [region.box_xyxy for region in expected.regions]  # type: ignore[attr-defined]


def test_import_and_first_verdict_take_less_than_a_second(told: tuple[Path, Path, list[object]]) -> None:
    # Of the processor: other programs on this machine do not count.
    assert told[2][2] < 1.0  # type: ignore[operator]


def test_nothing_else_is_loaded(told: tuple[Path, Path, list[object]]) -> None:
    loaded = set(told[2][3]) - sys.stdlib_module_names  # type: ignore[call-overload]
    assert {name for name in loaded if not name.startswith("_")} <= {*BASE, "roinspect"}
