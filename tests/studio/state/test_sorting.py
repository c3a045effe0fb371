"""Photographs are taken in, sorted several at a time and set aside for testing; the command line agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.errors import UserError
from roinspect.images.pixels import write_image
from roinspect.studio.pages.photographs import folder_buttons
from roinspect.studio.state import browsing
from roinspect.studio.state.browsing import browse, make_folder
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.sorting import Place, proposed_test, set_test_aside, sort, take_in
from roinspect.studio.state.training import Wish, begin_training

MakeProject = Callable[..., Project]


def kinds(project: Project) -> Counter[tuple[str, str, int | None]]:
    return Counter((r.split, r.category, r.label) for r in project.records().values())


def test_new_photographs_are_sorted_several_at_a_time(make_project: MakeProject, tmp_path: Path) -> None:
    photographs = make_project(*(f"{number}.png" for number in range(6)), name="camera").folder
    project = Projects(None, confined_to=None, recent_file=tmp_path / "r.json").open(
        str(make_folder(Projects(tmp_path, confined_to=tmp_path, recent_file=tmp_path / "x"), "", "new"))
    )
    keys = [take_in(project, photographs / f"{number}.png", Place(None)) for number in range(5)]
    keys += [take_in(project, photographs / "0.png", Place(None))]
    assert keys[-1] == "0_2.png" and project.photograph(keys[-1]).is_file()
    with pytest.raises(UserError, match="not chosen"):
        sort(project, keys, Place(None))
    assert sort(project, keys[:3], Place(0)) == 3
    sort(project, keys[3:5], Place(1, "scratch", "test"))
    sort(project, keys[5:], Place(0, split="test"))
    assert kinds(project) == {
        ("train", "good", 0): 3,
        ("test", "scratch", 1): 2,
        ("test", "good", 0): 1,
    }
    assert project.loose() == []
    sort(project, ["train/good/0.png", "test/scratch/3.png"], Place(1, "dent"))
    assert kinds(project)["train", "dent", 1] == 2
    # The command line sees the same.
    assert len(read_records(project.folder)) == 6


def test_plain_folders_keep_their_place_until_some_are_for_testing(make_project: MakeProject) -> None:
    project = make_project("good/a.png", "good/b.png", "bad/c.png")
    sort(project, ["good/b.png"], Place(1, "bad"))
    assert kinds(project) == {("train", "good", 0): 1, ("train", "bad", 1): 2}
    sort(project, ["bad/c.png"], Place(1, "bad", "test"))
    assert kinds(project) == {("train", "good", 0): 1, ("train", "bad", 1): 1, ("test", "bad", 1): 1}
    assert (project.folder / "bad/c.png").is_file()


def test_a_test_split_is_proposed_and_read_by_the_command_line(make_project: MakeProject) -> None:
    project = make_project(*(f"OK/{n}.png" for n in range(10)), *(f"NG/{n}.png" for n in range(5)))
    mask = project.folder / "ground_truth/NG/0_mask.png"
    write_image(mask, np.full((24, 32), 255, np.uint8))
    project.forget()
    proposed = proposed_test(project)
    assert Counter(record.label for record in proposed) == {0: 2, 1: 1}
    assert set_test_aside(project) == 3 and proposed_test(project) == []
    assert kinds(project) == {
        ("train", "good", 0): 8,
        ("test", "good", 0): 2,
        ("train", "NG", 1): 4,
        ("test", "NG", 1): 1,
    }
    read = {record.key: record for record in read_data(project.folder).records}
    assert {r.key for r in read.values() if r.split == "test"} == {r.key for r in proposed}
    assert read["NG/0.png"].mask_path == mask and len(read) == 15


def test_folders_of_splits_get_the_test_photographs_moved(make_project: MakeProject) -> None:
    project = make_project(*(f"train/good/{n}.png" for n in range(10)))
    assert set_test_aside(project) == 2
    assert not (project.folder / "manifest.csv").exists()
    assert len(list((project.folder / "test/good").iterdir())) == 2
    assert set_test_aside(make_project("train/good/a.png", name="one")) == 0


def test_good_folders_are_named_once_and_training_knows(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(*(f"Gut/{n}.png" for n in range(8)), *(f"Schlecht/{n}.png" for n in range(3)))
    assert kinds(project) == {("train", "Gut", 1): 8, ("train", "Schlecht", 1): 3}
    project.use_good(["Gut"])
    assert kinds(project)["train", "Gut", 0] == 8
    again = Project(project.folder)
    assert kinds(again)["train", "Gut", 0] == 8 and len(proposed_test(again)) == 3
    commands = list[list[str]]()
    monkeypatch.setattr(
        "roinspect.studio.state.training.start", lambda *given: commands.extend(given[3]) or given
    )
    begin_training(again, Wish("roibank", "m-1", uses_region=False))
    train = commands[0]
    assert train[train.index("--good") + 1] == "Gut"
    # In the manifest, the labels are those that every verb knows.
    set_test_aside(again)
    assert again.good() is None and kinds(again)["train", "good", 0] == 6
    assert Counter(r.label for r in read_records(project.folder)) == {0: 8, 1: 3}


def test_only_some_folders_may_be_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home/.secret", "home/screws/good", "start", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home/way_out").symlink_to(tmp_path / "elsewhere")
    write_image(tmp_path / "home/screws/a.png", np.zeros((4, 4, 3), np.uint8))
    projects = Projects(tmp_path / "start", confined_to=None, recent_file=tmp_path / "r.json")
    seen = browse(projects)
    assert [path.name for path in seen.folders] == ["screws"] and seen.above is None
    inner = browse(projects, str(tmp_path / "home/screws"))
    assert inner.photographs == 1 and inner.above == tmp_path / "home"
    assert browse(projects, str(tmp_path / "start")).folders == ()
    for place in ("elsewhere", "home/way_out", "home/../elsewhere", "."):
        with pytest.raises(UserError, match="cannot be browsed"):
            browse(projects, str(tmp_path / place))
    confined = Projects(tmp_path / "start", confined_to=tmp_path / "start", recent_file=tmp_path / "r.json")
    assert browse(confined).path == tmp_path / "start"
    with pytest.raises(UserError, match="lies outside"):
        browse(confined, str(tmp_path / "home"))
    for name in ("", "..", ".x", "a/b", "a\\b", "screws"):
        with pytest.raises(UserError):
            make_folder(projects, str(tmp_path / "home"), name)


def test_folders_beyond_those_listed_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "MOST", 3)
    for number in range(5):
        (tmp_path / f"parts-{number}").mkdir()
    projects = Projects(tmp_path, confined_to=tmp_path, recent_file=tmp_path / "r.json")
    seen = browse(projects, str(tmp_path))
    assert [folder.name for folder in seen.folders] == [
        "parts-0",
        "parts-1",
        "parts-2",
    ] and seen.unlisted == 2
    assert "2 more folders are not listed" in folder_buttons(projects, str(tmp_path))[1]
