"""A method of another package is one of ours: in every verb, and in the studio."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from roinspect.methods.registry import BUILT_IN, GROUP

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def install(site: Path, name: str, value: str) -> None:
    """As pip would, a package whose metadata name one method."""
    info = site / f"roinspect_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: roinspect-{name}\nVersion: 1.0\nSummary: Colours of good parts\n"
    )
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copyfile(Path(__file__).with_name("toy_method.py"), folder / "toy_method.py")
    install(folder, "toy", "toy_method:Toy")
    install(folder, "lost", "no_such_package:Lost")
    install(folder, "odd", "toy_method:ToySettings")
    install(folder, "roibank", "toy_method:Toy")
    return folder


@pytest.fixture(scope="module")
def run(site: Path) -> Run:
    """The command, or Python, where that package is installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended

    return run


@pytest.fixture(scope="module")
def toy(run: Run, zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "toy.model"
    options = ("--size", "64", "--method.learning_rate", "0.5")
    told = run("-m", "roinspect", "train", "toy", zipper, "--out", out, *options).stdout
    assert "Parts are rejected at scores of" in told
    return out


def test_it_is_exported_and_predicts_the_same_in_every_runtime(run: Run, toy: Path, zipper: Path) -> None:
    folder = zipper / "test" / "good"
    scores = []
    for target, runtime in (("", "torch"), ("onnx", "onnxruntime"), ("torchscript", "torchscript")):
        if target:
            run("-m", "roinspect", "export", toy, "--to", target)
        lines = run("-m", "roinspect", "predict", toy, folder, "--runtime", runtime).stdout.splitlines()
        scores.append([json.loads(line)["pred_score"] for line in lines])
    assert len(scores[0]) == 2 and scores[1] == pytest.approx(scores[0], rel=1e-4) == scores[2]


def test_it_is_evaluated_and_compared(run: Run, toy: Path, zipper: Path, tmp_path: Path) -> None:
    assert "image AUROC" in run("-m", "roinspect", "evaluate", toy, zipper, "--out", tmp_path / "e").stdout
    options = ("--methods", "toy", "--seeds", "1", "--size", "64", "--arms", "plain", "--budget", "5s")
    told = run("-m", "roinspect", "compare", zipper, "--out", tmp_path / "c", *options).stdout
    assert "| toy |" in told


def test_every_list_has_it(run: Run) -> None:
    assert "roibank, lost, odd, toy, segmenter;" in run("-m", "roinspect", "train", "--help").stdout
    assert "--method.learning_rate" in run("-m", "roinspect", "train", "toy", "--help").stdout
    pytest.importorskip("gradio")
    studio = "from roinspect.studio.state.training import METHODS; print(METHODS['toy'])"
    assert "Colours of good parts" in run("-c", studio).stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [("lost", "method lost: cannot be imported (No module named"), ("odd", "is not a Method of this name")],
)
def test_a_package_that_is_damaged_is_one_line(run: Run, zipper: Path, name: str, told: str) -> None:
    ended = run("-m", "roinspect", "train", name, zipper, "--out", "x", code=2)
    assert told in ended.stderr and "Traceback" not in ended.stderr


def test_a_name_of_ours_stays_ours(run: Run) -> None:
    ask = "from roinspect.methods.registry import METHODS; print(METHODS['roibank'])"
    ended = run("-c", ask)
    assert ended.stdout.strip() == BUILT_IN["roibank"]
    assert "toy_method:Toy" in ended.stderr


TARGET = """
from pathlib import Path
import sys
from roinspect.inspection.targets import TARGETS
from roinspect.inspection.targets.onnx import Onnx

class Copy(Onnx):
    runtime, files = "copyruntime", ("graph.copy",)

TARGETS["copy"] = Copy()
from roinspect.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_export_target_is_a_file_and_a_row(run: Run, toy: Path, zipper: Path) -> None:
    run("-c", TARGET, "export", toy, "--to", "copy")
    assert (toy / "copy" / "graph.copy").is_file()
    folder = zipper / "test" / "good"
    told = run("-c", TARGET, "predict", toy, folder, "--runtime", "copyruntime").stdout
    assert told == run("-c", TARGET, "predict", toy, folder, "--runtime", "onnxruntime").stdout
