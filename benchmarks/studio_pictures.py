"""Takes the pictures of docs/studio.md: a person's way from photographs to verdicts, in Chromium.

    python benchmarks/studio_pictures.py

Draws 80 synthetic zippers, opens them in the studio, outlines the teeth, trains roibank with its defaults and
runs it on photographs that it has never seen: about four minutes on two cores. The photographs are synthetic,
since none of the real ones that the measurements use may be copied into a repository. Needs
``pip install 'roinspect[studio]' playwright`` and Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from roinspect.synthetic.products import write_dataset

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "studio"
SIZE, WIDTH, QUALITY = (256, 256), 1280, 82
TEETH = ((0.33, 0.01), (0.67, 0.01), (0.67, 0.99), (0.33, 0.99))
"""Corners of a polygon about the teeth, as shares of width and height."""
CORNERS = """() => {
  const { board } = window.roinspect;
  return [...board.inWindow([0, 0]), ...board.inWindow([board.size[1], board.size[0]])];
}"""
TRAINING_MS = 600_000


@contextmanager
def studio(home: Path) -> Iterator[str]:
    """The address of a studio that knows of no folder yet."""
    words = [sys.executable, "-m", "roinspect", "studio", "--port", "0"]
    settings = {"XDG_CONFIG_HOME": str(home), "GRADIO_TEMP_DIR": str(home / "gradio"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        if found is None:
            raise RuntimeError("the studio did not start")
        try:
            yield found[0]
        finally:
            process.terminate()


def open_page(page: Any, title: str, path: str) -> None:
    page.get_by_role("link", name=title).click()
    page.wait_for_url(re.compile(path))
    page.locator("main[data-loading='0']").wait_for()


def shoot(page: Any, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=QUALITY, full_page=True)


def outline(page: Any) -> None:
    left, top, right, bottom = page.evaluate(CORNERS)
    for x, y in TEETH:
        page.mouse.click(left + x * (right - left), top + y * (bottom - top))
    page.get_by_role("button", name="Close polygon").click()


def take(page: Any, address: str, folder: Path, new: list[Path]) -> None:
    page.goto(address)
    page.get_by_label("Folder with photographs").fill(str(folder))
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_text("Next: mark the region").wait_for()
    shoot(page, "1-data")

    open_page(page, "2 Region", "/region")
    page.get_by_text("Nothing is drawn yet.").wait_for()
    outline(page)
    page.get_by_role("button", name="Use this region for all photographs").click()
    page.get_by_text("the region of all").wait_for()
    shoot(page, "2-region")
    page.get_by_role("button", name="Save the regions for training").click()
    page.locator("#saved-regions").get_by_text("photographs have a region").wait_for()

    open_page(page, "3 Train", "/train")
    page.get_by_role("button", name="Start training").click()
    page.locator("#training-status").get_by_text("is trained and judged").wait_for(timeout=TRAINING_MS)
    shoot(page, "3-trained")

    open_page(page, "4 Judge", "/judge")
    page.locator("#results .card").first.click()
    page.locator("#result img").nth(1).wait_for()
    shoot(page, "4-judge")

    open_page(page, "5 Run", "/run")
    page.locator("#drop input[type=file]").set_input_files(list(map(str, new)))
    page.get_by_text(f"{len(new)} of {len(new)} photographs inspected").wait_for()
    page.locator("#verdicts button.card").first.click()
    page.locator("#verdict img").nth(1).wait_for()
    shoot(page, "5-run")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        folder, unseen = Path(home) / "zippers", Path(home) / "unseen"
        write_dataset("zipper", folder, count=80, seed=3, size_hw=SIZE)
        shutil.rmtree(folder / "roi")
        write_dataset("zipper", unseen, count=20, seed=9, size_hw=SIZE)
        inside = sorted((unseen / "test").glob("*/*.png"))
        new = [path for path in inside if path.parent.name != "good"][:2]
        new += [path for path in inside if path.parent.name == "good"][:2]
        with studio(Path(home)) as address, sync_playwright() as running:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            page = browser.new_context(viewport={"width": WIDTH, "height": 900}).new_page()
            page.set_default_timeout(90_000)
            take(page, address, folder, new)
            browser.close()


if __name__ == "__main__":
    main()
