"""The first two pages in a real browser: folders, tabs and drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from roinspect.images.pixels import write_image
from roinspect.studio.state.project import Project

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
    left, top = page.evaluate("point => window.roinspect.board.inWindow(point)", [x, y])
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
