"""The README's own commands and code, run as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from roinspect.cli import main

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, block in BLOCKS
    for line in block.splitlines()
    if not language and line.startswith("roinspect ")
]
PYTHON = [block for language, block in BLOCKS if language == "python"]


def test_the_readme_shows_the_main_path() -> None:
    assert [command[0] for command in COMMANDS] == ["check", "train", "evaluate", "predict"]
    assert len(PYTHON) == 2


def test_commands_and_code_work_as_shown(
    zipper: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(zipper, "parts")
    shutil.copytree("parts/test/good", "new")
    photographs = sorted(Path("new").iterdir())
    shutil.copy(photographs[0], "new/part.jpg")
    for command in COMMANDS:
        # What a shell would do, and sizes that take a moment instead of minutes.
        words = [word for pattern in command for word in _expanded(pattern)]
        if words[0] == "train":
            size = words.index("--size")
            words = [*words[:size], *words[size + 2 :], *tiny, "--training.steps", "2"]
        assert main(words) == 0, " ".join(command)
    assert Path("model.evaluation/report.html").is_file()
    assert list(Path("seen").rglob("*.png"))
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})


def _expanded(pattern: str) -> list[str]:
    return [str(path) for path in sorted(Path().glob(pattern))] if "*" in pattern else [pattern]
