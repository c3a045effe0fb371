"""The commands and code of README and docs, run as they stand."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from roinspect.cli import main
from roinspect.methods.ceod_settings import CeodSettings

ROOT = Path(__file__).resolve().parent.parent
ROIBANK = (ROOT / "docs/roibank.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CEOD = (ROOT / "docs/ceod.md").read_text(encoding="utf-8")
TINY_CEOD = ("--size", "64", "--training.batch_size", "4", "--method.backbone", "customnet")
TINY_ROIBANK = ("--size", "64", "--training.batch_size", "4", "--method.weights", "none")
TINY_ROIBANK += ("--method.backbone", "tf_efficientnet_lite0", "--method.memory_size", "100")
"""Options of trainings that take a moment and need no weights."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every code block."""
    return re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)


def shell_lines(text: str) -> list[str]:
    """The lines of all blocks that hold commands of ours."""
    return [
        line
        for language, block in blocks(text)
        if not language and re.search(r"^roinspect ", block, re.MULTILINE)
        for line in block.splitlines()
    ]


COMMANDS = [shlex.split(line, comments=True)[1:] for line in shell_lines(README)]
PYTHON = [block for language, block in blocks(README) if language == "python"]


def test_the_readme_shows_the_main_path() -> None:
    assert [command[0] for command in COMMANDS] == ["check", "train", "train", "evaluate", "predict"]
    assert [command[1] for command in COMMANDS if command[0] == "train"] == ["parts", "ceod"]
    assert len(PYTHON) == 3


def test_commands_and_code_work_as_shown(
    zipper: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(zipper, "parts")
    shutil.copytree("parts/test/good", "new")
    shutil.copy(min(Path("new").iterdir()), "new/part.jpg")
    for place in ("parts", "parts/roi"):
        shutil.move(f"{place}/test/scratch_inside", f"{place}/train/scratch_inside")
    for command in COMMANDS:
        # What a shell would do, and sizes that take a moment instead of minutes.
        words = [word for pattern in command for word in _expanded(pattern)]
        if words[0] == "train":
            size = words.index("--size")
            words = [*words[:size], *words[size + 2 :], *(TINY_CEOD if words[1] == "ceod" else TINY_ROIBANK)]
            words += ["--training.steps", "2"]
        assert main(words) == 0, " ".join(command)
    assert Path("model.evaluation/report.html").is_file()
    assert list(Path("seen").rglob("*.png")) and list(Path("maps").rglob("*.png"))
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})


def test_the_worked_example_of_roibank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in shell_lines(ROIBANK):
        verb, *words = shlex.split(line)[1:]
        if verb == "synth":
            words += ["--count", "40", "--size", "64"]
        if verb == "train":
            words += [*TINY_ROIBANK, "--training.steps", "2"]
        assert main([verb, *words]) == 0, line
    assert Path("fixed.evaluation/report.html").is_file()


def test_the_worked_example_of_ceod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in shell_lines(CEOD):
        verb, *words = shlex.split(line)[1:]
        if verb == "synth":
            words += ["--count", "40", "--size", "64"]
        if verb == "train":
            words += [*TINY_CEOD, "--training.steps", "2"]
        assert main([verb, *words]) == 0, line
    assert Path("ceod.evaluation/report.html").is_file() and list(Path("maps").iterdir())


def test_the_presets_of_ceod_are_as_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| ([\w.]+) \|$", CEOD, re.MULTILINE)
    compact, paper = (dataclasses.asdict(CeodSettings.preset(name)) for name in ("compact", "paper"))
    differing = {
        name: (str(compact[name]), str(paper[name])) for name in compact if compact[name] != paper[name]
    }
    assert {name: (ours, theirs) for name, ours, theirs in rows} == differing


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/ceod.md", "docs/benchmarks.md"])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert ((ROOT / document).parent / target).exists(), target


def _expanded(pattern: str) -> list[str]:
    return [str(path) for path in sorted(Path().glob(pattern))] if "*" in pattern else [pattern]
