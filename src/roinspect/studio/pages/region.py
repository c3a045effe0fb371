"""Page 2: draw the region to inspect, or let a network propose it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from roinspect.studio.pages.shell import begin, html, note, opened, plain
from roinspect.studio.state.jobs import Job, latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.proposals import propose
from roinspect.studio.state.saving import Saved, write_labelme, write_masks
from roinspect.studio.thumbnails import STATIC

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


def region_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/region")
    html(plain(WHY))
    board = (STATIC / "board.html").read_text(encoding="utf-8")
    html(board, js_on_load=BEGIN, elem_id="board")
    with gr.Accordion("Draw on ten photographs and let a network propose the rest"):
        html(
            plain(
                "<p>It learns from the regions that are drawn, and draws those that are missing. Look at the "
                "least certain ones first, correct what is wrong, and save.</p>"
            )
        )
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
        project = opened(page, id)
        for saved in write_masks(project):
            if saved.done == saved.total or saved.done % 25 == 0:
                yield in_words(saved, f"{_place(project)}, white = inspect")

    def save_labelme(id: str) -> Iterator[str]:
        project = opened(page, id)
        out = project.folder / "labelme"
        for saved in write_labelme(project, out):
            if saved.done == saved.total or saved.done % 25 == 0:
                yield in_words(saved, str(out))

    def look(id: str) -> tuple[Any, ...]:
        project = projects.get(id) if id else projects.current
        job = latest(project, "propose") if project else None
        is_running = job is not None and job.state() == "running"
        told_ = _proposing(job) if job else ""
        on = gr.Button(interactive=not is_running)
        return told_, on, gr.Button(interactive=is_running), gr.Timer(active=is_running)

    def propose_it(id: str) -> tuple[Any, ...]:
        propose(opened(page, id))
        return look(id)

    def halt_it(id: str) -> tuple[Any, ...]:
        job = latest(opened(page, id), "propose")
        if job is not None and job.state() == "running":
            job.stop()
        return look(id)

    watched = [proposed, ask, halt, timer]
    refresh = "() => window.roinspect.board && window.roinspect.board.turnTo(window.roinspect.board.page)"
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


def in_words(saved: Saved, place: str) -> str:
    """How far saving has come."""
    if saved.done < saved.total:
        return plain(note(f"{saved.done:,} of {saved.total:,} photographs ..."))
    have = saved.total - saved.missing
    if not have:
        return plain(note("No photograph has a region yet. Draw one above.", "problem"))
    parts = [
        note(
            f"{have:,} of {saved.total:,} photographs have a region. The masks lie in {place}.",
            link=("Train", "/train"),
        )
    ]
    if saved.missing:
        told = f"{saved.missing:,} photographs have none yet: draw on them, or use one region for all."
        parts += [note(told, "warning"), *(note(remark, "warning") for remark in saved.remarks)]
    return plain(*parts)


def _proposing(job: Job) -> str:
    """How proposing stands."""
    state = job.state()
    if state == "running":
        return plain(
            note(f"The network learns and draws, {job.seconds():.0f} s so far. You may close this page.")
        )
    if state == "done":
        told_ = (
            'Proposed. Choose "proposals, least certain first" below the photograph, and look through them.'
        )
        return plain(note(told_))
    if state == "failed":
        return plain(note(job.fault(), "problem"))
    return plain(note("It did not come to an end. Ask again, and it begins anew.", "warning"))
