"""Page 4: the model's verdicts on labelled images, and the choice of the threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from roinspect.inspection.bundle import Threshold, read_bundle, replace_threshold
from roinspect.studio.pages.elements import as_note, note, plain
from roinspect.studio.pages.judging import figures_at, one_of, result_of, wall
from roinspect.studio.pages.shell import SELECT, begin, chosen_key, html, truth
from roinspect.studio.state import results
from roinspect.studio.state.adding import move
from roinspect.studio.state.jobs import latest, start
from roinspect.studio.state.project import Projects
from roinspect.studio.state.trained_models import model_path
from roinspect.studio.state.training import judge_command

TICK_S = 1.5
SEE_ADDED = "() => document.getElementById('added').scrollIntoView({ behavior: 'smooth', block: 'center' })"
WHICH = [
    ("all, highest score first", "all"),
    ("wrong verdicts", "wrong"),
    ("rejected", "rejected"),
    ("passed as good", "passed"),
]


def judge_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/judge")
    html(
        plain(
            "<h2>Judge</h2><p>Move the slider until few enough good parts are rejected, and no bad one "
            "passes that must not.</p>"
        )
    )
    with gr.Row(equal_height=True):
        model = gr.Dropdown(
            [], label="Model", scale=3, interactive=True, filterable=False, elem_id="judged-model"
        )
        again = gr.Button("Judge the test photographs", scale=1)
    said = html()
    words = "Rejected from this score on"
    threshold = gr.Slider(0, 1, value=0.5, label=words, interactive=True, buttons=[], elem_id="threshold")
    tally = html(elem_id="tally")
    keep = gr.Button("Keep this threshold", variant="primary")
    kept = html()
    which = gr.Radio(WHICH, value="all", label="Show")
    at = gr.Number(0, visible=False)
    photographs = html(js_on_load=SELECT, elem_id="results")
    with gr.Row():
        back = gr.Button("‹ Higher scores", size="sm")
        on = gr.Button("Lower scores ›", size="sm")
    key = gr.Textbox(visible=False)
    with gr.Column(visible=False) as detail:
        shown = html(elem_id="result")
        wrong = gr.Button("This verdict is wrong")
        label, kind, split = truth("The part is", "test")
        add = gr.Button("Correct it in the data")
        added = html(elem_id="added")
    timer = gr.Timer(TICK_S, active=False)
    view = [page.project, model, threshold, which, at]
    live = [tally, photographs, at]

    def show(id: str) -> tuple[Any, ...]:
        dropdown, newest, missing = page.models(id)
        return (dropdown, missing, *_nothing()) if missing else (dropdown, *load(id, newest))

    def load(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.opened(id)
        path = model_path(project, name)
        value = read_bundle(path).threshold.value
        job = latest(project, "judge")
        if job is not None and job.subject == name and job.state() == "running":
            return (plain(note(f"Judging, {job.seconds():.0f} s so far ...")), *_nothing(is_waiting=True))
        if job is not None and job.subject == name and job.state() == "failed":
            return (plain(note(job.fault(), "problem")), *_nothing())
        missing = as_note(lambda: str(results.read_results(path)) and "")
        if missing:
            return (missing, *_nothing())
        low, high, step = results.slider_range(results.read_results(path), value)
        slider = gr.Slider(low, high, value=value, step=step, interactive=True)
        return about(path), slider, *look(project.id, name, value, "all"), gr.Timer(active=False)

    def look(id: str, name: str | None, value: float, only: Any, place: float = 0) -> tuple[Any, ...]:
        project = page.opened(id)
        judged = results.read_results(model_path(project, name))
        return figures_at(judged, value), *wall(project, judged, value, only, place)

    def judge(id: str, name: str | None) -> tuple[Any, ...]:
        project = page.opened(id)
        path = model_path(project, name)
        start(project, "judge", path.name, [judge_command(project, path.name, project.roi())])
        return load(id, name)

    def keep_it(id: str, name: str | None, value: float) -> tuple[str, str]:
        path = model_path(page.opened(id), name)
        replace_threshold(path, Threshold(value, "set by hand in the studio"))
        words = f"Kept: {path.name} rejects from {value:.4g} on."
        return plain(note(words, link=("Run it", "/run"))), about(path)

    def pick(event: gr.EventData) -> tuple[Any, ...]:
        picked = chosen_key(event)
        return gr.Column(visible=True), plain(note(f"Looking at {picked} ...")), picked, ""

    def enlarge(id: str, name: str | None, value: float, picked: str) -> tuple[Any, ...]:
        project = page.opened(id)
        words, result = one_of(project, model_path(project, name), picked, value)
        # A part with damage only outside the region counts as good, but its folder is right.
        is_damaged = result.label == 1 or (result.is_outside_only and not result.is_corrected)
        split_now = "test" if project.record(picked).split == "test" else "train"
        shown_kind = result.category if is_damaged else ""
        return words, int(is_damaged), shown_kind, split_now, mark_button(result.is_corrected)

    def mark(id: str, name: str | None, value: float, picked: str) -> tuple[Any, ...]:
        project = page.opened(id)
        path = model_path(project, name)
        with project.lock:
            results.mark_wrong(path, result_of(path, picked), value)
        words, marked = one_of(project, path, picked, value)
        marked_words = "Marked: the figures above count the part as you say."
        words_ = marked_words if marked.is_corrected else "Undone."
        is_damaged = max(0, marked.label)
        shown_kind = marked.category if is_damaged and not marked.is_corrected else ""
        return words, is_damaged, shown_kind, plain(note(words_)), mark_button(marked.is_corrected)

    def put(id: str, picked: str, is_bad: int, defect: str, to: str) -> str:
        project = page.opened(id)
        new = move(project, picked, label=int(is_bad), kind=defect or "", split=to)
        word = "good" if int(is_bad) == 0 else "defective"
        words = f"{picked} was moved: it is now {new}, {word}, to {to} with. Train again to learn from it, "
        return plain(note(f"{words}and judge again to see it here.", link=("Train", "/train")))

    whole = [said, threshold, *live, timer]
    page.answer(blocks.load, show, page.project, [model, *whole])
    page.answer(model.input, load, [page.project, model], whole)
    page.answer(again.click, judge, [page.project, model], whole)
    page.answer(timer.tick, load, [page.project, model], whole)
    page.answer(threshold.input, look, view[:4], live, trigger_mode="always_last")
    page.answer(which.input, look, view[:4], live)
    page.answer(
        back.click, lambda id, name, value, only, place: look(id, name, value, only, place - 1), view, live
    )
    page.answer(
        on.click, lambda id, name, value, only, place: look(id, name, value, only, place + 1), view, live
    )
    page.answer(keep.click, keep_it, [page.project, model, threshold], [kept, said])
    one = [page.project, model, threshold, key]
    picked_now = page.answer(photographs.select, pick, None, [detail, shown, key, added])
    looked = page.answer(picked_now.then, enlarge, one, [shown, label, kind, split, wrong])
    looked.then(js="() => document.getElementById('result').scrollIntoView({ behavior: 'smooth' })")
    marked_now = page.answer(wrong.click, mark, one, [shown, label, kind, added, wrong])
    page.answer(marked_now.then, look, view, live)
    page.answer(add.click, put, [page.project, key, label, kind, split], added).then(js=SEE_ADDED)


def mark_button(is_marked: bool) -> Any:
    """The button that marks a verdict as wrong, or undoes that."""
    return gr.Button("Marked as wrong. Undo" if is_marked else "This verdict is wrong")


def about(model: Path) -> str:
    """The threshold and its origin, and warnings about the results."""
    bundle = read_bundle(model)
    threshold = bundle.threshold
    parts = [note(f"Threshold of {model.name}: {threshold.value:.4g} ({threshold.origin}).")]
    if bundle.score_says:
        parts.append(note(f"With this model {bundle.score_says}."))
    if threshold.warning:
        parts.append(note(f"{threshold.warning}.", "warning"))
    if words := results.too_small_region(results.read_results(model)):
        parts.append(note(words, "warning", link=("Look at the region", "/region")))
    if words := results.untested(model):
        parts.append(note(words, "warning"))
    return plain(*parts)


def _nothing(*, is_waiting: bool = False) -> tuple[Any, ...]:
    return gr.Slider(interactive=False), "", "", 0, gr.Timer(active=is_waiting)
