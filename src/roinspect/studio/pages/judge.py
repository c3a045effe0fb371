"""Page 4: the model's verdicts on labelled images, and the choice of the threshold."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from roinspect.evaluation.evaluate import REPORT
from roinspect.inspection.bundle import Threshold, read_bundle
from roinspect.inspection.releases import change_threshold
from roinspect.studio.pages.elements import as_note, note, plain
from roinspect.studio.pages.judging import figures_at, one_of, wall
from roinspect.studio.pages.shell import SELECT, begin, chosen_key, html, truth
from roinspect.studio.state import results
from roinspect.studio.state.jobs import latest, start
from roinspect.studio.state.people import move_labelled, who
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.recipes import keep as keep_recipe
from roinspect.studio.state.recipes import recipe
from roinspect.studio.state.trained_models import evaluation_path, model_path
from roinspect.studio.state.training import judge_command

TICK_S = 1.5
SEE_ADDED = "() => document.getElementById('added').scrollIntoView({ block: 'center' })"
KEPT = (
    "What you say is kept with the time and the operator's name from above, or else the account that runs "
    "the studio. It changes the figures of this page; the model learns from it once the data are corrected."
)
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
    with gr.Row():
        product = gr.Textbox(label="Product, for the report", max_lines=1)
        operator = gr.Textbox(label="Operator, for the report and corrections", max_lines=1)
        sign = gr.Button("Put them on the report")
    report = html(elem_id="report")
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
        html(plain(f"<p class='soft'>{KEPT}</p>"))
        label, kind, split = truth("The part is", "test")
        add = gr.Button("Correct it in the data")
        added = html(elem_id="added")
    timer = gr.Timer(TICK_S, active=False)
    view = [page.project, model, threshold, which, at]
    live = [tally, photographs, at]
    names = [product, operator, report]

    def show(id: str) -> tuple[Any, ...]:
        dropdown, newest, missing = page.models(id)
        if missing:
            return dropdown, "", "", "", missing, *_nothing()
        return dropdown, *for_report(id, newest), *load(id, newest)

    def for_report(id: str, name: str | None) -> tuple[str, str, str]:
        project = page.opened(id)
        path = model_path(project, name)
        known = recipe(project, path.name)
        return known.product, known.operator, report_links(project, path)

    def name_them(id: str, name: str | None, product: str, operator: str) -> str:
        project = page.opened(id)
        path = model_path(project, name)
        keep_recipe(project, path.name, product=product, operator=operator)
        return report_links(project, path)

    def choose(id: str, name: str | None) -> tuple[Any, ...]:
        return *for_report(id, name), *load(id, name)

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
        change_threshold(path, Threshold(value, "set by hand in the studio"))
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

    def mark(id: str, name: str | None, value: float, picked: str, typed: str) -> tuple[Any, ...]:
        project = page.opened(id)
        path = model_path(project, name)
        with project.lock:
            results.mark_wrong(path, results.result_of(path, picked), value, who(typed))
        words, marked = one_of(project, path, picked, value)
        marked_words = f"Marked by {who(typed)}: the figures above count the part as you say."
        words_ = marked_words if marked.is_corrected else "Undone."
        is_damaged = max(0, marked.label)
        shown_kind = marked.category if is_damaged and not marked.is_corrected else ""
        return words, is_damaged, shown_kind, plain(note(words_)), mark_button(marked.is_corrected)

    def put(
        id: str, name: str | None, picked: str, is_bad: int, defect: str, to: str, typed: str
    ) -> tuple[str, str]:
        project, by = page.opened(id), who(typed)
        was = results.result_of(model_path(project, name), picked)
        new = move_labelled(project, picked, label=int(is_bad), kind=defect or "", split=to, by=by)
        is_damaged = was.label == 1 or was.is_outside_only
        changed = None if not was.is_corrected and is_damaged == bool(is_bad) else int(is_bad)
        results.rename(project, picked, new, category=project.record(new).category, label=changed, by=by)
        word = "good" if int(is_bad) == 0 else "defective"
        words = f"{picked} was moved: it is now {new}, {word}, to {to} with. Train again to learn from it."
        return new, plain(note(words, link=("Train", "/train")))

    whole = [said, threshold, *live, timer]
    page.answer(blocks.load, show, page.project, [model, *names, *whole])
    page.answer(model.input, choose, [page.project, model], [*names, *whole])
    page.answer(sign.click, name_them, [page.project, model, product, operator], report)
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
    looked.then(js="() => document.getElementById('result').scrollIntoView()")
    marked_now = page.answer(wrong.click, mark, [*one, operator], [shown, label, kind, added, wrong])
    page.answer(marked_now.then, look, view, live)
    given = [page.project, model, key, label, kind, split, operator]
    put_now = page.answer(add.click, put, given, [key, added])
    put_now.then(js=SEE_ADDED)
    page.answer(put_now.then, look, view, live)


def mark_button(is_marked: bool) -> Any:
    """The button that marks a verdict as wrong, or undoes that."""
    return gr.Button("Marked as wrong. Undo" if is_marked else "This verdict is wrong")


def report_links(project: Project, model: Path) -> str:
    """Where the report of the model's last evaluation is opened and saved; "" without one."""
    if not (evaluation_path(model) / REPORT).is_file():
        return ""
    address = escape("/studio/report?" + urlencode({"project": project.id, "model": model.name}))
    opened = f'<a href="{address}" target="_blank">Open the report, to read or print</a>'
    return plain(f'<p>{opened} · <a href="{address}&amp;save=1" download>Save the report</a></p>')


def about(model: Path) -> str:
    """The threshold and its origin, and warnings about the results."""
    bundle = read_bundle(model)
    threshold = bundle.threshold
    origin = results.plain_words(threshold.origin)
    parts = [note(f"Threshold of {model.name}: {threshold.value:.4g}; {origin}.")]
    if bundle.score_says:
        parts.append(note(f"With this model {bundle.score_says}."))
    if threshold.warning:
        parts.append(note(f"{results.plain_words(threshold.warning)}.", "warning"))
    if words := results.too_small_region(results.read_results(model)):
        parts.append(note(words, "warning", link=("Look at the region", "/region")))
    if words := results.untested(model):
        parts.append(note(words, "warning"))
    return plain(*parts)


def _nothing(*, is_waiting: bool = False) -> tuple[Any, ...]:
    return gr.Slider(interactive=False), "", "", 0, gr.Timer(active=is_waiting)
