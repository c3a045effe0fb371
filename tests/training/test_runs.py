"""A run's folder goes on only with what it was begun with; a fingerprint is of contents and their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roinspect.errors import UserError
from roinspect.training.runs import fingerprint, prepare_run

SETTINGS: dict[str, Any] = {"name": "ceod", "data": "1234", "method": {"omega": 0.1, "beta": (0.5, 1.0)}}


def started(run: Path) -> Path:
    """A run with a checkpoint."""
    assert prepare_run(run, SETTINGS, resume=False) is None
    (run / "last.ckpt").write_bytes(b"weights")
    return run


def test_the_same_settings_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    run = started(tmp_path / "a" / "b.run")
    assert prepare_run(run, SETTINGS, resume=True) == run / "last.ckpt"


@pytest.mark.parametrize("begun", [False, True])
def test_without_a_checkpoint_resuming_starts_anew(tmp_path: Path, begun: bool) -> None:
    run = tmp_path / "b.run"
    if begun:
        prepare_run(run, SETTINGS, resume=False)
    assert prepare_run(run, SETTINGS, resume=True) is None
    assert json.loads((run / "settings.json").read_text())["method"] == {"omega": 0.1, "beta": [0.5, 1.0]}


def test_starting_anew_forgets_the_former_run(tmp_path: Path) -> None:
    run = started(tmp_path / "b.run")
    assert prepare_run(run, SETTINGS | {"data": "5678"}, resume=False) is None
    assert [path.name for path in run.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({"data": "5678"}, "data"),
        ({"name": "grdnet"}, "name"),
        ({"method": {"omega": 0.2, "beta": (0.5, 1.0)}}, "method.omega"),
        ({"method": {"omega": 0.1}}, "method.beta"),
        ({"data": "5678", "method": {"omega": 1, "beta": 2, "gate": "all"}},
         "data, method.beta, method.gate, method.omega"),
    ],
)  # fmt: skip
def test_every_difference_is_named_and_nothing_touched(
    tmp_path: Path, now: dict[str, Any], named: str
) -> None:
    run = started(tmp_path / "b.run")
    with pytest.raises(UserError, match=f"other settings: {named};"):
        prepare_run(run, SETTINGS | now, resume=True)
    assert (run / "last.ckpt").read_bytes() == b"weights"


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_kept(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    for run in (tmp_path, tmp_path / "diary.txt"):
        with pytest.raises(UserError, match="choose another --out"):
            prepare_run(run, SETTINGS, resume=resume)
    assert (tmp_path / "diary.txt").read_text() == "dear diary"


def test_a_fingerprint_is_of_contents_not_of_names(tmp_path: Path) -> None:
    one, two, copy = (tmp_path / name for name in ("one", "two", "copy"))
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    copy.write_bytes(b"1")
    assert fingerprint([one, two]) == fingerprint([copy, two]) == fingerprint([one, None, two])
    different = [[one, two], [two, one], [one], [one, one], [one, two, two]]
    assert len({fingerprint(paths) for paths in different}) == len(different)
    assert fingerprint([]) == fingerprint([None]) == "none"
