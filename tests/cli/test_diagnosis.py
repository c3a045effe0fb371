"""The doctor says what a verb lacks and how to get it, imports little, and survives broken drivers."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from roinspect.cli import EXTRAS, VERBS, main
from roinspect.cli import diagnosis as doctor
from roinspect.cli.diagnosis import BASE, Needs, diagnose, version

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HEAVY = ("torch", "lightning", "timm", "gradio", "fastapi", "ray", "openvino", "anomalib")
WITHOUT = f"""
import sys
for name in {HEAVY}:
    sys.modules[name] = None
from roinspect.cli import main
raise SystemExit(main(["doctor", *sys.argv[1:]]))
"""


def output(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["doctor", *options]) == 0
    return capsys.readouterr().out


def test_every_verb_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "--json"))
    assert [state["verb"] for state in found["verbs"]] == list(VERBS)
    assert found["cores"] >= 1 and found["faults"] == []
    assert "CPUExecutionProvider" in found["onnxruntime_providers"]
    table = output(capsys)
    assert all(verb in table for verb in VERBS)


def test_the_base_install_tells_what_to_install() -> None:
    words = [sys.executable, "-c", WITHOUT]
    table, raw = (
        subprocess.run([*words, *options], capture_output=True, text=True, check=True).stdout
        for options in ([], ["--json"])
    )
    found = json.loads(raw)
    states = {state["verb"]: state for state in found["verbs"]}
    assert states["check"]["runs"] and states["predict"]["runs"] and not states["train"]["runs"]
    assert {"torch", "timm", "lightning"} <= set(states["train"]["missing"])
    assert states["train"]["install"] == 'pip install "roinspect[train]"'
    assert states["serve"]["install"] == 'pip install "roinspect[serve,openvino]"'
    assert set(states["compare"]["optional"]) == {"peers", "scale"}
    assert 'pip install "roinspect[' in table and "does not run" in table and found["install"] in table
    assert found["openvino_devices"] == [] and found["torch_cuda"] is None


def test_nothing_heavy_is_imported() -> None:
    program = "import sys; from roinspect.cli import main; main(['doctor', '--json']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.splitlines()[-1].split())


def test_extras_are_those_of_the_package() -> None:
    assert set(EXTRAS) == set(PYPROJECT["optional-dependencies"]) - {"dev", "docs", "test"}
    assert len(PYPROJECT["dependencies"]) == len(BASE)


def test_a_base_module_that_does_not_load_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "BASE", (*BASE, "no_such_module"))
    assert main(["doctor"]) == 1
    assert "no_such_module: No module named" in capsys.readouterr().out


def test_drivers_that_fail_or_hang_are_no_devices() -> None:
    assert doctor._ask([sys.executable, "-c", "print('a'); raise SystemExit(3)"]) == ()
    assert doctor._ask(["/no/such/program"]) == ()
    assert doctor._ask([sys.executable, "-c", "print('a\\nb')"]) == ("a", "b")

    def hangs(*words: object, timeout: float, **options: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("nvidia-smi", timeout)

    assert doctor._ask(["nvidia-smi"], run=hangs) == ()


def test_a_gpu_and_a_torch_for_cpus_is_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    if version("torch") is None:
        pytest.skip("needs torch")
    monkeypatch.setattr(doctor, "_gpus", lambda: ("NVIDIA T4, 15360 MiB",))
    monkeypatch.setattr(doctor, "_torch_cuda", lambda: None)
    assert "CUDA build" in " ".join(diagnose({}, EXTRAS).remarks)


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_installed_here").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert version("not_installed_here") is None
    (tmp_path / "not_installed_here/__init__.py").touch()
    assert version("not_installed_here") == "?"


def test_an_extra_counts_only_for_verbs_that_ask_for_it() -> None:
    extras = {"a": frozenset({"no_such_module"}), "b": frozenset({"json"})}
    needs = {"x": Needs(("a", "b")), "y": Needs(("b",)), "z": Needs((), {"a": "more"})}
    x, y, z = diagnose(needs, extras).verbs
    assert (x.runs, x.missing, x.install) == (False, ("no_such_module",), 'pip install "roinspect[a]"')
    assert (y.runs, y.install) == (True, "")
    assert (z.runs, dict(z.optional)) == (True, {"a": "more"})
