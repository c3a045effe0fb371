"""The zip for the line is installed and started without anything else of ours."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.studio.state.line_kit import line_kit, wheel_of_roinspect


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """The zip of a model, unpacked."""
    model = tmp_path / "m-1"
    model.mkdir()
    (model / "bundle.json").write_text("{}")
    with zipfile.ZipFile(io.BytesIO(line_kit(model))) as archive:
        archive.extractall(tmp_path / "out")
        assert archive.getinfo("m-1-line/start.sh").external_attr >> 16 == 0o755
    return tmp_path / "out" / "m-1-line"


def test_pip_installs_the_wheel_and_the_command_runs(kit: Path, tmp_path: Path) -> None:
    (wheel,) = kit.glob("*.whl")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    assert (target / "roinspect" / "py.typed").is_file() and (target / "bin" / "roinspect").is_file()
    assert list((target / "roinspect").rglob("*.j2")) and list((target / "roinspect").rglob("*.css"))
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import roinspect; print(roinspect.__file__)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.startswith(str(target))
    assert list(target.glob("roinspect-*.dist-info/licenses/LICENSE"))


def test_the_start_script_installs_once_and_watches_the_folder(kit: Path, tmp_path: Path) -> None:
    if (shell := shutil.which("sh")) is None:
        pytest.skip("no sh on this machine")
    # In place of Python: its venv has a pip that installs a command that prints its arguments.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, lines in {
        "python3": f'mkdir -p "$3/bin"; cp {tools}/python "$3/bin"; echo made',
        "python": f'echo "$@"; cp {tools}/roinspect "$(dirname "$0")"',
        "roinspect": 'echo "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tools / name).chmod(0o755)
    words = [shell, str(kit / "start.sh"), "my photographs"]
    path = {"PATH": f"{tools}:/usr/bin:/bin"}
    runs = [
        subprocess.run(words, cwd=tmp_path, env=path, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert "made" in runs[0] and ".whl" in runs[0] and "made" not in runs[1]
    assert runs[1] == f"watch {kit}/m-1 my photographs --out {kit}/results.jsonl\n"
    assert (tmp_path / "my photographs").is_dir()


def test_the_scripts_name_the_wheel_and_the_model(kit: Path) -> None:
    (wheel,) = kit.glob("*.whl")
    for name in ("start.sh", "start.bat", "README.txt"):
        text = (kit / name).read_text()
        assert (
            wheel.name in text
            and "m-1" in text
            and "@" not in text.replace("@echo off", "").replace('"$@"', "")
        )
    assert b"\r\n" in (kit / "start.bat").read_bytes() and b"\r" not in (kit / "start.sh").read_bytes()


def test_without_an_installation_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("roinspect.studio.state.line_kit.distribution", missing)
    with pytest.raises(UserError, match="without being installed"):
        wheel_of_roinspect()
