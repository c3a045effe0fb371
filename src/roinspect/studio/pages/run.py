"""Page 5: inspect new images, follow a camera's folder, download the model."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from roinspect.errors import UserError
from roinspect.images.pixels import IMAGE_SUFFIXES
from roinspect.inspection.exported import has_export
from roinspect.inspection.inspector import Verdict
from roinspect.studio.page_images import UNREADABLE_URI, data_uri, inspector, picture
from roinspect.studio.pages.camera import camera as camera_words
from roinspect.studio.pages.camera import look_at, say
from roinspect.studio.pages.elements import (
    as_note,
    card,
    cards,
    figures,
    job_note,
    note,
    plain,
)
from roinspect.studio.pages.shell import SELECT, begin, chosen_key, html, truth
from roinspect.studio.pages.verdicts import Row, caption, clock, light, tally_of, trend, verdicts_csv
from roinspect.studio.state.jobs import Job, latest, start
from roinspect.studio.state.people import add_labelled, who
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.recipes import Recipe, keep, recipe
from roinspect.studio.state.trained_models import model_path

TICK_S = 2.0
MOST_SHOWN = 60
NAMED = 5
"""Most names of files that were left out."""

WHY_EXPORT = (
    "A model for the PC on the line: it needs no training software there. The answers of the exported model "
    "are compared with the trained one's before it is kept."
)


KEPT = (
    "What you say about a part is kept with the time and this name, or else the account that runs the "
    "studio. A dropped photograph goes into the data; of a camera's, roinspect review makes rates and "
    "training data."
)


def run_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/run")
    html(plain("<h2>Run</h2>"))
    words = "Product (its trained model)"
    model = gr.Dropdown([], label=words, interactive=True, filterable=False, elem_id="run-model")
    said = html()
    name_of = gr.Textbox(label="Your name", max_lines=1, elem_id="who")
    html(plain(f"<p class='soft'>{KEPT}</p>"))
    with gr.Tab("Photographs"):
        files = gr.File(label="Drop photographs here", file_count="multiple", elem_id="drop")
        verdicts = html(js_on_load=SELECT, elem_id="verdicts")
        at = gr.Textbox(visible=False)
        with gr.Column(visible=False) as detail:
            shown = html(elem_id="verdict")
            with gr.Row():
                back = gr.Button("‹ Previous photograph", size="sm")
                on = gr.Button("Next photograph ›", size="sm")
            label, kind, split = truth("The part is really", "train")
            put_button = gr.Button("Add it to the data")
            added = html()
    with gr.Tab("Camera folder"):
        folder = gr.Textbox(label="Folder that the camera writes into", elem_id="camera")
        with gr.Row():
            follow = gr.Button("Follow the folder", variant="primary")
            leave = gr.Button("Stop following", interactive=False)
        looked_at = gr.Textbox(visible=False)
        with gr.Column(visible=False) as closer:
            one = html(elem_id="camera-verdict")
            with gr.Row():
                defect_kind = gr.Textbox(label="Kind of defect", placeholder="scratch")
                is_good = gr.Button("The part is good")
                is_defective = gr.Button("The part is defective")
                withdraw = gr.Button("Withdraw what was said")
            kept = html(elem_id="camera-kept")
        camera = html(js_on_load=SELECT, elem_id="camera-verdicts")
    with gr.Tab("Export"):
        html(plain(f"<p>{WHY_EXPORT}</p>"))
        export = gr.Button("Export for the line", variant="primary")
        exported = html(elem_id="exported")
    timer = gr.Timer(TICK_S, active=False)
    ticking = [camera, exported, follow, leave, timer]

    def show(id: str) -> tuple[Any, ...]:
        dropdown, newest, missing = page.models(id)
        return dropdown, missing, *switch(id, newest)

    def switch(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.find(id)
        known = recipe(project, name) if project else Recipe()
        return known.camera, known.operator, gr.Column(visible=False), *look(id, name)

    def look(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.find(id)
        watch = latest(project, "watch") if project else None
        ship = latest(project, "export") if project else None
        is_watching = watch is not None and watch.state() == "running"
        is_shipping = ship is not None and ship.state() == "running"
        return (
            as_note(lambda: camera_words(watch, id)) if watch else "",
            as_note(lambda: _exported(project, name, ship)) if project and name else "",
            gr.Button(interactive=not is_watching),
            gr.Button(interactive=is_watching),
            gr.Timer(active=is_watching or is_shipping),
        )

    def inspect(id: str, name: str | None, dropped: list[str] | None) -> Iterator[tuple[Any, ...]]:
        paths, others = sorted_out(dropped)
        hidden = gr.Column(visible=False)
        left_out = _left_out(others)
        if not paths:
            yield plain(left_out) if others else "", hidden
            return
        yield plain(note(f"Inspecting {len(paths):,} photographs ...")), hidden
        path = model_path(page.opened(id), name)
        rows, items = list[Row](), list[str]()
        for index, verdict in enumerate(inspector(path).inspect_many(paths)):
            row = row_of(verdict, path.name)
            rows.append(row)
            if index < MOST_SHOWN:
                shown_picture = UNREADABLE_URI if verdict.error else data_uri(picture(verdict), 420)
                items.append(card(shown_picture, row.photograph, caption(row), key=str(index)))
            if index % 6 == 5 or index + 1 == len(paths):
                yield plain(left_out, summary(rows, len(paths)), cards(iter(items), large=True)), hidden

    def turn(by: int) -> Callable[..., tuple[Any, ...]]:
        def turned(id: str, name: str | None, dropped: list[str] | None, at: str) -> tuple[Any, ...]:
            count = len(sorted_out(dropped)[0])
            place = str(min(max(0, int(at or 0) + by), count - 1))
            return place, "", *look_closer(id, name, dropped, place)

        return turned

    def pick(dropped: list[str] | None, event: gr.EventData) -> tuple[Any, ...]:
        picked = chosen_key(event)
        waiting = plain(note(f"Looking at {_dropped(dropped, picked).name} ..."))
        return gr.Column(visible=True), waiting, picked, ""

    def path_name(id: str, name: str | None) -> str:
        return model_path(page.opened(id), name).name

    def look_closer(id: str, name: str | None, dropped: list[str] | None, picked: str) -> tuple[Any, ...]:
        path = _dropped(dropped, picked)
        verdict = inspector(model_path(page.opened(id), name)).inspect(path)
        place = f"photograph {int(picked) + 1:,} of {len(sorted_out(dropped)[0]):,}"
        return large(verdict, path_name(id, name), place), int(verdict.verdict == "defective")

    def put(
        id: str,
        name: str | None,
        dropped: list[str] | None,
        picked: str,
        is_bad: int,
        defect: str,
        to: str,
        typed: str,
    ) -> str:
        path, project, by = _dropped(dropped, picked), page.opened(id), who(typed)
        new = add_labelled(project, path, label=int(is_bad), kind=defect or "", split=to, by=by)
        remember(project, name, typed)
        words = f"Added as {new} by {by}. Draw its region if it needs one of its own, then train again."
        return plain(note(words, link=("Region", "/region")))

    def remember(project: Project, name: str | None, typed: str) -> None:
        if typed.strip():
            keep(project, model_path(project, name).name, operator=typed)

    def followed(id: str) -> Job:
        job = latest(page.opened(id), "watch")
        if job is None:
            raise UserError("is followed", where="no folder", remedy="follow one first")
        return job

    def pick_verdict(id: str, event: gr.EventData) -> tuple[Any, ...]:
        picked = chosen_key(event)
        words, was = look_at(followed(id), picked)
        return gr.Column(visible=True), words, picked, gr.Button(interactive=was is not None), ""

    def says(truth: str) -> Callable[..., tuple[Any, ...]]:
        def said_so(id: str, name: str | None, picked: str, defect: str, typed: str) -> tuple[Any, ...]:
            job, by = followed(id), who(typed)
            say(job, picked, truth, by, defect or "")
            remember(page.opened(id), name, typed)
            words, was = look_at(job, picked)
            note_ = f"Kept: {by} says {truth}." if truth != "unknown" else f"Withdrawn by {by}."
            return words, gr.Button(interactive=was is not None), plain(note(note_)), camera_words(job, id)

        return said_so

    def follow_it(id: str, name: str | None, typed: str) -> tuple[Any, ...]:
        project = page.opened(id)
        path, place = model_path(project, name), projects.folder(typed)
        out = project.state / "watch" / path.name
        words = ["watch", str(path), str(place), "--out", f"{out}.jsonl", "--maps", str(out)]
        keep(project, path.name, camera=str(place))
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
    switched = [folder, name_of, closer, *ticking]
    page.answer(blocks.load, show, page.project, [model, said, *switched])
    page.answer(model.input, switch, which, switched)
    given = partial(gr.on, [files.change, model.input])
    page.answer(given, inspect, [*which, files], [verdicts, detail])
    picked_now = page.answer(verdicts.select, pick, files, [detail, shown, at, added])
    looked = page.answer(picked_now.then, look_closer, [*which, files, at], [shown, label])
    looked.then(js="() => document.getElementById('verdict').scrollIntoView()")
    for button, by in ((back, -1), (on, 1)):
        page.answer(button.click, turn(by), [*which, files, at], [at, added, shown, label])
    page.answer(put_button.click, put, [*which, files, at, label, kind, split, name_of], added)
    pressed = page.answer(camera.select, pick_verdict, page.project, [closer, one, looked_at, withdraw, kept])
    pressed.then(js="() => document.getElementById('camera-verdict').scrollIntoView()")
    for button, truth_ in ((is_good, "good"), (is_defective, "defective"), (withdraw, "unknown")):
        spoken = [*which, looked_at, defect_kind, name_of]
        page.answer(button.click, says(truth_), spoken, [one, withdraw, kept, camera])
    page.answer(follow.click, follow_it, [*which, folder], ticking)
    page.answer(leave.click, leave_it, which, ticking)
    page.answer(export.click, export_it, which, ticking)
    page.answer(timer.tick, look, which, ticking)


def _dropped(dropped: list[str] | None, index: str) -> Path:
    paths, _ = sorted_out(dropped)
    if not index.isdigit() or int(index) >= len(paths):
        raise UserError("is not here any more", where="the photograph", remedy="drop it once more")
    return paths[int(index)]


def sorted_out(dropped: list[str] | None) -> tuple[list[Path], list[Path]]:
    """The photographs among dropped files, and the others."""
    paths = list(map(Path, dropped or ()))
    photographs = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return photographs, [path for path in paths if path not in photographs]


def _left_out(others: list[Path]) -> str:
    if not others:
        return ""
    listed = ", ".join(path.name for path in others[:NAMED]) + (" ..." if len(others) > NAMED else "")
    return note(f"{len(others):,} of the files are not photographs and were left out: {listed}")


def row_of(verdict: Verdict, model: str) -> Row:
    """A verdict that was given just now."""
    reason = verdict.reason or "" if verdict.error is None else verdict.error.partition(": ")[2]
    name = Path(verdict.image_path).name
    return Row(time.time(), name, verdict.verdict, verdict.pred_score, verdict.threshold, model, reason)


def summary(rows: list[Row], count: int) -> str:
    """The figures of the photographs inspected so far, the trend of their scores, and the table to save."""
    read = sum(row.verdict is not None for row in rows)
    shown = f" The first {MOST_SHOWN} are shown." if count > MOST_SHOWN else ""
    head = f"<p>{read:,} of {count:,} photographs inspected. Yellow lines surround what was found.{shown}</p>"
    if len(rows) < count:
        return head + tally_of([row.verdict for row in rows])
    table = base64.b64encode(verdicts_csv(rows).encode()).decode()
    address = f"data:text/csv;base64,{table}"
    save = f'<p><a href="{address}" download="verdicts.csv">Save the verdicts as a table (CSV)</a></p>'
    return head + tally_of([row.verdict for row in rows]) + trend(rows) + save


def large(verdict: Verdict, model: str, place: str) -> str:
    """One verdict in large, with the photograph and its heat."""
    row = row_of(verdict, model)
    head = light(row.verdict, f"{row.photograph}, {place}")
    if verdict.image is None:
        return plain(head, note(row.reason, "problem"))
    found = len(verdict.regions)
    words = f"Score {row.score:.4g}, NG from {row.threshold:.4g} on; {found} place{'s' * (found != 1)} found"
    reason = f"<p>{escape(row.reason)}</p>" if row.reason else ""
    made = f"<p>{words}; {clock(row.time)}, model {escape(model)}.</p>"
    heat = picture(verdict), "heat: dark is low, yellow is high"
    return plain(head, reason, made, figures((verdict.image, "the photograph"), heat))


def _exported(project: Project, name: str | None, job: Job | None) -> str:
    path = model_path(project, name)
    if job and job.subject == path.name and job.state() in ("running", "failed"):
        return plain(job_note(job, f"Exporting {path.name}"))
    if not has_export(path, "onnx"):
        return ""
    address = "/studio/model.zip?" + urlencode({"project": project.id, "model": path.name})
    link = f'<p><a href="{escape(address)}" download>Download {escape(path.name)}.zip</a></p>'
    use = (
        "On the PC of the line: unpack the file and run <code>start.bat</code> (Windows) or "
        "<code>./start.sh</code> (Linux). The zip holds the model and roinspect itself; README.txt says what "
        "the PC needs."
    )
    compared = [line for line in job.log().splitlines() if line.startswith("Compared on")] if job else []
    return plain(note(" ".join([f"{path.name} is exported.", *compared[-1:]])), link, f"<p>{use}</p>")
