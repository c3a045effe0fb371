"""The shell's completions are the verbs and options that there are."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from roinspect.cli import VERBS, main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    file = tmp_path_factory.mktemp("completion") / "roinspect.bash"
    with file.open("w") as out, contextlib.redirect_stdout(out):
        assert main(["completion", "bash"]) == 0
    return file


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in ("roinspect", *words))
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _roinspect; echo ${{COMPREPLY[@]}}"
    )
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_first_word_is_a_verb(script: Path) -> None:
    assert completed(script, "") == list(VERBS)
    assert completed(script, "ev") == ["evaluate"]


@pytest.mark.parametrize("verb", ["evaluate", "watch", "calibrate", "train grdnet", "roi predict"])
def test_the_options_are_those_of_the_help(
    verb: str, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb.split(), "--help"]) == 0
    named = {name for name in re.findall(r"  (--[a-z][\w.-]*)", capsys.readouterr().out) if name.islower()}
    words = verb.split() if " " in verb else [verb, "model"]
    assert named and named <= set(completed(script, *words, "--"))


def test_a_method_or_its_default_has_its_settings(script: Path) -> None:
    assert completed(script, "train", "gr") == ["grdnet"]
    assert completed(script, "train", "grdnet", "--method.lat") == ["--method.latent"]
    assert completed(script, "train", "parts", "--method.stri") == ["--method.strictness", "--method.strides"]
    assert completed(script, "train", "grdnet", "--method.stri") == []


def test_what_is_no_option_is_left_to_the_shell(script: Path) -> None:
    assert completed(script, "evaluate", "mod") == []
    assert "-o default" in script.read_text()


def test_zsh_reads_the_same_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit && bashcompinit\n_roinspect() {")
    assert main(["completion", "fish"]) == 2
