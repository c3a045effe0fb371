"""Judging, running and the looks of all pages in a real browser."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("gradio")

from roinspect.review.corrections import read_corrections
from roinspect.studio.state.project import Project
from roinspect.synthetic.products import write_dataset

from .conftest import ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OPENED = {"/judge": ("#results", "#result"), "/run": ("#verdicts", "#verdict")}
COLOURS = """selectors => selectors.map(name => {
  const style = getComputedStyle(document.querySelector(name));
  return [style.backgroundColor, style.color];
})"""
LEFT = "selectors => selectors.map(name => document.querySelector(name).getBoundingClientRect().left)"
SIGNED = """async words => {
  const report = await (await fetch(document.querySelector('#report a').href)).text();
  return words.every(word => report.includes(word));
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and two models that were hardly trained, judged."""
    folder = tmp_path_factory.mktemp("judged") / "parts"
    write_dataset("zipper", folder, count=20, seed=3, size_hw=(64, 64))
    model = folder / ".roinspect" / "models" / "zipper-1"
    options = ["--size", "64x64", "--training.steps", "20", "--training.threads", "1"]
    for words in (
        ["train", "roibank", str(folder), "--out", str(model), *options],
        ["evaluate", str(model), str(folder), "--out", f"{model}.evaluation"],
    ):
        subprocess.run([sys.executable, "-m", "roinspect", *words], check=True, capture_output=True)
    for suffix in ("", ".evaluation"):
        shutil.copytree(f"{model}{suffix}", f"{model.with_name('other-2')}{suffix}")
    return folder


def go_to(page: Any, address: str, folder: Path, path: str = "/") -> None:
    """A page of the folder, which page 1 opens the first time."""
    id = Project(folder).id
    page.goto(f"{address}{path}?project={id}")
    page.locator("nav.steps").wait_for()
    if not page.locator("nav.steps .folder", has_text=str(folder)).count():
        page.goto(f"{address}/")
        page.get_by_label("Folder with photographs").fill(str(folder))
        page.get_by_role("button", name="Open", exact=True).click()
        page.wait_for_url(f"**project={id}*")
        page.goto(f"{address}{path}?project={id}")
    page.locator("nav.steps .folder", has_text=str(folder)).wait_for()
    ready(page, path)


def drop(page: Any, *files: Path) -> None:
    page.locator("#drop input[type=file]").set_input_files(list(map(str, files)))


def choose_model(page: Any, name: str) -> None:
    page.locator("#run-model input").click()
    page.get_by_role("option", name=name).click()


def test_the_report_is_signed_and_a_moved_photograph_stays_in_the_list(
    page: Any, address: str, parts: Path
) -> None:
    go_to(page, address, parts, "/judge")
    page.locator("#results .card").first.wait_for()
    page.get_by_label("Product, for the report").fill("Zip & Co")
    page.get_by_label("Operator, for the report").fill("Kim")
    page.get_by_role("button", name="Put them on the report").click()
    page.wait_for_function(SIGNED, arg=[">Zip &amp; Co<", ">Kim<"])
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the report").click()
    report = opened.value
    report.get_by_text("Zip & Co").wait_for()
    report.get_by_text("Signature").wait_for(state="hidden")
    report.emulate_media(media="print")
    report.get_by_text("Signature").wait_for()
    assert not report.locator(".slider").first.is_visible()
    report.close()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the report").click()
    assert "Zip &amp; Co" in saved.value.path().read_text(encoding="utf-8")

    key = "test/good/000.png"
    page.locator(f"#results [data-key='{key}']").click()
    page.locator("#result .enlarge").nth(1).wait_for()
    page.get_by_label("to train with").check()
    page.get_by_role("button", name="Correct it in the data").click()
    page.locator("#added").get_by_text(f"{key} was moved").wait_for()
    page.locator("#results [data-key^='train/good/']").click()
    page.locator("#result h3", has_text="train/good/").wait_for()
    page.locator("#result .enlarge").nth(1).wait_for()
    assert not page.locator(f"#results [data-key='{key}']").count()
    assert not page.get_by_text("That did not work").count() and not page.get_by_text("Problem").count()


def test_what_is_said_of_verdicts_is_kept_with_the_name_on_the_page(
    page: Any, address: str, parts: Path, tmp_path: Path
) -> None:
    go_to(page, address, parts, "/judge")
    page.locator("#results .card").first.wait_for()
    page.get_by_label("Operator, for the report").fill("Lou")
    page.locator("#results .card").first.click()
    page.locator("#result .enlarge").nth(1).wait_for()
    page.get_by_role("button", name="This verdict is wrong").click()
    page.locator("#added").get_by_text("Marked by Lou").wait_for()
    judged = sorted((parts / ".roinspect" / "models").glob("*.evaluation/corrections.jsonl"))
    assert [one.by for file in judged for one in read_corrections(file)] == ["Lou"]

    line = parts / "line"
    line.mkdir()
    shutil.copy(parts / "test/good/001.png", line / "a.png")
    go_to(page, address, parts, "/run")
    page.get_by_label("Your name").fill("Kim")
    page.get_by_role("tab", name="Camera folder").click()
    page.wait_for_timeout(1000)
    page.get_by_label("Folder that the camera writes into").fill(str(line))
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Follow the folder").click()
    page.locator("#camera-verdicts button.card").first.click()
    page.locator("#camera-verdict img").wait_for()
    page.get_by_role("button", name="The part is good").click()
    page.locator("#camera-kept").get_by_text("Kept: Kim says good").wait_for()
    page.locator("#camera-verdicts").get_by_text("Kim says: good").wait_for()
    page.get_by_role("button", name="Withdraw what was said").click()
    page.locator("#camera-kept").get_by_text("Withdrawn by Kim").wait_for()
    page.get_by_role("button", name="Stop following").click()
    page.get_by_text("Not following any more").wait_for()
    (said,) = sorted((parts / ".roinspect" / "watch").glob("*.corrections.jsonl"))
    assert [(one.truth, one.by) for one in read_corrections(said)] == [("good", "Kim"), ("unknown", "Kim")]
    shutil.rmtree(line)
    assert not page.get_by_text("That did not work").count()


def test_nothing_can_be_done_before_the_page_knows_its_folder(page: Any, address: str, parts: Path) -> None:
    go_to(page, address, parts, "/run")
    held = list[Any]()
    page.route("**/gradio_api/run/**", lambda route: held.append(route))
    page.reload(wait_until="domcontentloaded")
    page.locator("main[inert]").wait_for()
    page.locator("#run-model input").wait_for()
    assert not page.locator("#run-model input").input_value()
    page.unroute("**/gradio_api/run/**")
    for route in held:
        route.continue_()
    ready(page, "/run")
    assert page.locator("#run-model input").input_value()
    assert not page.locator("main[inert]").count()


def test_photographs_are_run_with_one_product_and_then_another(
    page: Any, address: str, parts: Path, tmp_path: Path
) -> None:
    go_to(page, address, parts, "/run")
    files = [*sorted((parts / "test").rglob("*.png"))[:2], tmp_path / "notes.txt", tmp_path / "plan.pdf"]
    for file in files[2:]:
        file.write_bytes(b"text")
    drop(page, *files)
    page.get_by_text("2 of 2 photographs inspected").wait_for()
    page.get_by_text("2 of the files are not photographs and were left out: notes.txt, plan.pdf").wait_for()
    page.locator("#verdicts .trend circle").nth(1).wait_for()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the verdicts as a table").click()
    with saved.value.path().open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    first = rows[0]["model"]
    assert len(rows) == 2 and all(row["verdict"] and row["time"] for row in rows)
    assert page.locator("#verdicts .card").first.inner_text().endswith(f"{rows[0]['time']} · {first}")

    page.locator("#verdicts button.card").first.click()
    page.locator("#verdict .light", has_text="photograph 1 of 2").wait_for()
    page.get_by_role("button", name="Next photograph").click()
    page.locator("#verdict .light", has_text="photograph 2 of 2").wait_for()
    picture = page.locator("#verdict .enlarge").nth(1)
    picture.click()
    page.wait_for_function("() => document.querySelector('.enlarge.full')?.offsetWidth === innerWidth")
    page.keyboard.press("Escape")
    page.locator(".enlarge.full").wait_for(state="detached")

    other = next(name for name in ("zipper-1", "other-2") if name != first)
    choose_model(page, other)
    page.locator("#verdicts .card .soft", has_text=other).nth(1).wait_for()


def test_all_pages_look_alike_and_are_accessible(page: Any, address: str, parts: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = list[str]()
    for path in ("/", "/region", "/train", "/judge", "/run"):
        for scheme, widths in (("light", (1440, 768)), ("dark", (390,))):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            go_to(page, address, parts, path)
            if path == "/run":
                drop(page, *sorted((parts / "test").rglob("*.png"))[:2])
            if path in OPENED:
                cards, enlarged = OPENED[path]
                page.locator(f"{cards} button.card").first.click()
                page.locator(f"{enlarged} .enlarge").nth(1).wait_for()
            for width in widths:
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(OVERFLOW) <= 0, (path, width)
                violations = axe.run(page).response["violations"]
                found += [
                    f"{path} {width} {one['id']}: {one['nodes'][0]['html'][:120]}" for one in violations
                ]
            page.set_viewport_size({"width": 1440, "height": 900})
            assert page.locator("h1").count() == 1
    page.emulate_media(color_scheme="light")
    assert found == []


def test_there_is_one_blue_and_boxes_begin_where_text_does(page: Any, address: str, parts: Path) -> None:
    go_to(page, address, parts, "/train")
    current, button = page.evaluate(COLOURS, ["nav.steps a[aria-current]", "button.primary"])
    assert current == button
    text, box = page.evaluate(LEFT, ["nav.steps", "#method"])
    assert abs(text - box) <= 1
    page.evaluate(
        """() => {
      const bar = document.createElement('progress');
      bar.id = 'empty'; bar.max = 9; bar.value = 0;
      document.querySelector('main').prepend(bar);
    }"""
    )
    empty = page.locator("#empty").screenshot()
    page.evaluate("() => { document.querySelector('#empty').value = 1; }")
    assert page.locator("#empty").screenshot() != empty
    page.evaluate("() => { document.querySelector('#empty').style.setProperty('--accent', '#ffffff'); }")
    page.evaluate("() => { document.querySelector('#empty').value = 0; }")
    assert page.locator("#empty").screenshot() == empty, "at 0 nothing of it is blue"
