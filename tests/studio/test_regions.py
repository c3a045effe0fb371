"""Nothing drawn is lost; what training finds is what was drawn."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from roinspect.data.annotations import coco
from roinspect.data.annotations.labelme import write
from roinspect.data.polygons import Annotations, trace
from roinspect.data.polygons import Drawing as Polygons
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi, load_roi
from roinspect.deploy.studio import store
from roinspect.deploy.studio.drawing import Drawing, Shape, render
from roinspect.deploy.studio.labelme import write_labelme
from roinspect.deploy.studio.project import Project
from roinspect.deploy.studio.regions import Tally, keep, region, share, source_of, write_masks
from roinspect.errors import UserError
from roinspect.pixels import read_mask, write_image

SIZE = (24, 32)
BOX = Drawing(SIZE, (Shape("polygon", ((4.5, 4.5), (20.5, 4.5), (20.5, 15.5), (4.5, 15.5))),))
DOT = Drawing(SIZE, (Shape("brush", ((10, 10),), 3),))


def last(tallies: object) -> Tally:
    return list(tallies)[-1]  # type: ignore[call-overload,no-any-return]


def rois(project: Project) -> dict[str, np.ndarray]:
    """What training would read."""
    records = attach_roi(read_records(project.folder), project.roi(), project.folder)
    return {record.key: load_roi(record, SIZE) for record in records}


def test_a_drawing_comes_back_as_it_was(project: Project) -> None:
    begun = Drawing(SIZE, BOX.shapes, ((1.0, 2.0), (3.0, 4.0)))
    assert keep(project, "train/good/a.png", begun, 0) == (1, False)
    assert region(project, "train/good/a.png") == (begun, "own", 1)
    assert region(project, "train/good/b.png").source == "none"


def test_the_last_of_two_browsers_wins_and_is_told(project: Project) -> None:
    key = "train/good/a.png"
    assert keep(project, key, BOX, 0) == (1, False)
    assert keep(project, key, DOT, 0) == (2, True)
    assert region(project, key).drawing == DOT
    (other,) = (project.state / "drawings").rglob("*.other.json")
    assert json.loads(other.read_text())["shapes"][0]["kind"] == "polygon"


def test_many_windows_at_once_lose_no_file(project: Project) -> None:
    drawn = [Drawing(SIZE, (Shape("brush", ((x, 3.0),), 2),)) for x in range(40)]
    threads = [threading.Thread(target=keep, args=(project, "train/good/a.png", one, 0)) for one in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = region(project, "train/good/a.png")
    assert found.revision == 40 and found.drawing in drawn


def test_one_drawing_for_all_is_one_file(project: Project) -> None:
    keep(project, "train/good/a.png", BOX, 0)
    share(project, "train/good/a.png")
    (project.state / "drawings" / "train" / "good" / "a.png.json").unlink()
    assert last(write_masks(project)) == Tally(4, 4, 1)
    assert sorted(path.name for path in project.folder.iterdir()) == [
        ".roinspect",
        "roi.png",
        "test",
        "train",
    ]
    found = rois(project)
    assert len(found) == 4 and all(np.array_equal(mask, render(BOX)) for mask in found.values())


def test_an_own_drawing_comes_before_the_shared_one(project: Project) -> None:
    keep(project, "train/good/a.png", BOX, 0)
    share(project, "train/good/a.png")
    keep(project, "test/dent/d.png", DOT, 0)
    assert last(write_masks(project)).written == 4
    found = rois(project)
    assert np.array_equal(found["test/dent/d.png"], render(DOT))
    assert np.array_equal(found["train/good/b.png"], render(BOX))


def test_saving_again_writes_only_what_changed(project: Project) -> None:
    keep(project, "train/good/a.png", BOX, 0)
    keep(project, "train/good/b.png", BOX, 0)
    tally = last(write_masks(project))
    assert (tally.written, tally.missing) == (2, 2) and "no region yet" in tally.remarks[0]
    assert last(write_masks(project)).written == 0
    keep(project, "train/good/b.png", DOT, 1)
    assert last(write_masks(project)).written == 1


def test_a_mask_that_was_there_is_shown_and_kept_aside_when_it_is_replaced(project: Project) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[3:9, 5:30], mask[5:7, 8:12] = 255, 0
    write_image(project.folder / "roi" / "train" / "good" / "a.bmp", mask)
    found = region(project, "train/good/a.png")
    assert found.source == "file" and np.array_equal(255 * render(found.drawing), mask)
    keep(project, "train/good/a.png", DOT, 0)
    last(write_masks(project))
    tree = project.folder / "roi" / "train" / "good"
    assert [path.name for path in tree.iterdir()] == ["a.png"]
    aside = project.state / "replaced" / "train" / "good" / "a.bmp"
    assert np.array_equal(255 * read_mask(aside), mask)


def test_a_labelme_file_that_was_there_is_shown_and_kept_aside_when_it_is_replaced(project: Project) -> None:
    tree = project.folder / "roi" / "train" / "good"
    tree.mkdir(parents=True)
    whole = Polygons("a.png", SIZE, trace(render(BOX), "roi"))
    (tree / "a.json").write_text(write(whole))
    project.forget()
    found = region(project, "train/good/a.png")
    assert found.source == "file" and np.array_equal(render(found.drawing), render(BOX))
    assert source_of(project, project.record("train/good/b.png")) == "none"
    keep(project, "train/good/a.png", DOT, 0)
    for key in ("train/good/b.png", "test/good/c.png", "test/dent/d.png"):
        keep(project, key, BOX, 0)
    assert last(write_masks(project)).written == 4
    assert np.array_equal(rois(project)["train/good/a.png"], render(DOT))
    assert (project.state / "replaced/train/good/a.json").read_text() == write(whole)


def test_a_file_with_the_regions_of_several_photographs_is_not_torn_apart(project: Project) -> None:
    shapes = trace(render(BOX), "roi")
    both = Annotations(tuple(Polygons(f"train/good/{name}.png", SIZE, shapes) for name in "ab"))
    (project.folder / "roi").mkdir()
    (project.folder / "roi" / "all.json").write_text(coco.write(both))
    project.forget()
    assert region(project, "train/good/b.png").source == "file"
    keep(project, "train/good/a.png", DOT, 0)
    with pytest.raises(UserError, match=r"several photographs.*roi convert"):
        last(write_masks(project))
    assert region(project, "train/good/a.png").drawing == DOT


def test_clearing_a_drawing_brings_back_what_was_under_it(project: Project) -> None:
    keep(project, "train/good/a.png", BOX, 0)
    share(project, "train/good/a.png")
    keep(project, "train/good/b.png", DOT, 0)
    keep(project, "train/good/b.png", Drawing(SIZE), 1)
    assert region(project, "train/good/b.png").source == "shared"


def test_a_corrupt_photograph_costs_itself_alone(project: Project) -> None:
    (project.folder / "train/good/b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    keep(project, "train/good/a.png", BOX, 0)
    share(project, "train/good/a.png")
    tally = last(write_masks(project))
    assert tally.missing == 1 and "b.png" in tally.remarks[0]
    with pytest.raises(UserError, match=r"b\.png"):
        region(project, "train/good/b.png")


def test_labelme_files_serve_as_regions(project: Project) -> None:
    ring = Drawing(SIZE, (*BOX.shapes, Shape("brush", ((10, 10),), 2, erase=True)))
    for key in project.records():
        keep(project, key, ring, 0)
    out = project.folder / "labelme"
    assert last(write_labelme(project, out)).missing == 0
    for record in attach_roi(list(project.records().values()), str(out), project.folder):
        assert np.array_equal(load_roi(record, SIZE), render(ring))


def test_a_full_disk_is_told_and_the_former_drawing_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "train/good/a.png"
    keep(project, key, BOX, 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        keep(project, key, DOT, 1)
    monkeypatch.undo()
    assert region(project, key) == (BOX, "own", 1)
    assert not list(project.state.rglob("*.tmp"))


def test_a_folder_that_went_away_says_so(project: Project) -> None:
    away = project.folder.rename(project.folder.with_name("away"))
    with pytest.raises(UserError, match=r"not there any more.*bring the folder back"):
        project.records()
    away.rename(project.folder)
    assert source_of(project, project.record("train/good/a.png")) == "none"


def test_damaged_state_counts_as_none(project: Project) -> None:
    keep(project, "train/good/a.png", BOX, 0)
    for file in project.state.rglob("*.json"):
        file.write_bytes(b'{"shapes": [')
    assert region(project, "train/good/a.png").source == "none"
    assert store.read_json(project.state / "nothing.json") is None
