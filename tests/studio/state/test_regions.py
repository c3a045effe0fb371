"""Nothing drawn is lost; what training finds is what was drawn."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roinspect.data.annotations.drawn import DrawnMask, read_source
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi, load_roi
from roinspect.errors import UserError
from roinspect.images.pixels import read_mask, write_image
from roinspect.studio.state import store
from roinspect.studio.state.drawing import Drawing, Shape, render
from roinspect.studio.state.project import Project
from roinspect.studio.state.regions import (
    Saved,
    mask_of,
    region,
    save_drawing,
    share,
    source_of,
    write_labelme,
    write_masks,
)

SIZE = (24, 32)
BOX = Drawing(SIZE, (Shape("polygon", ((4.5, 4.5), (20.5, 4.5), (20.5, 15.5), (4.5, 15.5))),))
DOT = Drawing(SIZE, (Shape("brush", ((10, 10),), 3),))


def last(tallies: object) -> Saved:
    return list(tallies)[-1]  # type: ignore[call-overload,no-any-return]


def rois(project: Project) -> dict[str, np.ndarray]:
    """What training would read."""
    records = attach_roi(read_data(project.folder, project.roi()))
    return {record.key: load_roi(record, SIZE) for record in records}


def test_a_drawing_comes_back_as_it_was(project: Project) -> None:
    begun = Drawing(SIZE, BOX.shapes, ((1.0, 2.0), (3.0, 4.0)))
    save_drawing(project, "train/good/a.png", begun)
    assert region(project, "train/good/a.png") == (begun, "own")
    assert region(project, "train/good/b.png").source == "none"


def test_the_last_of_two_windows_wins(project: Project) -> None:
    key = "train/good/a.png"
    for drawing in (BOX, DOT):
        save_drawing(project, key, drawing)
    assert region(project, key) == (DOT, "own")
    save_drawing(project, key, Drawing(SIZE))
    assert region(project, key) == (Drawing(SIZE), "none")


def test_many_windows_at_once_lose_no_file(project: Project) -> None:
    drawn = [Drawing(SIZE, (Shape("brush", ((x, 3.0),), 2),)) for x in range(40)]
    threads = [
        threading.Thread(target=save_drawing, args=(project, "train/good/a.png", one)) for one in drawn
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert region(project, "train/good/a.png").drawing in drawn


def test_one_drawing_for_all_is_one_file(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    assert last(write_masks(project)) == Saved(4, 4, 1)
    assert sorted(path.name for path in project.folder.iterdir()) == [
        ".roinspect",
        "roi.png",
        "test",
        "train",
    ]
    found = rois(project)
    assert len(found) == 4 and all(np.array_equal(mask, render(BOX)) for mask in found.values())


def test_one_drawing_for_all_serves_a_photograph_that_comes_later(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    # A stroke that is taken back leaves the shared region, and none of the photograph's own.
    save_drawing(project, "train/good/b.png", Drawing(SIZE, (*BOX.shapes, *DOT.shapes)))
    save_drawing(project, "train/good/b.png", BOX)
    assert region(project, "train/good/b.png").source == "shared"
    last(write_masks(project))
    assert last(write_masks(project)) == Saved(4, 4, 0)
    write_image(project.folder / "train/good/new.png", np.zeros((*SIZE, 3), np.uint8))
    assert np.array_equal(rois(project)["train/good/new.png"], render(BOX))


def test_one_drawing_for_photographs_of_two_sizes_is_a_file_each(project: Project) -> None:
    write_image(project.folder / "train/good/b.png", np.zeros((48, 64, 3), np.uint8))
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    assert last(write_masks(project)) == Saved(4, 4, 4)
    assert read_mask(project.folder / "roi/train/good/b.png").shape == (48, 64)
    assert not (project.folder / "roi.png").exists()


def test_an_own_drawing_comes_before_the_shared_one(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    save_drawing(project, "test/dent/d.png", DOT)
    assert last(write_masks(project)).written == 4
    found = rois(project)
    assert np.array_equal(found["test/dent/d.png"], render(DOT))
    assert np.array_equal(found["train/good/b.png"], render(BOX))


def test_saving_again_writes_only_what_changed(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    save_drawing(project, "train/good/b.png", BOX)
    tally = last(write_masks(project))
    assert (tally.written, tally.missing) == (2, 2) and "no region yet" in tally.remarks[0]
    assert last(write_masks(project)).written == 0
    save_drawing(project, "train/good/b.png", DOT)
    assert last(write_masks(project)).written == 1


def test_a_photograph_that_is_replaced_by_a_larger_one_keeps_its_region(project: Project) -> None:
    key = "train/good/a.png"
    save_drawing(project, key, BOX)
    last(write_masks(project))
    write_image(project.folder / key, np.zeros((48, 64, 3), np.uint8))
    assert region(project, key).drawing.shapes[0].points_xy[0] == (9, 9)
    last(write_masks(project))
    mask = read_mask(project.folder / "roi" / key)
    assert mask.shape == (48, 64) and mask.mean() == pytest.approx(render(BOX).mean(), rel=0.1)
    # With another aspect ratio, it says so and can be drawn on again.
    write_image(project.folder / key, np.zeros((64, 48, 3), np.uint8))
    found, why = mask_of(project, project.record(key))
    assert found is None and "was drawn on 24x32" in why
    assert region(project, key) == (Drawing((64, 48)), "none")
    save_drawing(project, key, Drawing((64, 48), DOT.shapes))
    assert mask_of(project, project.record(key))[1] == ""


def test_clearing_a_drawing_brings_back_what_was_under_it(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    save_drawing(project, "train/good/b.png", DOT)
    save_drawing(project, "train/good/b.png", Drawing(SIZE))
    assert region(project, "train/good/b.png").source == "shared"


def test_a_corrupt_photograph_costs_itself_alone(project: Project) -> None:
    (project.folder / "train/good/b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save_drawing(project, "train/good/a.png", BOX)
    share(project, "train/good/a.png")
    tally = last(write_masks(project))
    assert tally.missing == 1 and "b.png" in tally.remarks[0]
    with pytest.raises(UserError, match=r"b\.png"):
        region(project, "train/good/b.png")


def test_labelme_files_serve_as_regions(project: Project) -> None:
    ring = Drawing(SIZE, (*BOX.shapes, Shape("brush", ((10, 10),), 2, erase=True)))
    for key in project.records():
        save_drawing(project, key, ring)
    out = project.folder / "labelme"
    assert last(write_labelme(project, out)).missing == 0
    for record in attach_roi(read_data(project.folder, str(out)), list(project.records().values())):
        assert np.array_equal(load_roi(record, SIZE), render(ring))


POINTS = st.tuples(st.floats(-5, 40, width=32), st.floats(-5, 30, width=32))
LAYERS = st.builds(
    Shape,
    st.sampled_from(["polygon", "brush"]),
    st.lists(POINTS, min_size=3, max_size=7).map(tuple),
    st.floats(0, 9, width=32),
    st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LAYERS, min_size=1, max_size=5))
def test_any_drawing_is_the_same_mask_saved_for_training_and_by_way_of_labelme(
    project: Project, shapes: list[Shape]
) -> None:
    key = "train/good/a.png"
    save_drawing(project, key, Drawing(SIZE, tuple(shapes)))
    expected = render(region(project, key).drawing)
    out = project.folder / "labelme"
    shutil.rmtree(out, ignore_errors=True)
    last(write_masks(project))
    last(write_labelme(project, out))
    file, mask = (out / key).with_suffix(".json"), project.folder / "roi" / key
    assert file.exists() == mask.exists() == bool(expected.any())
    if file.exists():
        assert np.array_equal(read_source(DrawnMask(file), SIZE), expected)
        assert np.array_equal(read_mask(mask), expected)


def test_a_full_disk_is_told_and_the_former_drawing_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "train/good/a.png"
    save_drawing(project, key, BOX)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left on device.*free space"):
        save_drawing(project, key, DOT)
    monkeypatch.undo()
    assert region(project, key) == (BOX, "own")
    assert not list(project.state.rglob("*.tmp"))


def test_a_folder_that_went_away_says_so(project: Project) -> None:
    away = project.folder.rename(project.folder.with_name("away"))
    with pytest.raises(UserError, match=r"not there any more.*bring the folder back"):
        project.records()
    away.rename(project.folder)
    assert source_of(project, project.record("train/good/a.png")) == "none"


def test_damaged_state_counts_as_none(project: Project) -> None:
    save_drawing(project, "train/good/a.png", BOX)
    for file in project.state.rglob("*.json"):
        file.write_bytes(b'{"shapes": [')
    assert region(project, "train/good/a.png").source == "none"
    assert store.read_json(project.state / "nothing.json") is None
