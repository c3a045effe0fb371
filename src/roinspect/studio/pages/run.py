"""Page 5: inspect new images, follow a camera's folder, download the model."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from roinspect.errors import UserError
from roinspect.inspection.exported import has_export
from roinspect.inspection.inspector import Verdict
from roinspect.studio.page_images import UNREADABLE_URI, data_uri, inspector, picture
from roinspect.studio.pages.camera import camera as camera_words
from roinspect.studio.pages.elements import (
    as_note,
    card,
    cards,
    figures,
    job_note,
    note,
    plain,
    verdict_badge,
)
from roinspect.studio.pages.shell import SELECT, begin, chosen_key, html, truth
from roinspect.studio.state.adding import add
from roinspect.studio.state.jobs import Job, latest, start
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.trained_models import model_path

TICK_S = 2.0
MOST_SHOWN = 60
WHY_EXPORT = (
    "A model for the PC on the line: it needs no training software there. The answers of the exported model "
    "are compared with the trained one's before it is kept."
)


def run_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/run")
    html(plain("<h2>Run</h2>"))
    model = gr.Dropdown([], label="Model", interactive=True, filterable=False, elem_id="run-model")
    said = html()
    with gr.Tab("Photographs"):
        files = gr.File(label="Drop photographs here", file_count="multiple", elem_id="drop")
        verdicts = html(js_on_load=SELECT, elem_id="verdicts")
        at = gr.Textbox(visible=False)
        with gr.Column(visible=False) as detail:
            shown = html(elem_id="verdict")
            label, kind, split = truth("The part is really", "train")
            put_button = gr.Button("Add it to the data")
            added = html()
    with gr.Tab("Camera folder"):
        folder = gr.Textbox(label="Folder that the camera writes into", elem_id="camera")
        with gr.Row():
            follow = gr.Button("Follow the folder", variant="primary")
            leave = gr.Button("Stop following", interactive=False)
        camera = html(elem_id="camera-verdicts")
    with gr.Tab("Export"):
        html(plain(f"<p>{WHY_EXPORT}</p>"))
        export = gr.Button("Export for the line", variant="primary")
        exported = html(elem_id="exported")
    timer = gr.Timer(TICK_S, active=False)
    ticking = [camera, exported, follow, leave, timer]

    def show(id: str) -> tuple[Any, ...]:
        dropdown, newest, missing = page.models(id)
        return dropdown, missing, *look(id, newest)

    def look(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.find(id)
        watch = latest(project, "watch") if project else None
        ship = latest(project, "export") if project else None
        is_watching = watch is not None and watch.state() == "running"
        is_shipping = ship is not None and ship.state() == "running"
        return (
            as_note(lambda: camera_words(watch)) if watch else "",
            as_note(lambda: _exported(project, name, ship)) if project and name else "",
            gr.Button(interactive=not is_watching),
            gr.Button(interactive=is_watching),
            gr.Timer(active=is_watching or is_shipping),
        )

    def inspect(id: str, name: str | None, dropped: list[str] | None) -> Iterator[tuple[Any, ...]]:
        paths = list(dropped or ())
        hidden = gr.Column(visible=False)
        if not paths:
            yield "", hidden
            return
        yield plain(note(f"Inspecting {len(paths):,} photographs ...")), hidden
        ready = inspector(model_path(page.opened(id), name))
        items, rejected, unseen = list[str](), 0, 0
        for index, verdict in enumerate(ready.inspect_many(paths)):
            items += [_card(verdict, str(index))] if index < MOST_SHOWN else []
            rejected += verdict.verdict == "defective"
            unseen += verdict.verdict == "not inspectable"
            if index % 6 == 5 or index + 1 == len(paths):
                doubtful = f", <b>{unseen:,} not inspectable</b>" if unseen else ""
                head = (
                    f"<p>{index + 1:,} of {len(paths):,} photographs inspected, <b>{rejected:,} rejected</b>"
                    f"{doubtful} (from a score of {ready.threshold:.4g} on). Yellow lines surround what was "
                    "found; press one to look closer.</p>"
                )
                yield plain(head, cards(iter(items), large=True)), hidden

    def pick(dropped: list[str] | None, event: gr.EventData) -> tuple[Any, ...]:
        picked = chosen_key(event)
        waiting = plain(note(f"Looking at {_dropped(dropped, picked).name} ..."))
        return gr.Column(visible=True), waiting, picked, ""

    def look_closer(id: str, name: str | None, dropped: list[str] | None, picked: str) -> tuple[Any, ...]:
        path = _dropped(dropped, picked)
        verdict = inspector(model_path(page.opened(id), name)).inspect(path)
        return _large(verdict), int(verdict.verdict == "defective")

    def put(id: str, dropped: list[str] | None, picked: str, is_bad: int, defect: str, to: str) -> str:
        path = _dropped(dropped, picked)
        new = add(page.opened(id), path, label=int(is_bad), kind=defect or "", split=to)
        words = f"Added as {new}. Draw its region if it needs one of its own, then train again."
        return plain(note(words, link=("Region", "/region")))

    def follow_it(id: str, name: str | None, typed: str) -> tuple[Any, ...]:
        project = page.opened(id)
        path, place = model_path(project, name), projects.folder(typed)
        out = project.state / "watch" / path.name
        words = ["watch", str(place), str(path), "--out", f"{out}.jsonl", "--maps", str(out)]
        start(project, "watch", path.name, [words])
        return look(id, name)

    def leave_it(id: str, name: str | None) -> tuple[Any, ...]:
        page.stop(id, "watch")
        return look(id, name)

    def export_it(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.opened(id)
        path = model_path(project, name)
        start(project, "export", path.name, [["export", str(path), "--to", "onnx"]])
        return look(id, name)

    which = [page.project, model]
    page.answer(blocks.load, show, page.project, [model, said, *ticking])
    page.answer(model.input, look, which, ticking)
    page.answer(files.change, inspect, [*which, files], [verdicts, detail], show_progress="full")
    picked_now = page.answer(verdicts.select, pick, files, [detail, shown, at, added])
    looked = page.answer(picked_now.then, look_closer, [*which, files, at], [shown, label])
    looked.then(js="() => document.getElementById('verdict').scrollIntoView({ behavior: 'smooth' })")
    page.answer(put_button.click, put, [page.project, files, at, label, kind, split], added)
    page.answer(follow.click, follow_it, [*which, folder], ticking)
    page.answer(leave.click, leave_it, which, ticking)
    page.answer(export.click, export_it, which, ticking)
    page.answer(timer.tick, look, which, ticking)


def _dropped(dropped: list[str] | None, index: str) -> Path:
    if not dropped or not index.isdigit() or int(index) >= len(dropped):
        raise UserError("is not here any more", where="the photograph", remedy="drop it once more")
    return Path(dropped[int(index)])


def _card(verdict: Verdict, key: str) -> str:
    name = Path(verdict.image_path).name
    if verdict.error is not None:
        return card(UNREADABLE_URI, name, verdict_badge(None, verdict.error.partition(": ")[2]))
    words = verdict_badge(verdict.verdict, score=verdict.pred_score)
    return card(data_uri(picture(verdict), 420), name, words, key=key)


def _large(verdict: Verdict) -> str:
    assert verdict.image is not None
    words = f"score {verdict.pred_score:.4g}, rejected from {verdict.threshold:.4g} on; "
    words += f"{len(verdict.regions)} places found"
    badge = verdict_badge(verdict.verdict, verdict.reason)
    head = f"<h3>{escape(Path(verdict.image_path).name)}</h3><p>{badge} {words}</p>"
    heat = picture(verdict), "heat: dark is low, yellow is high"
    return plain(head, figures((verdict.image, "the photograph"), heat))


def _exported(project: Project, name: str | None, job: Job | None) -> str:
    path = model_path(project, name)
    if job and job.subject == path.name and job.state() in ("running", "failed"):
        return plain(job_note(job, f"Exporting {path.name}"))
    if not has_export(path, "onnx"):
        return ""
    address = "/studio/model.zip?" + urlencode({"project": project.id, "model": path.name})
    link = f'<p><a href="{escape(address)}" download>Download {escape(path.name)}.zip</a></p>'
    command = f"roinspect watch PHOTOGRAPHS {path.name} --out results.jsonl"
    use = f"On the line: pip install roinspect, unpack the file, and run <code>{escape(command)}</code>"
    compared = [line for line in job.log().splitlines() if line.startswith("Compared on")] if job else []
    return plain(note(" ".join([f"{path.name} is exported.", *compared[-1:]])), link, f"<p>{use}</p>")
