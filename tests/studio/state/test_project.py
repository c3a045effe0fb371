"""Folders: which may be opened, what is remembered, and how photographs come into them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from roinspect.data.annotations import coco
from roinspect.data.annotations.drawn import read_source
from roinspect.data.annotations.labelme import write
from roinspect.data.annotations.polygons import Annotations, trace
from roinspect.data.annotations.polygons import ImageShapes as Polygons
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi, load_roi
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, write_image
from roinspect.studio.state.adding import add, move
from roinspect.studio.state.drawing import Drawing, Shape
from roinspect.studio.state.project import Project, Projects, write_manifest
from roinspect.studio.state.regions import mask_file, region, save_drawing, write_masks


def test_only_the_folder_and_those_in_it_may_be_opened(tmp_path: Path) -> None:
    for name in ("inside/deep", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "inside/way_out").symlink_to(tmp_path / "outside")
    inside = tmp_path / "inside"
    projects = Projects(inside, confined_to=inside, recent_file=tmp_path / "recent.json")
    assert projects.open(str(inside / "deep")).folder == inside / "deep"
    for place in ("outside", "inside/..", "inside/way_out", "inside/deep/../.."):
        with pytest.raises(UserError, match="lies outside"):
            projects.open(str(tmp_path / place))


@pytest.mark.parametrize("typed", ["", "   ", "\0", "/no/such/folder", "~nobody/x", __file__])
def test_a_path_that_is_none_says_what_to_do(tmp_path: Path, typed: str) -> None:
    projects = Projects(None, confined_to=None, recent_file=tmp_path / "recent.json")
    with pytest.raises(UserError):
        projects.open(typed)
    with pytest.raises(UserError, match="page 1"):
        projects.get("")


def test_opened_folders_are_remembered_and_known_by_their_id_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "recent.json"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Projects(tmp_path / name, confined_to=None, recent_file=file)
    again = Projects(None, confined_to=None, recent_file=file)
    assert again.recent() == [tmp_path / "b", tmp_path / "a"] and again.latest is None
    assert again.get(Project(tmp_path / "b").id).folder == tmp_path / "b"
    file.write_text('{"not": "a list"}')
    assert again.recent() == []


def test_loose_photographs_are_listed_not_moved(make_project) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("x.png", "y.png")
    with pytest.raises(UserError, match="sort them into folders"):
        project.records()
    assert project.adopt_loose() == 2
    assert project.summary() == [("train", "good", "good", 2)]
    assert (project.folder / "x.png").is_file()


def test_a_photograph_is_added_where_its_label_belongs(project: Project, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((24, 32, 3), np.uint8))
    assert add(project, tmp_path / "a.png", label=0) == "train/good/a_2.png"
    assert add(project, tmp_path / "a.png", label=1, kind="scratch", split="test") == "test/scratch/a.png"
    assert add(project, tmp_path / "a.png", label=1) == "train/defect/a.png"
    labels = {record.key: record.label for record in read_records(project.folder)}
    assert labels["train/good/a_2.png"] == 0 and labels["test/scratch/a.png"] == 1


def test_folders_without_splits_stay_so(make_project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("OK/a.png", "bent/b.png")
    write_image(tmp_path / "n.png", np.zeros((24, 32, 3), np.uint8))
    assert add(project, tmp_path / "n.png", label=0, split="test") == "OK/n.png"


def test_a_manifest_gets_a_row_and_keeps_its_columns(make_project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("x.png", "y.png")
    manifest = project.folder / "manifest.csv"
    manifest.write_text("image_path;label;split;shift\nx.png;good;train;night\ny.png;dent;test;day\n")
    write_image(tmp_path / "n.png", np.zeros((24, 32, 3), np.uint8))
    assert add(project, tmp_path / "n.png", label=1, kind="dent") == "added/n.png"
    assert move(project, "x.png", label=1, kind="stain", split="test") == "x.png"
    rows = list(csv.DictReader(manifest.open(), delimiter=";"))
    assert rows[0] == {"image_path": "x.png", "label": "stain", "split": "test", "shift": "night"}
    assert rows[2]["image_path"] == "added/n.png" and rows[2]["label"] == "dent"
    assert project.record("x.png").label == 1


def test_a_manifest_without_splits_goes_on_meaning_what_it_did(make_project, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("x.png", "y.png")
    (project.folder / "manifest.csv").write_text("image_path,label\nx.png,good\ny.png,dent\n")
    write_image(tmp_path / "n.png", np.zeros((24, 32, 3), np.uint8))
    add(project, tmp_path / "n.png", label=0, split="test")
    move(project, "y.png", label=0, split="train")
    assert project.summary() == [("train", "good", "good", 2), ("test", "good", "good", 1)]


def test_a_moved_photograph_takes_its_drawing_and_masks_along(project: Project) -> None:
    dot = Drawing((24, 32), (Shape("brush", ((10, 10),), 3),))
    save_drawing(project, "test/dent/d.png", dot)
    for tree in ("roi/test/dent/d.png", "ground_truth/dent/d_mask.png"):
        write_image(project.folder / tree, np.full((24, 32), 255, np.uint8))
    project.forget()
    assert move(project, "test/dent/d.png", label=1, kind="stain", split="train") == "train/stain/d.png"
    assert region(project, "train/stain/d.png").drawing == dot
    record = project.record("train/stain/d.png")
    assert record.mask_path == project.folder / "ground_truth/stain/d_mask.png"
    assert (project.folder / "roi/train/stain/d.png").is_file()
    assert move(project, "train/stain/d.png", label=0, split="train") == "train/good/d.png"
    assert project.record("train/good/d.png").label == 0


def test_a_photograph_is_renamed_only_where_its_name_is_taken(project: Project) -> None:
    write_image(project.folder / "test/good/a.png", read_image(project.folder / "train/good/b.png"))
    project.forget()
    assert move(project, "test/good/c.png", label=0, split="train") == "train/good/c.png"
    assert move(project, "train/good/b.png", label=0, split="test") == "test/good/b.png"
    assert move(project, "test/good/a.png", label=0, split="train") == "train/good/a_2.png"
    assert move(project, "test/dent/d.png", label=1, split="train") == "train/dent/d.png"


def test_a_moved_photograph_takes_what_labelme_drew_along(project: Project) -> None:
    box = trace(np.pad(np.ones((6, 8), np.uint8), ((9, 9), (12, 12))), "roi")
    for tree in ("roi/test/dent/d.json", "ground_truth/dent/d.json"):
        (project.folder / tree).parent.mkdir(parents=True)
        (project.folder / tree).write_text(write(Polygons("d.png", (24, 32), box)))
    write_image(project.folder / "train/stain/d.png", np.zeros((24, 32, 3), np.uint8))
    project.forget()
    before = read_source(project.record("test/dent/d.png").mask_path, (24, 32))
    assert move(project, "test/dent/d.png", label=1, kind="stain", split="train") == "train/stain/d_2.png"
    record = project.record("train/stain/d_2.png")
    for source in (record.mask_path, mask_file(project, record)):
        assert np.array_equal(read_source(source, (24, 32)), before) and before.sum() == 48
    assert not list((project.folder / "roi/test").rglob("*.json"))


@pytest.mark.parametrize("named_with_folders", [True, False])
def test_a_moved_photograph_takes_its_region_out_of_a_file_of_all(
    project: Project, named_with_folders: bool
) -> None:
    box = trace(np.pad(np.ones((6, 8), np.uint8), ((9, 9), (12, 12))), "roi")
    keys = [key if named_with_folders else Path(key).name for key in project.records()]
    (project.folder / "roi").mkdir()
    (project.folder / "roi/all.json").write_text(
        coco.write(Annotations(tuple(Polygons(key, (24, 32), box) for key in keys)))
    )
    project.forget()
    move(project, "test/dent/d.png", label=1, kind="stain", split="train")
    for record in attach_roi(read_data(project.folder, "auto"), list(project.records().values())):
        assert load_roi(record, (24, 32)).sum() == 48


def test_a_proposal_that_is_moved_stays_a_proposal(project: Project) -> None:
    roi = project.folder / "roi"
    write_image(roi / "test/dent/d.png", np.full((24, 32), 255, np.uint8))
    (roi / "confidence.csv").write_text(
        "key,origin,confidence,share,error\ntest/dent/d.png,predicted,0.9,1.0,\ntrain/good/a.png,none,,,x\n"
    )
    (roi / ".predicted.jsonl").write_text(json.dumps({"key": "test/dent/d.png", "mask": "f00"}) + "\n")
    key = move(project, "test/dent/d.png", label=1, kind="stain", split="train")
    assert project.confidences() == {key: 0.9}
    rows = [json.loads(line) for line in (roi / ".predicted.jsonl").read_text().splitlines()]
    assert rows[-1] == {"key": key, "mask": "f00"}


def test_a_photograph_that_cannot_be_moved_keeps_what_belongs_to_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_drawing(project, "test/dent/d.png", Drawing((24, 32), (Shape("brush", ((10, 10),), 3),)))
    assert [*write_masks(project)][-1].written == 1
    write_image(project.folder / "ground_truth/dent/d_mask.png", np.full((24, 32), 255, np.uint8))
    project.forget()

    def files() -> set[Path]:
        return {path for path in project.folder.rglob("*") if path.is_file()}

    before, real = files(), os.replace

    def in_use(old: Path, new: Path) -> None:
        if old == project.folder / "test/dent/d.png":
            raise PermissionError(13, "in use")
        real(old, new)

    monkeypatch.setattr(os, "replace", in_use)
    with pytest.raises(UserError, match="in use"):
        move(project, "test/dent/d.png", label=1, kind="stain", split="train")
    assert files() == before
    monkeypatch.undo()
    assert [*write_masks(project)][-1].written == 0


@pytest.mark.parametrize(
    "kind",
    [
        "../up",
        "good",
        "good-2",
        "ok part",
        ".hidden",
        "a/b",
        "roi",
        "x" * 80,
        "Test",
        "train",
        "val",
        "validation",
    ],
)
def test_a_kind_of_defect_is_a_plain_name(project: Project, tmp_path: Path, kind: str) -> None:
    write_image(tmp_path / "n.png", np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(UserError, match="kind of defect"):
        add(project, tmp_path / "n.png", label=1, kind=kind)


def test_what_is_no_photograph_is_not_added(project: Project, tmp_path: Path) -> None:
    (tmp_path / "n.png").write_bytes(b"text")
    with pytest.raises(UserError):
        add(project, tmp_path / "n.png", label=0)
    assert len(project.records()) == 4


def test_twenty_thousand_photographs_are_listed_in_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "many" / "train" / "good"
    folder.mkdir(parents=True)
    for number in range(20_000):
        (folder / f"{number:05d}.png").touch()
    project = Projects(None, confined_to=None, recent_file=tmp_path / "r.json").open(str(tmp_path / "many"))
    assert project.summary() == [("train", "good", "good", 20_000)]


def test_a_manifest_is_written_with_the_columns_that_are_used(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [{"image_path": "a, b.png", "label": "good"}])
    assert (tmp_path / "m.csv").read_text() == 'image_path,label\n"a, b.png",good\n'
