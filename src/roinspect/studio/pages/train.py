"""Page 3: choose a method, train, and watch it."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from roinspect.errors import UserError
from roinspect.evaluation.charts import training_svg
from roinspect.evaluation.report import plot_words, training_plots
from roinspect.inspection.bundle import read_bundle
from roinspect.studio.pages.elements import as_note, note, plain, table
from roinspect.studio.pages.judge import report_links
from roinspect.studio.pages.shell import begin, html
from roinspect.studio.state.jobs import Job, latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.regions import source_of, write_masks
from roinspect.studio.state.results import plain_words, read_results, tally, too_small_region, untested
from roinspect.studio.state.trained_models import free_name, new_path, run_path
from roinspect.studio.state.training import (
    METHODS,
    TrainingProgress,
    Wish,
    begin_training,
    read_progress,
    resume_training,
)

TICK_S = 2.0
SEEN = (
    "Good photographs that were damaged on purpose. What is <b>found</b> should look like the <b>damage</b>, "
    "where it lies in the <b>region</b>, and stay dark elsewhere."
)
DO_BETTER = (
    "To do better: see on page 4 which ones pass, and move the threshold; draw the region closer to what "
    'matters, but with all of it; choose "fine" for small defects; train with more photographs.'
)
DETAIL_WORDS = [
    ("quick look: only large defects", "quick"),
    ("normal", "normal"),
    ("fine: small defects, takes twice as long", "fine"),
    ("tiles: the smallest defects, takes many times as long", "tiles"),
]


def train_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/train")
    heads = ("method", "needs", "takes", "take it when")
    html(plain("<h2>Train</h2>", table(heads, METHODS.values())))
    available = html()
    choices = [(choice.title, name) for name, choice in METHODS.items()]
    method = gr.Radio(choices, value="roibank", label="Method", elem_id="method")
    with gr.Row():
        detail = gr.Radio(DETAIL_WORDS, value="normal", label="How small are the defects?")
        scopes = [("only the region", True), ("the whole photograph", False)]
        region = gr.Radio(scopes, value=True, label="What is inspected?")
    with gr.Row():
        name = gr.Textbox(label="Name of the model", elem_id="model-name")
        words = "Good parts that may be rejected, in percent"
        reject = gr.Number(1.0, label=words, minimum=0, maximum=50, step=0.1)
    with gr.Accordion("Further options, for experts", open=False):
        example = "--training.steps 500 --method.rotation 90"
        more = gr.Textbox(label="As on the command line", placeholder=example, elem_id="more")
    with gr.Row():
        start = gr.Button("Start training", variant="primary")
        stop = gr.Button("Stop", interactive=False)
        resume = gr.Button("Go on where it stopped", interactive=False)
    status = html(elem_id="training-status")
    with gr.Accordion("What it says", open=False):
        log = html()
    timer = gr.Timer(TICK_S, active=False)
    watched = [status, log, start, stop, resume, timer]

    def show(id: str) -> tuple[Any, ...]:
        project = page.find(id)
        if project is None:
            return ("", "roibank-1", *_idle(as_note(lambda: str(page.opened(id)))))
        words = as_note(lambda: _available(project))
        return (words, free_name(project, "roibank"), *look(project.id))

    def look(id: str) -> tuple[Any, ...]:
        project = page.find(id)
        job = latest(project, "train") if project else None
        if project is None or job is None:
            return _idle("")
        state = job.state()
        is_running = state == "running"
        progress = read_progress(run_path(new_path(project, job.subject)))
        can_go_on = state in ("stopped", "broken off", "failed")
        return (
            _status(project, job, progress),
            f'<pre class="log">{escape(job.log())}</pre>',
            gr.Button(interactive=not is_running),
            gr.Button(interactive=is_running),
            gr.Button(interactive=can_go_on),
            gr.Timer(active=is_running),
        )

    def rename(id: str, picked: str) -> str:
        return free_name(page.opened(id), picked)

    def begin_it(id: str, *wished: Any) -> tuple[Any, ...]:
        project = page.opened(id)
        method_name, model, level, uses_region, percent, options = wished
        if uses_region and _has_drawings(project):
            for _ in write_masks(project):
                pass
        wish = Wish(method_name, model, level, uses_region, float(percent or 0), options or "")
        begin_training(project, wish)
        return (free_name(project, method_name), *look(id))

    def stop_it(id: str) -> tuple[Any, ...]:
        page.stop(id, "train")
        return look(id)

    def go_on(id: str) -> tuple[Any, ...]:
        project = page.opened(id)
        job = latest(project, "train")
        if job is not None and job.state() != "running":
            resume_training(project, job)
        return look(id)

    page.answer(blocks.load, show, page.project, [available, name, *watched])
    page.answer(method.change, rename, [page.project, method], name)
    wish = [page.project, method, name, detail, region, reject, more]
    page.answer(start.click, begin_it, wish, [name, *watched], show_progress="full")
    page.answer(stop.click, stop_it, page.project, watched)
    page.answer(resume.click, go_on, page.project, watched)
    page.answer(timer.tick, look, page.project, watched)


def _available(project: Project) -> str:
    rows = project.summary()
    good = sum(count for split, _, label, count in rows if split != "test" and label == "good")
    bad = sum(count for split, _, label, count in rows if split != "test" and label == "defective")
    parts = [note(f"Available: {good:,} good and {bad:,} defective photographs to train on.")]
    if not _has_drawings(project) and project.roi() == "none":
        parts.append(note("No region is drawn yet.", "warning", link=("Draw it", "/region")))
    return plain(*parts)


def _has_drawings(project: Project) -> bool:
    if (project.state / "shared.json").is_file():
        return True
    return any(source_of(project, record) == "own" for record in project.records().values())


def _idle(words: str) -> tuple[Any, ...]:
    off, on = gr.Button(interactive=False), gr.Button(interactive=True)
    return words, "", on, off, off, gr.Timer(active=False)


def _status(project: Project, job: Job, progress: TrainingProgress) -> str:
    """The state of a training, its curves and its pictures."""
    state, spent, name = job.state(), _time(job.seconds()), job.subject
    parts = []
    if state == "running":
        stage = (
            f"is being judged, {spent} so far." if progress.epochs else f"is getting ready, {spent} so far."
        )
        if progress.epochs and progress.epoch < progress.epochs:
            stage = f"is training: round {progress.epoch} of {progress.epochs}, {spent} so far"
            left = f", about {_time(progress.left_s)} left, then it is judged" if progress.left_s else ""
            stage += f"{left}."
        parts.append(note(f"{name} {stage} You may close this page; the training goes on."))
        most = progress.epochs or 1
        parts.append(f'<progress max="{most}" value="{progress.epoch}" aria-label="Progress"></progress>')
    elif state == "done":
        parts.append(note(f"{name} is trained and judged, in {spent}.", link=("Judge it", "/judge")))
        parts.append(report_links(project, new_path(project, name)))
        parts += worth(new_path(project, name), job.log())
    elif state == "stopped":
        parts.append(note(f"{name} was stopped after {spent}. It can go on where it stopped.", "warning"))
    elif state == "broken off":
        words = f"{name} was interrupted, for example by a power cut. It can resume from its last checkpoint."
        parts.append(note(words, "warning"))
    else:
        parts.append(note(job.fault(), "problem"))
    if progress.curves:
        plots = training_plots(progress.curves).items()
        curves = "".join(training_svg(plot_words(title), stages) for title, stages in plots)
        legend = "<p class='soft'>blue: photographs it learns from; orange, dashed: photographs held back</p>"
        head = "<h3>Curves: lower is better, unless they say otherwise</h3>"
        parts.append(f"{head}{legend}<div class='plots'>{curves}</div>")
    if progress.pictures:
        previews = "".join(_preview(title, png) for title, png in progress.pictures)
        parts.append(f"<h3>What it sees</h3><p>{SEEN}</p>{previews}")
    return plain(*parts)


def worth(model: Path, log: str) -> list[str]:
    """How good the model is on labelled photographs, and how to improve it."""
    try:
        judged, threshold = read_results(model), read_bundle(model).threshold
    except UserError:
        return []
    parts, at = list[str](), tally(judged, threshold.value)
    if unproven := untested(model):
        parts.append(
            note(f"{unproven} Known so far: the threshold {plain_words(threshold.origin)}.", "warning")
        )
    elif at.defective:
        rejected = at.defective - at.escapes
        words = f"It rejects {rejected:,} of {at.defective:,} defective parts and {at.rejects:,} of "
        words += f"{at.good:,} good ones."
        is_poor = 5 * at.escapes > at.defective or 10 * at.rejects > at.good
        parts.append(note(f"{words} {DO_BETTER}", "warning") if is_poor else note(words))
    if words := too_small_region(judged):
        parts.append(note(words, "warning", link=("Look at the region", "/region")))
    said = (line.rpartition("WARNING: ")[2] for line in log.splitlines() if "cannot support" in line)
    return parts + [note(plain_words(line), "warning") for line in dict.fromkeys(said)]


def _preview(title: str, png: bytes) -> str:
    """A picture with captions for its columns."""
    names = "".join(f"<span>{escape(name)}</span>" for name in title.split(", "))
    image = f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    return f'<div class="previews"><div class="columns">{names}</div>{image}</div>'


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
