"""Page 2: draw the region to inspect, or let a network propose it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from roinspect.studio.page_images import STATIC
from roinspect.studio.pages.elements import job_note, note, plain
from roinspect.studio.pages.shell import begin, html
from roinspect.studio.state.jobs import latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.proposals import propose
from roinspect.studio.state.regions import Saved, write_labelme, write_masks

TICK_S = 2.0
BEGIN = """const begin = () => {
  if (window.roinspect?.draw) window.roinspect.draw(element);
  else setTimeout(begin, 30);
};
begin();"""
"""The script in the page's head may come after the page."""

WHY = (
    "<h2>Where to look</h2><p>Mark the part of the photograph where a defect matters. What stays dark is "
    "ignored: a scratch there rejects nothing. Every stroke is kept at once. Do the parts lie in the same "
    "place in every photograph? Then one region serves all. If not, draw on some ten and have the rest "
    "proposed.</p>"
)

WHY_PROPOSE = (
    "It learns from the regions that are drawn, and draws those that are missing. Look at the least certain "
    "ones first, correct what is wrong, and save."
)
PROPOSED = 'Proposed. Choose "proposals, least certain first" below the photograph, and look through them.'


def region_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/region")
    html(plain(WHY))
    board = (STATIC / "board.html").read_text(encoding="utf-8")
    html(board, js_on_load=BEGIN, elem_id="board")
    with gr.Accordion("Draw on ten photographs and let a network propose the rest"):
        html(plain(f"<p>{WHY_PROPOSE}</p>"))
        with gr.Row():
            ask = gr.Button("Propose the missing regions")
            halt = gr.Button("Stop", interactive=False)
        proposed = html(elem_id="proposed")
    timer = gr.Timer(TICK_S, active=False)
    html(plain("<h3>When the region is drawn</h3>"))
    with gr.Row():
        masks = gr.Button("Save the regions for training", variant="primary")
        labelme = gr.Button("Save for LabelMe")
    said = html(elem_id="saved-regions")

    def save_masks(id: str) -> Iterator[str]:
        project = page.opened(id)
        for saved in write_masks(project):
            yield from in_words(saved, f"{_place(project)}, white = inspect")

    def save_labelme(id: str) -> Iterator[str]:
        project = page.opened(id)
        for saved in write_labelme(project, out := project.folder / "labelme"):
            yield from in_words(saved, str(out))

    def look(id: str) -> tuple[Any, ...]:
        project = page.find(id)
        job = latest(project, "propose") if project else None
        is_running = job is not None and job.state() == "running"
        words = plain(job_note(job, "The network learns and draws", PROPOSED)) if job else ""
        on = gr.Button(interactive=not is_running)
        return words, on, gr.Button(interactive=is_running), gr.Timer(active=is_running)

    def propose_it(id: str) -> tuple[Any, ...]:
        propose(page.opened(id))
        return look(id)

    def halt_it(id: str) -> tuple[Any, ...]:
        page.stop(id, "propose")
        return look(id)

    watched = [proposed, ask, halt, timer]
    refresh = "() => window.roinspect.board?.refresh()"
    page.answer(masks.click, save_masks, page.project, said).then(js=refresh)
    page.answer(ask.click, propose_it, page.project, watched)
    page.answer(halt.click, halt_it, page.project, watched)
    page.answer(blocks.load, look, page.project, watched)
    page.answer(timer.tick, look, page.project, watched).then(js=refresh)
    page.answer(labelme.click, save_labelme, page.project, said)


def _place(project: Project) -> str:
    """Where the regions were saved, as people see it."""
    roi = project.roi()
    return str(project.folder / "roi") if roi == "auto" else roi


def in_words(saved: Saved, place: str) -> Iterator[str]:
    """How far saving has come, after every 25th photograph and the last."""
    if saved.done < saved.total:
        if saved.done % 25 == 0:
            yield plain(note(f"{saved.done:,} of {saved.total:,} photographs ..."))
        return
    have = saved.total - saved.missing
    if not have:
        yield plain(note("No photograph has a region yet. Draw one above.", "problem"))
        return
    words = f"{have:,} of {saved.total:,} photographs have a region. The masks lie in {place}."
    parts = [note(words, link=("Train", "/train"))]
    if saved.missing:
        words = f"{saved.missing:,} photographs have none yet: draw on them, or use one region for all."
        parts += [note(words, "warning"), *(note(remark, "warning") for remark in saved.remarks)]
    yield plain(*parts)
