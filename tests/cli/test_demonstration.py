"""The demo runs the whole workflow in one folder, and touches no other files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("torch")
from roinspect import UserError
from roinspect.cli import main
from roinspect.cli.demonstration import SETTINGS, demo

TINY = dataclasses.replace(SETTINGS, size="64", steps=2, batch_size=2)


def test_from_nothing_to_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    demo(out, training=TINY, count=20, size_hw=(64, 64))
    output = capsys.readouterr().out
    for word in ("verdict", "score", "threshold", "report.html"):
        assert word in output
    assert {path.name for path in out.iterdir()} == {"zipper", "model", "model.run", "evaluation", "pictures"}
    assert len(list((out / "pictures").iterdir())) == 1

    with pytest.raises(UserError, match="--overwrite"):
        demo(out, training=TINY)
    (out / "mine.txt").write_text("kept")
    demo(out, training=TINY, count=20, size_hw=(64, 64), overwrite=True)
    assert (out / "mine.txt").read_text() == "kept"


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    for options in ([], ["--overwrite"]):
        assert main(["demo", "--out", str(tmp_path), *options]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert "Traceback" not in capsys.readouterr().err
