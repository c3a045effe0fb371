"""The scripts of examples/ run as they stand, and show what they promise."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from roinspect.images.pixels import read_image, read_mask, write_image

pytest.importorskip("torch")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"[`{path.name}`]({path.name})" in listed and path.stem in here


def test_photographs_to_a_verdict_and_the_export_without_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    script("train_and_inspect").main(tmp_path, 64)
    told = capsys.readouterr().out
    assert (tmp_path / "report/report.html").is_file() and "image AUROC" in told
    words = [
        str(EXAMPLES / "onnx_without_torch.py"),
        str(tmp_path / "model"),
        str(tmp_path / "parts/test/good"),
    ]
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == len(list((tmp_path / "parts/test/good").iterdir()))
    assert all(" pass" in line or "reject: " in line for line in lines)


def test_ceod_draws_the_heat_into_the_roi() -> None:
    plain, steered = script("ceod_in_your_own_loop").main(200)
    assert steered > 0.65 and steered > plain + 0.2


def test_synthetic_defects_lie_where_their_masks_say(tmp_path: Path) -> None:
    photograph = np.random.default_rng(0).integers(60, 200, (48, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "part.png", photograph)
    script("synthetic_defects").main(tmp_path / "part.png", tmp_path / "out")
    for number in range(4):
        mask = read_mask(tmp_path / f"out/{number}_mask.png") > 0
        changed = (read_image(tmp_path / f"out/{number}.png") != photograph).any(2)
        assert mask.any() and not (changed & ~mask).any()


def test_measures_inside_the_roi_tell_the_two_detectors_apart() -> None:
    knowing, looking = script("measure_inside_the_roi").main().values()
    assert knowing == 0 and looking == 13
