"""Somebody who never saw the code goes from photographs to a running inspection, in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gradio")

from roinspect.images.pixels import read_mask
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.exported import has_export
from roinspect.synthetic.products import write_dataset

from .conftest import ready

SHOTS = os.environ.get("ROINSPECT_SHOTS", "")
"""A folder for screenshots at both widths; none are taken without it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
PATIENCE_MS = 90_000
SHOWN_AT_CENTRES = """() => {
  const { mask, size, view } = window.roinspect.board;
  const alpha = mask.getContext("2d").getImageData(0, 0, mask.width, mask.height).data;
  const all = (count) => [...Array(count).keys()];
  const centres = (count, start) => all(count).map((at) => Math.floor((at + 0.5) * view.scale + start));
  const [down, across] = [centres(size[0], view.y), centres(size[1], view.x)];
  return down.flatMap((y) => across.map((x) => alpha[4 * (y * mask.width + x) + 3]));
}"""
"""What the canvas marks at the centre of each of the photograph's pixels, from 0 to 255."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty photographs; nobody has drawn a region yet."""
    folder = tmp_path_factory.mktemp("studio") / "zipper"
    write_dataset("zipper", folder, count=30, seed=3, size_hw=(96, 96))
    shutil.rmtree(folder / "roi")
    return folder


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(400)
            page.screenshot(path=f"{SHOTS}/{name}-{width}.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.wait_for_timeout(300)


def canvas(page: Any) -> Any:
    """Where the photograph is, in the window: a mouse reaches nothing outside of it."""
    corners = """() => {
      const { board } = window.roinspect;
      return [...board.inWindow([0, 0]), ...board.inWindow([board.size[1], board.size[0]])];
    }"""
    left, top, right, bottom = page.evaluate(corners)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def corner(page: Any, x: float, y: float) -> None:
    box = canvas(page)
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def stroke(page: Any, y: float) -> None:
    """Draw from left to right with the tool that is chosen."""
    box = canvas(page)
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + y * box["height"], steps=8)
    page.mouse.up()


def put(route: Any) -> bool:
    return bool(route.request.method == "PUT")


def wait_for_shapes(page: Any, folder: Path, count: int) -> Any:
    """The one drawing, once it has so many shapes and no open polygon."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while True:
        (file,) = (folder / ".roinspect" / "drawings").rglob("*.png.json")
        drawn = json.loads(file.read_text())
        if (len(drawn["shapes"]) == count and not drawn["begun"]) or time.monotonic() > until:
            return drawn
        # Asleep, Python would hold up the requests that it routes.
        page.wait_for_timeout(100)


def test_the_whole_path(page: Any, address: str, folder: Path) -> None:
    began = time.monotonic()
    # 1: open the folder
    page.goto(address)
    page.get_by_text("No folder is open yet").wait_for()
    page.get_by_label("Folder with photographs").fill(str(folder))
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_text("30 photographs were read").wait_for()
    page.get_by_text("Next: mark the region").wait_for()
    shoot(page, "1-data")

    # 2: draw, by polygon, brush and keyboard; reload; use it for all; save
    page.get_by_role("link", name="2 Region").click()
    saved = page.locator(".board .saved")
    page.get_by_text("Nothing is drawn yet.").wait_for()
    for x, y in ((0.3, 0.02), (0.7, 0.02), (0.7, 0.98), (0.3, 0.98)):
        corner(page, x, y)
    shoot(page, "2-drawing")
    page.reload()
    page.get_by_role("button", name="Close polygon").click()
    saved.get_by_text("Saved.").wait_for()
    # what cannot be saved is kept in the browser, and is back after a reload
    page.route("**/studio/drawing?*", lambda route: route.abort() if put(route) else route.continue_())
    page.get_by_role("button", name="Brush").click()
    stroke(page, 0.5)
    saved.get_by_text("Not saved yet, but kept in this browser").wait_for()
    page.unroute("**/studio/drawing?*")
    page.reload()
    page.wait_for_function("() => window.roinspect?.board?.shapes.length === 2")
    wait_for_shapes(page, folder, 2)
    page.locator(".board canvas").focus()
    for key in ("b", "Shift+ArrowRight", " ", "p", " ", "Escape"):
        page.keyboard.press(key)
    drawn = wait_for_shapes(page, folder, 3)
    assert [shape["kind"] for shape in drawn["shapes"]] == ["polygon", "brush", "brush"]
    for _ in range(3):
        page.keyboard.press("Backspace")
    assert len(wait_for_shapes(page, folder, 2)["shapes"]) == 2
    page.get_by_role("button", name="Use this region for all photographs").click()
    page.get_by_text("the region of all 30 photographs").wait_for()
    shoot(page, "2-region")
    page.get_by_role("button", name="Save the regions for training").click()
    page.locator("#saved-regions").get_by_text("30 of 30 photographs have a region").wait_for()
    mask = read_mask(folder / "roi.png")
    assert mask.shape == (96, 96) and 0.3 < mask.mean() < 0.5 and not mask[:, :25].any()
    shown = np.array(page.evaluate(SHOWN_AT_CENTRES)).reshape(96, 96) > 127
    assert (shown != mask).mean() < 0.002, "the canvas shows what is saved"

    # 3: train
    page.get_by_role("link", name="3 Train").click()
    page.get_by_text("18 good and 0 defective").wait_for()
    page.get_by_text("Further options, for experts").click()
    page.locator("#more").get_by_role("textbox").fill("--training.steps 200 --training.threads 1")
    page.get_by_role("button", name="Start training").click()
    status = page.locator("#training-status")
    status.get_by_text("roibank-1").first.wait_for()
    checkpoint = folder / ".roinspect" / "models" / "roibank-1.run" / "last.ckpt"
    while not checkpoint.exists():
        assert not status.get_by_text("Problem").count() and time.monotonic() - began < 200
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Stop", exact=True).click()
    status.get_by_text("was stopped after").wait_for()
    shoot(page, "3-training")
    page.get_by_role("button", name="Go on where it stopped").click()
    status.get_by_text("is trained and judged").wait_for(timeout=2 * PATIENCE_MS)
    assert status.locator("svg").count() >= 1
    shoot(page, "3-trained")

    # 4: judge, move the threshold, look at one part, keep the threshold
    page.get_by_role("link", name="4 Judge").click()
    page.locator("#results .card").first.wait_for()
    before = page.locator("#tally").inner_text()
    slider = page.locator("#threshold input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_function("before => document.querySelector('#tally').innerText !== before", arg=before)
    page.keyboard.press("Home")
    page.locator("#tally b", has_text=re.compile("^0$")).nth(0).wait_for()
    page.get_by_role("button", name="Keep this threshold").click()
    page.get_by_text("Kept: roibank-1 rejects from").wait_for()
    kept = read_bundle(folder / ".roinspect" / "models" / "roibank-1").threshold
    assert "by hand" in kept.origin
    page.locator("#results .card").first.click()
    page.locator("#result img").nth(1).wait_for()
    shoot(page, "4-judge")
    page.get_by_role("button", name="This verdict is wrong").click()
    page.locator("#result").get_by_text("a person says").wait_for()

    # 5: run on new photographs, follow a camera, export
    new = folder.parent / "new"
    write_dataset("zipper", new, count=20, seed=9, size_hw=(96, 96))
    page.get_by_role("link", name="5 Run").click()
    ready(page, "/run")
    (folder.parent / "broken.png").write_bytes(b"no image")
    dropped = [*sorted((new / "test").rglob("*.png"))[:3], folder.parent / "broken.png"]
    page.locator("#drop input[type=file]").set_input_files(list(map(str, dropped)))
    page.get_by_text("3 of 4 photographs inspected").wait_for()
    assert page.locator("#verdicts .verdict.error").count() == 1
    page.locator("#verdicts button.card").first.click()
    page.locator("#verdict img").nth(1).wait_for()
    shoot(page, "5-run")
    page.get_by_role("button", name="Add it to the data").click()
    page.get_by_text("Added as train/").wait_for()
    page.get_by_role("tab", name="Camera folder").click()
    # The tab's fields are made when it is opened; no person types in that instant.
    page.wait_for_timeout(1000)
    page.get_by_label("Folder that the camera writes into").fill(str(new / "test" / "good"))
    page.wait_for_timeout(500)
    assert page.get_by_label("Folder that the camera writes into").input_value()
    page.get_by_role("button", name="Follow the folder").click()
    page.locator("#camera-verdicts .card").nth(1).wait_for(timeout=2 * PATIENCE_MS)
    shoot(page, "5-camera")
    page.get_by_role("button", name="Stop following").click()
    page.get_by_role("tab", name="Export", exact=True).click()
    page.get_by_role("button", name="Export for the line").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download roibank-1.zip").click(timeout=2 * PATIENCE_MS)
    assert download.value.suggested_filename == "roibank-1.zip"
    shoot(page, "5-export")
    assert has_export(folder / ".roinspect" / "models" / "roibank-1", "onnx")
    page.get_by_text("Not following any more").wait_for(state="attached")

    assert page.asked_elsewhere == [] and page.faults == []
    print(f"the whole path took {time.monotonic() - began:.0f} s")
    assert np.isfinite(kept.value)


def open_folder(page: Any, address: str, folder: Path) -> None:
    page.goto(address)
    # What is typed before the page is there would be replaced by the folder that it shows.
    shown = "document.querySelector('#folder textarea, #folder input')?.value"
    page.wait_for_function(f"() => {shown} || document.body.innerText.includes('No folder is open yet')")
    page.get_by_label("Folder with photographs").fill(str(folder))
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_text("photographs were read").wait_for()
    page.get_by_role("link", name="2 Region").click()
    page.wait_for_function("() => window.roinspect?.board?.photo")
    # Its arrival may move what is below it, away from under a mouse button that is being pressed.
    page.locator("nav.steps .folder").wait_for()


def test_a_network_proposes_what_nobody_drew(page: Any, address: str, folder: Path) -> None:
    moving = folder.with_name("moving")
    write_dataset("zipper", moving, count=20, seed=5, size_hw=(96, 96))
    drawn = {path.relative_to(moving / "roi"): read_mask(path) for path in (moving / "roi").rglob("*.png")}
    shutil.rmtree(moving / "roi")
    open_folder(page, address, moving)
    # The message lies over the page until it is pressed, and comes up anew.
    for _ in range(2):
        page.get_by_role("button", name="Propose the missing regions").click()
        page.get_by_role("alert").get_by_text("draw on at least 3").click()
        page.get_by_role("alert").wait_for(state="hidden")
    # A photograph that does not arrive is asked for again.
    page.route("**/studio/image?*", lambda route: route.abort(), times=1)
    for number in range(4):
        if number:
            page.get_by_role("button", name="Next ›").click()
            key = page.evaluate("n => window.roinspect.board.list[n].key", number)
            page.locator(".board .name").get_by_text(key).wait_for()
            page.locator(".board .saved").get_by_text("Nothing is drawn yet.").wait_for()
        for x, y in ((0.35, 0.01), (0.65, 0.01), (0.65, 0.99), (0.35, 0.99)):
            corner(page, x, y)
        page.get_by_role("button", name="Close polygon").click()
        page.locator(".board .saved").get_by_text("Saved.").wait_for()
        key = page.evaluate("() => window.roinspect.board.key")
        del drawn[Path(key)]
    page.get_by_role("button", name="Next ›").click()
    page.locator(".board .saved").get_by_text("Nothing is drawn yet.").wait_for()
    page.get_by_role("button", name="Propose the missing regions").click()
    page.locator("#proposed").get_by_text("Proposed.").wait_for(timeout=4 * PATIENCE_MS)
    # The photograph that is open shows its proposal at once.
    page.locator(".board .saved").get_by_text("Proposed by the network").wait_for()
    assert page.evaluate("() => window.roinspect.board.shapes.length > 0")
    page.get_by_label("Show").select_option("doubtful")
    page.wait_for_function(
        "() => window.roinspect.board.only === 'doubtful' && window.roinspect.board.list.length === 16"
    )
    sure = page.evaluate("() => window.roinspect.board.list.map((one) => one.confidence)")
    assert sure == sorted(sure) and all(0 < one <= 1 for one in sure)
    shoot(page, "2-proposed")
    ious = []
    for key, mask in drawn.items():
        found = read_mask(moving / "roi" / key)
        ious.append((found & mask).sum() / (found | mask).sum())
    assert len(ious) == 16 and float(np.mean(ious)) > 0.5, ious
    # accept the least certain one, correct the next, and save
    page.locator(".board .strip button[data-key]").first.click()
    page.get_by_role("button", name="Accept, and next").click()
    page.wait_for_function("() => window.roinspect.board.list.length === 15 && window.roinspect.board.photo")
    first = page.evaluate("() => window.roinspect.board.list[0].key")
    page.locator(".board .name").get_by_text(first).wait_for()
    page.locator(".board .saved").get_by_text("Proposed by the network").wait_for()
    page.get_by_role("button", name="Brush").click()
    stroke(page, 0.5)
    page.locator(".board .saved").get_by_text("Saved.").wait_for()
    page.get_by_role("button", name="Accept all proposals").click()
    page.locator(".board .saved").get_by_text("14 proposals are accepted.").wait_for()
    page.get_by_role("button", name="Save the regions for training").click()
    page.locator("#saved-regions").get_by_text("20 of 20 photographs have a region").wait_for()
    assert page.faults == []


def test_the_last_of_two_windows_wins(page: Any, address: str, folder: Path) -> None:
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE_MS)
    for one in (page, other):
        open_folder(one, address, folder)
        one.get_by_role("button", name="Brush").click()
    stroke(other, 0.3)
    other.locator(".board .saved").get_by_text("Saved.").wait_for()
    stroke(page, 0.7)
    page.locator(".board .saved").get_by_text("Saved.").wait_for()
    (file,) = (folder / ".roinspect" / "drawings").rglob("*.json")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    # "Saved." may still be the word for an earlier stroke.
    while json.loads(file.read_text())["shapes"][-1]["points"][0][1] < 48 and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert json.loads(file.read_text())["shapes"][-1]["points"][0][1] > 48
    other.close()
