"""The first two pages in a real browser: folders, tabs and drawing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from roinspect.images.pixels import read_mask, write_image
from roinspect.studio.state.project import Project
from roinspect.synthetic.products import write_dataset

SHOWN = """() => document.querySelector("#folder textarea, #folder input")?.value
  || document.body.innerText.includes("No folder is open yet")"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def photographs(folder: Path, count: int = 3, size_hw: tuple[int, int] = (96, 128)) -> Path:
    """A folder of good photographs: noise, with a bright box that moves from one to the next."""
    rng = np.random.default_rng(0)
    height, width = size_hw
    for number in range(count):
        image = rng.integers(20, 60, (*size_hw, 3), np.uint8)
        left = width // 4 + number * width // 40
        image[height // 4 : height * 3 // 4, left : left + width // 3] += 140
        write_image(folder / "good" / f"{number:02d}.png", image)
    return folder


def open_folder(page: Any, address: str, folder: Path) -> None:
    """By typing its path on page 1."""
    page.goto(address)
    # What is typed before the page is there would be replaced by the folder that it shows.
    page.wait_for_function(SHOWN)
    page.get_by_label("Folder with photographs").fill(str(folder))
    page.get_by_role("button", name="Open", exact=True).click()
    page.wait_for_url(f"**project={Project(folder).id}*")


def draw_on(page: Any, address: str, folder: Path) -> None:
    """Page 2, once its first photograph can be drawn on."""
    open_folder(page, address, folder)
    page.get_by_role("link", name="2 Region").click()
    ready(page)


def ready(page: Any) -> None:
    page.wait_for_function("() => window.roinspect?.board?.photo && !window.roinspect.board.sending")
    # Its arrival may move what is below it, away from under a mouse button that is being pressed.
    page.locator("nav.steps .folder").wait_for()


def spot(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the photograph is in the window."""
    left, top = page.evaluate("point => window.roinspect.board.inWindow(point)", [float(x), float(y)])
    return left, top


def polygon(page: Any, *corners: tuple[float, float]) -> None:
    for corner in corners:
        page.mouse.click(*spot(page, *corner))
    page.keyboard.press("Enter")


def drawings(folder: Path) -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted((folder / ".roinspect/drawings").rglob("*.json"))]


def wait_until_saved(page: Any) -> None:
    page.wait_for_function("() => !window.roinspect.board.pending.size")


def test_two_tabs_have_a_folder_each(page: Any, address: str, tmp_path: Path) -> None:
    screws, nuts = photographs(tmp_path / "screws"), photographs(tmp_path / "nuts")
    other = page.context.new_page()
    open_folder(page, address, screws)
    draw_on(other, address, nuts)
    page.get_by_role("link", name="2 Region").click()
    ready(page)
    for tab, folder in ((page, screws), (other, nuts)):
        tab.locator("nav.steps .folder", has_text=str(folder)).wait_for()
        polygon(tab, (10, 10), (50, 10), (50, 50))
        wait_until_saved(tab)
        assert len(drawings(folder)) == 1
        tab.reload()
        ready(tab)
        assert tab.evaluate("() => window.roinspect.board.shapes.length") == 1
    polygon(page, (60, 10), (90, 10), (90, 50))
    wait_until_saved(page)
    assert [len(drawings(folder)[0]["shapes"]) for folder in (screws, nuts)] == [2, 1]
    page.get_by_role("link", name="3 Train").click()
    page.locator("nav.steps .folder", has_text=str(screws)).wait_for()
    page.get_by_text("Available: 3 good").wait_for()
    other.close()


def test_a_corner_is_moved_added_and_deleted(page: Any, address: str, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "parts", size_hw=(120, 160))
    draw_on(page, address, folder)
    polygon(page, (20, 20), (100, 20), (100, 100), (20, 100))

    def drag(start: tuple[float, float], end: tuple[float, float]) -> Any:
        page.mouse.move(*spot(page, *start))
        page.mouse.down()
        page.mouse.move(*spot(page, *end), steps=3)
        page.mouse.up()
        wait_until_saved(page)
        return np.round(drawings(folder)[0]["shapes"][0]["points"]).tolist()

    assert drag((100, 100), (120, 110)) == [[20, 20], [100, 20], [120, 110], [20, 100]]
    assert drag((60, 20), (60, 10)) == [[20, 20], [60, 10], [100, 20], [120, 110], [20, 100]]
    page.mouse.click(*spot(page, 60, 10), button="right")
    wait_until_saved(page)
    assert len(drawings(folder)[0]["shapes"][0]["points"]) == 4
    for _ in range(3):
        page.keyboard.press("Backspace")
    wait_until_saved(page)
    assert np.round(drawings(folder)[0]["shapes"][0]["points"]).tolist()[2] == [100, 100]
    # By keyboard: the cross takes a corner up, and Delete drops it.
    page.evaluate("() => { window.roinspect.board.cross = [20, 20]; }")
    for key in (" ", "ArrowRight", "Escape"):
        page.keyboard.press(key)
    wait_until_saved(page)
    (left, top), *_ = drawings(folder)[0]["shapes"][0]["points"]
    assert left > 20.2 and abs(top - 20) < 0.5
    page.keyboard.press("m")
    assert drag((60, 60), (70, 65))[1] == [110, 25]


def test_the_wheel_zooms_to_the_cursor_and_what_is_near_is_sharp(
    page: Any, address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    height, width = 1500, 3000
    image = np.full((height, width, 3), 30, np.uint8)
    image[700:716, 2000:2016] = np.indices((16, 16)).sum(0)[..., None] % 2 * 220
    write_image(folder / "good" / "a.png", image)
    draw_on(page, address, folder)
    # Events of the wheel know whole pixels of the screen only.
    at = np.round(spot(page, 2008, 708)).tolist()
    under = """([x, y]) => {
      const { board } = window.roinspect, box = board.canvas.getBoundingClientRect();
      return board.toPhoto([x - box.left, y - box.top]);
    }"""
    began = page.evaluate(under, at)
    page.mouse.move(*at)
    for _ in range(12):
        page.mouse.wheel(0, -200)
    page.wait_for_function("() => window.roinspect.board.detail")
    assert np.abs(np.subtract(page.evaluate(under, at), began)).max() < 0.2, "what is under the cursor stays"
    detail = page.evaluate("() => { const { image, ...rest } = window.roinspect.board.detail; return rest; }")
    assert detail["width"] < 900 and detail["left"] < 2000 < detail["left"] + detail["width"]
    # The chequered pixels are still apart, which a photograph of 1,600 pixels would show as grey.
    shown = """() => {
      const { board } = window.roinspect, [x, y] = board.toCanvas([2003.5, 703.5]), step = board.view.scale;
      const at = (dx) => board.context.getImageData(Math.round(x + dx * step), Math.round(y), 1, 1).data[0];
      return [at(0), at(1), at(2), at(3)];
    }"""
    values = page.evaluate(shown)
    assert min(abs(np.diff(values))) > 100, values
    page.mouse.down(button="middle")
    page.mouse.move(at[0] + 60, at[1] + 20, steps=3)
    page.mouse.up(button="middle")
    assert np.abs(np.subtract(page.evaluate(under, [at[0] + 60, at[1] + 20]), began)).max() < 0.2
    polygon(page, (2000, 700), (2016, 700), (2016, 716))
    wait_until_saved(page)
    assert np.abs(np.subtract(drawings(folder)[0]["shapes"][0]["points"][2], [2016, 716])).max() < 0.2
    page.keyboard.press("0")
    assert page.evaluate("() => window.roinspect.board.view.scale === window.roinspect.board.fitting()")


def test_ten_outlines_take_twenty_actions(page: Any, address: str, tmp_path: Path) -> None:
    folder = tmp_path / "zipper"
    write_dataset("zipper", folder, count=20, seed=4, size_hw=(128, 128))
    true = {path.relative_to(folder / "roi"): read_mask(path) for path in (folder / "roi").rglob("*.png")}
    shutil.rmtree(folder / "roi")
    draw_on(page, address, folder)
    page.get_by_role("button", name="Smart outline").click()
    actions = 1
    for number in range(10):
        if number:
            page.keyboard.press("n")
            actions += 1
        page.wait_for_function(
            "n => window.roinspect.board.key === window.roinspect.board.list[n].key", arg=number
        )
        ready(page)
        key = page.evaluate("() => window.roinspect.board.key")
        rows, columns = np.nonzero(true[Path(key)])
        page.mouse.move(*spot(page, columns.min() - 4, rows.min()))
        page.mouse.down()
        page.mouse.move(*spot(page, columns.max() + 5, rows.max() + 1), steps=3)
        page.mouse.up()
        actions += 1
        page.wait_for_function("() => window.roinspect.board.shapes.length")
        wait_until_saved(page)
    page.get_by_role("button", name="Save the regions for training").click()
    page.locator("#saved-regions").get_by_text("10 of 20 photographs have a region").wait_for()
    found = {path.relative_to(folder / "roi"): read_mask(path) for path in (folder / "roi").rglob("*.png")}
    ious = [(mask & true[key]).sum() / (mask | true[key]).sum() for key, mask in found.items()]
    print(f"{actions} actions, IoU {np.mean(ious):.2f} on average, {min(ious):.2f} at worst")
    assert len(ious) == 10 and actions <= 20 and np.mean(ious) > 0.7
    # A region that is like the one before is one key.
    page.locator(".board canvas").focus()
    page.keyboard.press("n")
    page.wait_for_function("() => window.roinspect.board.key === window.roinspect.board.list[10].key")
    ready(page)
    page.keyboard.press("r")
    wait_until_saved(page)
    assert len(drawings(folder)) == 11


def test_from_a_heap_of_photographs_to_sorted_data(page: Any, address: str, tmp_path: Path) -> None:
    # The home folder of this studio is pytest's, which may hold more folders than are listed.
    start = tmp_path.parent / f"0-{tmp_path.name}"
    start.mkdir()
    heap = sorted(photographs(tmp_path / "heap", count=12).rglob("*.png"))
    page.goto(address)
    page.wait_for_function(SHOWN)
    page.get_by_text("Look for the folder, or make a new one").click()
    page.locator("#folders button", has_text=start.name).click()
    page.locator("#folders", has_text=f"{start.name}: ").wait_for()
    page.get_by_label("New folder in it").fill("screws")
    page.get_by_role("button", name="Make and open").click()
    page.get_by_text("The folder is empty.").wait_for()
    page.get_by_text("Add photographs", exact=True).click()
    page.locator("#add input[type=file]").set_input_files(list(map(str, heap)))
    page.get_by_text("12 photographs were added.").wait_for()
    boxes = page.locator("#photographs input")
    assert boxes.count() == 12
    boxes.nth(0).check()
    boxes.nth(9).click(modifiers=["Shift"])
    page.get_by_role("button", name="Sort them").click()
    page.get_by_text("10 photographs are sorted: good, to train with.").wait_for()
    page.get_by_role("button", name="Tick all of these").click()
    assert page.locator("#photographs input:checked").count() == 12
    page.get_by_role("button", name="Tick all of these").click()
    for name in ("10.png", "11.png"):
        page.locator("#photographs label", has_text=name).locator("input").check()
    page.locator("#sort-label").get_by_label("defective").check()
    page.locator("#sort-kind").get_by_role("textbox").fill("scratch")
    page.get_by_role("button", name="Sort them").click()
    page.get_by_text("2 photographs are sorted: defective").wait_for()
    page.get_by_role("button", name="Set 2 good and 1 defective photographs aside for testing").click()
    page.get_by_text("3 photographs are set aside for testing").wait_for()
    folder = start / "screws"
    found = sorted(path.relative_to(folder).parent.as_posix() for path in folder.rglob("*.png"))
    assert found == ["test/good"] * 2 + ["test/scratch"] + ["train/good"] * 8 + ["train/scratch"]
    page.wait_for_url(f"**project={Project(folder).id}*")
    # Which folders are good can be named where their names do not say so.
    strange = tmp_path / "strange"
    for number, path in enumerate(heap):
        (strange / ("Gut" if number < 10 else "Schlecht")).mkdir(parents=True, exist_ok=True)
        path.rename(strange / ("Gut" if number < 10 else "Schlecht") / path.name)
    open_folder(page, address, strange)
    page.get_by_text("There are 0 good photographs to train on").wait_for()
    page.locator("#good").get_by_label("Gut").check()
    page.locator("#photographs", has_text="good, train").wait_for()
    page.get_by_role("button", name="Set 2 good and 1 defective photographs aside for testing").click()
    page.get_by_text("manifest.csv says so, and no file was moved.").wait_for()
