"""Masks in roi/: what is drawn comes before what lies there; what it replaces is backed up."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from roinspect.data.annotations import coco
from roinspect.data.annotations.labelme import write
from roinspect.data.annotations.polygons import Annotations, trace
from roinspect.data.annotations.polygons import ImageShapes as Polygons
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi, load_roi
from roinspect.errors import UserError
from roinspect.images.pixels import read_image, read_mask, write_image
from roinspect.studio.state.drawing import Drawing, Shape, render
from roinspect.studio.state.project import Project
from roinspect.studio.state.proposals import propose
from roinspect.studio.state.regions import Saved, region, save_drawing, source_of, write_labelme, write_masks

SIZE = (24, 32)
BOX = Drawing(SIZE, (Shape("polygon", ((4.5, 4.5), (20.5, 4.5), (20.5, 15.5), (4.5, 15.5))),))
DOT = Drawing(SIZE, (Shape("brush", ((10, 10),), 3),))


def last(tallies: object) -> Saved:
    return list(tallies)[-1]  # type: ignore[call-overload,no-any-return]


def rois(project: Project) -> dict[str, np.ndarray]:
    """What training would read."""
    records = attach_roi(read_data(project.folder, project.roi()))
    return {record.key: load_roi(record, SIZE) for record in records}


def test_a_drawing_counts_over_a_mask_that_came_after_it(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    last(write_masks(project))
    save_drawing(project, "train/good/b.png", DOT)
    # A network that was at work meanwhile writes its masks.
    mask = project.folder / "roi/train/good/b.png"
    write_image(mask, np.full(SIZE, 255, np.uint8))
    assert last(write_masks(project)).written == 1
    assert np.array_equal(read_mask(mask), render(DOT))
    assert read_mask(project.state / "replaced/train/good/b.png").all()


def test_times_of_files_say_nothing(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    last(write_masks(project))
    mask = project.folder / "roi/train/good/a.png"
    os.utime(mask, (2e9, 2e9))
    assert last(write_masks(project)).written == 0
    save_drawing(project, "train/good/a.png", DOT)
    assert last(write_masks(project)).written == 1
    assert np.array_equal(read_mask(mask), render(DOT))
    assert not (project.state / "replaced").exists(), "the studio's own mask is nobody else's"


def test_the_mask_of_a_drawing_that_is_cleared_goes_away(project: Project) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[3:9, 5:30] = 255
    tree = project.folder / "roi" / "train" / "good"
    write_image(tree / "a.bmp", mask)
    for key in ("train/good/a.png", "train/good/b.png"):
        save_drawing(project, key, DOT)
    last(write_masks(project))
    for key in ("train/good/a.png", "train/good/b.png"):
        save_drawing(project, key, Drawing(SIZE))
    for _ in range(2):
        for key in ("train/good/a.png", "train/good/b.png"):
            assert region(project, key) == (Drawing(SIZE), "none")
            assert source_of(project, project.record(key)) == "none"
        assert last(write_masks(project)).missing == 4
    assert not list(tree.iterdir())
    assert np.array_equal(255 * read_mask(project.state / "replaced/train/good/a.bmp"), mask)


def test_what_is_erased_altogether_leaves_no_mask(project: Project) -> None:
    save_drawing(project, "train/good/a.png", DOT)
    last(write_masks(project))
    erased = Drawing(SIZE, (*DOT.shapes, Shape("brush", ((10, 10),), 9, True)))
    save_drawing(project, "train/good/a.png", erased)
    assert "no region yet" in last(write_masks(project)).remarks[0]
    assert not (project.folder / "roi/train/good/a.png").exists()


def test_a_drawing_that_was_cleared_teaches_the_network_nothing(project: Project) -> None:
    write_image(project.folder / "roi/train/good/a.png", np.full(SIZE, 255, np.uint8))
    (project.folder / "roi/confidence.csv").write_text(
        "key,origin,confidence,share,error\ntrain/good/a.png,predicted,0.9,1.0,\n"
    )
    save_drawing(project, "train/good/a.png", DOT)
    with pytest.raises(UserError, match="1 photographs have a region"):
        propose(project)
    save_drawing(project, "train/good/a.png", Drawing(SIZE))
    with pytest.raises(UserError, match="0 photographs have a region"):
        propose(project)


def test_two_people_who_save_at_once_lose_no_mask(make_project) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project(*(f"good/{number}.png" for number in range(30)))
    theirs = np.full(SIZE, 255, np.uint8)
    for key in project.records():
        write_image(project.folder / "roi" / key, theirs)
        save_drawing(project, key, DOT)
    faults = list[Exception]()

    def save() -> None:
        try:
            last(write_masks(project))
        except Exception as error:
            faults.append(error)

    people = [threading.Thread(target=save) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert faults == []
    assert all(np.array_equal(mask, render(DOT)) for mask in rois(project).values())
    kept = list((project.state / "replaced").rglob("*.png"))
    assert len(kept) == 30 and all(read_mask(file).all() for file in kept)


def test_one_backup_of_a_replaced_mask_is_kept_and_never_one_of_the_studio_s(project: Project) -> None:
    mask, aside = project.folder / "roi/train/good/a.png", project.state / "replaced/train/good"
    for drawing, value in ((BOX, 70), (DOT, 90)):
        write_image(mask, np.full(SIZE, value, np.uint8))
        save_drawing(project, "train/good/a.png", drawing)
        last(write_masks(project))
    save_drawing(project, "train/good/a.png", BOX)
    last(write_masks(project))
    assert [(file.name, read_image(file).max()) for file in aside.iterdir()] == [("a.png", 90)]


def test_a_mask_with_a_suffix_in_capitals_is_one(project: Project) -> None:
    mask = project.folder / "roi/train/good/a.png"
    write_image(mask, np.full(SIZE, 255, np.uint8))
    mask.rename(mask.with_suffix(".PNG"))
    project.forget()
    assert source_of(project, project.record("train/good/a.png")) == "file"
    for key in project.records():
        save_drawing(project, key, DOT)
    assert last(write_masks(project)).written == 4
    assert np.array_equal(rois(project)["train/good/a.png"], render(DOT))
    assert (project.state / "replaced/train/good/a.PNG").is_file()


@pytest.mark.parametrize("write_all", [write_masks, lambda project: write_labelme(project, project.folder)])
def test_photographs_that_would_share_a_mask_are_refused(make_project, write_all) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("good/a.png", "good/a.jpg")
    save_drawing(project, "good/a.png", DOT)
    with pytest.raises(
        UserError, match=r"good/a\.png: would share its mask with good/a\.jpg; give them names"
    ):
        last(write_all(project))


def test_a_mask_that_the_manifest_names_is_replaced_where_it_lies(make_project) -> None:  # type: ignore[no-untyped-def]
    project: Project = make_project("x.png")
    (project.folder / "manifest.csv").write_text("image_path,roi_path\nx.png,roi/x.bmp\n")
    mask = project.folder / "roi/x.bmp"
    write_image(mask, np.full(SIZE, 255, np.uint8))
    project.forget()
    save_drawing(project, "x.png", DOT)
    for _ in range(2):
        last(write_masks(project))
        assert np.array_equal(rois(project)["x.png"], render(DOT))
    save_drawing(project, "x.png", Drawing(SIZE))
    last(write_masks(project))
    assert project.record("x.png").roi_path == mask and source_of(project, project.record("x.png")) == "file"
    assert np.array_equal(read_mask(mask), render(DOT)), "the manifest names the file, so it stays"
    assert read_mask(project.state / "replaced/x.bmp").all()


def test_a_mask_that_was_there_is_shown_and_kept_aside_when_it_is_replaced(project: Project) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[3:9, 5:30], mask[5:7, 8:12] = 255, 0
    write_image(project.folder / "roi" / "train" / "good" / "a.bmp", mask)
    found = region(project, "train/good/a.png")
    assert found.source == "file" and np.array_equal(255 * render(found.drawing), mask)
    save_drawing(project, "train/good/a.png", DOT)
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
    save_drawing(project, "train/good/a.png", DOT)
    for key in ("train/good/b.png", "test/good/c.png", "test/dent/d.png"):
        save_drawing(project, key, BOX)
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
    save_drawing(project, "train/good/a.png", DOT)
    with pytest.raises(UserError, match=r"several photographs.*roi convert"):
        last(write_masks(project))
    assert region(project, "train/good/a.png").drawing == DOT
