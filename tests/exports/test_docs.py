"""The programs in docs/deploy.md run as they stand, and agree with `Inspector`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from roinspect import Inspector
from roinspect.exports.export import export
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import Threshold, replace_threshold
from roinspect.inspection.exported import graph_file

TEXT = (Path(__file__).resolve().parents[2] / "docs/deploy.md").read_text(encoding="utf-8")
CPP = {
    "onnxruntime" if "onnxruntime" in block else "openvino": block
    for block in re.findall(r"```cpp\n(.*?)```", TEXT, re.DOTALL)
}
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
ONNXRUNTIME = os.environ.get("ONNXRUNTIME_HOME", "")
"""An unpacked release of ONNX Runtime for C++, with include/ and lib/: the wheel has no headers, though its
library will do."""


def openvino_flags() -> list[str]:
    spec = importlib.util.find_spec("openvino")
    assert spec is not None and spec.origin is not None
    home = Path(spec.origin).parent
    (library,) = (home / "libs").glob("libopenvino.so*")
    return [f"-isystem{home / 'include'}", str(library), *rpath(home / "libs")]


def onnxruntime_flags() -> list[str]:
    home = Path(ONNXRUNTIME)
    return [f"-isystem{home / 'include'}", f"-L{home / 'lib'}", "-lonnxruntime", *rpath(home / "lib")]


def rpath(folder: Path) -> list[str]:
    return [f"-Wl,-rpath,{folder}", f"-Wl,-rpath-link,{folder}"]


def test_every_language_is_there() -> None:
    assert set(CPP) == {"onnxruntime", "openvino"} and "```csharp\n" in TEXT and len(PYTHON) == 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize(
    ("engine", "to"),
    [
        pytest.param(
            "openvino",
            "openvino",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is None, reason="needs openvino, whose wheel has headers"
            ),
        ),
        pytest.param(
            "onnxruntime",
            "onnx",
            marks=pytest.mark.skipif(
                not ONNXRUNTIME, reason="needs ONNX Runtime for C++; name its folder in ONNXRUNTIME_HOME"
            ),
        ),
    ],
)
def test_the_cpp_program_gives_the_verdict(engine: str, to: str, bundle: Path, tmp_path: Path) -> None:
    export(bundle, to, tell=lambda line: None)
    flags = openvino_flags() if engine == "openvino" else onnxruntime_flags()
    (tmp_path / "inspect.cpp").write_text(CPP[engine])
    run(["g++", "-std=c++17", "-Wall", "-Werror", "inspect.cpp", *flags, "-o", "inspect"], tmp_path)
    inspector = Inspector.load(bundle, "torch")
    height, width = inspector.bundle.size_hw
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    pixels.tofile(tmp_path / "part.rgb")
    expected = inspector.inspect(pixels)
    assert expected.anomaly_map is not None
    assert expected.scene is not None
    area, novelty = expected.scene.roi_area, expected.scene.novelty
    seen = (area - 0.01, area + 0.01, novelty + 0.01)
    for factor, limits, verdict in (
        (0.99, seen, "defective"),
        (1.01, seen, "good"),
        (1.01, (area + 0.01, 1.0, novelty + 0.01), "not inspectable"),
        (1.01, (-0.01, area - 0.01, novelty + 0.01), "not inspectable"),
        (1.01, (area - 0.01, area + 0.01, novelty - 0.01), "not inspectable"),
    ):
        numbers = map(repr, (height, width, expected.pred_score * factor, *limits))
        words = ["./inspect", str(graph_file(bundle, to)), "part.rgb", *numbers]
        score, corner, told = run(words, tmp_path).split(maxsplit=2)
        assert float(score) == pytest.approx(expected.pred_score, rel=1e-4)
        assert float(corner) == pytest.approx(float(expected.anomaly_map[0, 0]), rel=1e-3)
        assert told.strip() == verdict


def test_the_python_programs_run(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_threshold(bundle, Threshold(0.0, "everything is rejected"))
    export(bundle, "onnx", tell=lambda line: None)
    shutil.move(bundle, tmp_path / "model")
    rng = np.random.default_rng(0)
    for name in ("part.jpg", "other.png"):
        write_image(tmp_path / "new" / name, rng.integers(0, 255, (50, 60, 3), np.uint8))
    (tmp_path / "new/none.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    for program in PYTHON:
        exec(compile(program, "docs/deploy.md", "exec"), {})
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("defective ") and len(told) == 6 and told[2].startswith("{'image_path'")
    assert [line.endswith("defective") for line in told[3:]] == [False, True, True] and "none.png" in told[3]


def run(words: Sequence[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
