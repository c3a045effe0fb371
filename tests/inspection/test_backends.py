"""A runtime runs what was made from these weights and checked, or says in one line why not."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from roinspect import Inspector, UserError
from roinspect.exports.export import export
from roinspect.inspection.backends import TARGET_OF
from roinspect.inspection.bundle import Threshold, replace_threshold
from roinspect.inspection.targets import TARGETS

PIXELS = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)


def silent(line: str) -> None:
    """Tells nobody."""


@pytest.fixture(scope="session")
def kept(make_bundle: Callable[..., Path]) -> Path:
    """A bundle that holds every format, not to be written to."""
    pytest.importorskip("openvino")
    bundle = make_bundle()
    for form in TARGETS:
        export(bundle, form, tell=silent)
    return bundle


@pytest.fixture
def exported(kept: Path, tmp_path: Path) -> Path:
    """The same, to write to."""
    return Path(shutil.copytree(kept, tmp_path / "exported"))


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_auto_takes_what_is_exported_and_installed(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Inspector.load(exported).runtime == "openvino"
    without(monkeypatch, "openvino")
    assert Inspector.load(exported).runtime == "onnxruntime"
    shutil.rmtree(exported / "onnx")
    assert Inspector.load(exported).runtime == "torch"
    without(monkeypatch, "roinspect.methods.method")
    with pytest.raises(UserError, match=r'openvino is not installed; pip install "roinspect\[openvino\]"'):
        Inspector.load(exported)
    shutil.rmtree(exported / "openvino")
    with pytest.raises(UserError, match=r"torch, .* is not installed; .* roinspect export .* --to onnx"):
        Inspector.load(exported)


def test_another_threshold_makes_no_export_stale(exported: Path) -> None:
    score = Inspector.load(exported, "torch").inspect(PIXELS).pred_score
    runtimes: tuple[str, ...] = ("openvino", "onnxruntime", "torchscript")
    for threshold in (score * 0.9, score * 1.1):
        replace_threshold(exported, Threshold(threshold, "chosen anew"))
        for runtime in runtimes:
            verdict = Inspector.load(exported, runtime).inspect(PIXELS)
            assert verdict.threshold == threshold and verdict.is_defect == (score >= threshold)


def test_other_weights_make_every_export_stale(
    exported: Path, make_bundle: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = make_bundle(seed=1)
    for name in ("bundle.json", "weights.safetensors"):
        shutil.copyfile(other / name, exported / name)
    for runtime in TARGET_OF:
        with pytest.raises(UserError, match="exported from other weights or settings; run: roinspect export"):
            Inspector.load(exported, runtime)
    with caplog.at_level(logging.WARNING):
        found = Inspector.load(exported)
    assert found.runtime == "torch" and "other weights" in caplog.text
    assert found.inspect(PIXELS).pred_score == Inspector.load(other).inspect(PIXELS).pred_score


@pytest.mark.parametrize("runtime", TARGET_OF)
def test_a_damaged_export_is_refused(exported: Path, runtime: str) -> None:
    form = TARGET_OF[runtime]
    for name in TARGETS[form].files:
        file = exported / form / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError, match="changed or damaged since it was exported"):
            Inspector.load(exported, runtime)
        file.unlink()
        with pytest.raises(UserError, match="damaged"):
            Inspector.load(exported, runtime)
        file.write_bytes(whole)
    (exported / form / "export.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        Inspector.load(exported, runtime)


def test_what_is_not_exported_says_how_to(bundle: Path) -> None:
    with pytest.raises(UserError, match=r"no such export; run: roinspect export .* --to onnx"):
        Inspector.load(bundle, "onnxruntime")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"runtime": "tensorrt"}, "no such runtime: tensorrt; choose one of auto, openvino"),
        ({"threads": 0}, "threads: must be at least 1"),
        ({"streams": 0}, "streams: must be at least 1"),
        ({"runtime": "openvino", "providers": ["CUDAExecutionProvider"]}, "providers: are ONNX Runtime's"),
        ({"providers": ["NoSuchProvider"]}, "has no NoSuchProvider, only .*CPUExecutionProvider"),
        ({"runtime": "onnxruntime", "providers": ["CPUExecutionProvider", "TpuProvider"]}, "no TpuProvider,"),
    ],
)
def test_what_cannot_be_run_is_one_line(bundle: Path, options: dict[str, object], told: str) -> None:
    export(bundle, "onnx", tell=silent)
    with pytest.raises(UserError, match=told) as error:
        Inspector.load(bundle, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_no_silent_cpu(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    export(bundle, "onnx", tell=silent)
    known = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    with pytest.raises(UserError, match="CUDAExecutionProvider could not be started"):
        Inspector.load(bundle, providers=["CUDAExecutionProvider"])


def test_the_cpu_may_be_named(bundle: Path) -> None:
    export(bundle, "onnx", tell=silent)
    inspector = Inspector.load(bundle, providers=["CPUExecutionProvider"], threads=1)
    assert inspector.runtime == "onnxruntime" and np.isfinite(inspector.inspect(PIXELS).pred_score)


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("runtime", [*TARGET_OF, "torch"])
def test_threads_may_share_an_inspector(kept: Path, runtime: str, streams: int) -> None:
    inspector = Inspector.load(kept, runtime, threads=1, streams=streams)
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 40 * number + 20, (64, 96, 3)).astype(np.uint8) for number in range(5)] * 4
    alone = [inspector.inspect(image).pred_score for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = [verdict.pred_score for verdict in pool.map(inspector.inspect, images)]
    assert together == pytest.approx(alone, rel=1e-5)
    in_turn = [verdict.pred_score for verdict in inspector.inspect_many(images)]
    assert in_turn == pytest.approx(alone, rel=1e-5)


def test_a_signal_after_a_reload_is_handled(exported: Path) -> None:
    pytest.importorskip("openvino")
    program = """
import os, signal, sys, threading
from roinspect import Inspector
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
kept = [Inspector.load(sys.argv[1], "openvino")]
reload = threading.Thread(target=lambda: kept.__setitem__(0, Inspector.load(sys.argv[1], "openvino")))
reload.start()
reload.join()
os.kill(os.getpid(), signal.SIGTERM)
"""
    words = [sys.executable, "-c", program, str(exported)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "handled\n"), told.stderr


def test_two_first_inferences_side_by_side_come_to_an_end(exported: Path) -> None:
    pytest.importorskip("openvino")
    program = """
import sys, threading
import numpy as np
from roinspect import Inspector
sys.setswitchinterval(1e-6)
inspector = Inspector.load(sys.argv[1], "openvino", streams=2)
image, together = np.zeros((*inspector.bundle.size_hw, 3), np.uint8), threading.Barrier(2)
threads = [threading.Thread(target=lambda: (together.wait(), inspector.inspect(image))) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    # It took about every second process.
    words = [sys.executable, "-c", program, str(exported)]
    running = [subprocess.Popen(words) for _ in range(4)]
    try:
        assert [process.wait(60) for process in running] == [0] * 4
    finally:
        for process in running:
            process.kill()
