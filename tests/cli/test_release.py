"""`roinspect release`: put a model on the line, list, roll back by name; each fault is one line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from roinspect.cli import main
from roinspect.inspection.bundle import Threshold, bundle_version, read_bundle
from roinspect.inspection.release_history import account

from ..graphs import constant_graph, forge

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main(["release", *map(str, arguments)])


@pytest.fixture
def line(tmp_path: Path) -> Path:
    return tmp_path / "line.model"


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [
        forge(tmp_path / name, constant_graph(), threshold=Threshold(value, "chosen"))
        for name, value in (("one", 0.5), ("two", 0.75))
    ]


def test_release_list_and_back(pair: list[Path], line: Path, capsys: Capture) -> None:
    assert run(pair[0], "--to", line, "--name", "a") == 0
    told = capsys.readouterr().out
    assert f"{line} is now a.\n" in told and "Roll back" not in told
    assert run(pair[1], "--to", line, "--name", "b") == 0
    told = capsys.readouterr().out
    assert f"{line} is now b; before it was a.\n" in told and "restart `watch`" in told
    back = told.splitlines()[-1].removeprefix("Roll back: roinspect release ").split()
    assert back == ["--to", str(line), "--back", "a"]
    capsys.readouterr()

    assert run("--to", line) == 0
    _, first, second, end = capsys.readouterr().out.splitlines()
    assert first.split()[:3] == ["a", bundle_version(pair[0]), "forged"] and "0.5" in first.split()
    assert second.split()[:3] == ["*", "b", bundle_version(pair[1])] and "0.75" in second.split()
    assert account() in first and "released 20" in first and end == f"* is current in {line}."

    assert run(*back) == 0
    assert read_bundle(line).threshold.value == 0.5
    capsys.readouterr()
    assert run(*back) == 0
    assert capsys.readouterr().out == f"{line}: a is already current.\n"


def test_a_bundle_without_photographs_says_that_nothing_was_tested(
    pair: list[Path], line: Path, capsys: Capture
) -> None:
    assert run(pair[0], "--to", line) == 0
    assert "has no reference photographs, so nothing was tested" in capsys.readouterr().err
    assert run(pair[1], "--to", line, "--self-test", "off") == 0
    assert capsys.readouterr().err == ""


def test_the_list_says_what_is_missing_or_changed(pair: list[Path], line: Path, capsys: Capture) -> None:
    assert run(pair[0], "--to", line, "--name", "a") == 0
    (line / "note.txt").write_text("added")
    assert run("--to", line) == 0
    assert "was changed since it was released; the next release keeps it" in capsys.readouterr().out
    line.rename(line.with_name("away"))
    assert run("--to", line) == 0
    assert f"{line} is missing; put one back with --back NAME." in capsys.readouterr().out
    assert run("--to", line, "--back", "a") == 0
    assert read_bundle(line).threshold.value == 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "has no releases"),
        (["--back", "a"], "has no release named a"),
        (["BUNDLE", "--back", "a"], "mutually exclusive"),
        (["--name", "a"], "give its BUNDLE"),
        (["BUNDLE", "--name", "nul"], "not a valid name"),
        (["nowhere"], "cannot be read"),
        (["BUNDLE", "--self-test", "maybe"], "self-test"),
        (["BUNDLE", "--runtime", "openvino"], "openvino"),
    ],
)
def test_a_fault_is_one_line(
    options: list[str], words: str, pair: list[Path], line: Path, capsys: Capture
) -> None:
    assert run(*(str(pair[0]) if word == "BUNDLE" else word for word in options), "--to", line) == 2
    told = capsys.readouterr().err
    assert told.startswith("roinspect: ") and told.count("\n") == 1 and words in told
    assert not line.exists() and not line.with_name("line.model.releases").exists()


def test_to_is_required(pair: list[Path], capsys: Capture) -> None:
    assert run(pair[0]) == 2
    assert "--to: is required" in capsys.readouterr().err


def test_calibrate_says_how_to_roll_back(pair: list[Path], line: Path, capsys: Capture) -> None:
    assert run(pair[0], "--to", line, "--name", "a") == 0
    capsys.readouterr()
    assert main(["calibrate", str(line), "--threshold", "0.9"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4 and told[2].startswith(f"{line} is now 20")
    assert told[3] == f"roinspect release --to {line} --back a"
    assert main(told[3].split()[1:]) == 0
    assert read_bundle(line).threshold.value == 0.5
    capsys.readouterr()
    assert main(["calibrate", str(pair[0]), "--threshold", "0.9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "without a history nothing is said of it"


def test_a_printed_command_runs_where_a_path_has_a_space(
    pair: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    line = tmp_path / "line 2.model"
    assert run("--to", line) == 2
    assert shlex.split(capsys.readouterr().err)[-2:] == ["--to", str(line)]
    assert run(pair[0], "--to", line, "--name", "a") == run(pair[1], "--to", line, "--name", "b") == 0
    released = capsys.readouterr().out.splitlines()[-1].removeprefix("Roll back: ")
    assert main(["calibrate", str(line), "--threshold", "0.9"]) == 0
    calibrated = capsys.readouterr().out.splitlines()[-1]
    for told, threshold in ((calibrated, 0.75), (released, 0.5)):
        assert main(shlex.split(told)[1:]) == 0
        assert read_bundle(line).threshold.value == threshold
    capsys.readouterr()
    for options in (["--back", "c"], [str(pair[0]), "--name", "c"]):
        assert run(*options, "--to", line) == 2
        assert str(line) in shlex.split(capsys.readouterr().err.split("run: ")[1])
