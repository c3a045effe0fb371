"""What several test files share: a made-up product, and a model trained on it once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = ("--size", "64", "--training.batch_size", "4", "--method.width", "8", "--method.segmenter_width", "8")
"""Options of a training that takes a moment."""


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    return TINY


@pytest.fixture(scope="session")
def zipper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photographs of 64 x 64: 12 train/good, 2 test/good, 6 with defects."""
    from roinspect.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("data") / "zipper"
    write_dataset("zipper", folder, count=20, seed=0, size_hw=(64, 64))
    return folder


@pytest.fixture(scope="session")
def model(zipper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle from four steps of training, through the command line."""
    pytest.importorskip("torch")
    from roinspect.cli import main

    out = tmp_path_factory.mktemp("models") / "zipper.model"
    assert main(["train", "grdnet", str(zipper), "--out", str(out), "--training.steps", "4", *TINY]) == 0
    return out
