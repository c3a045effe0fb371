"""Common to all pages: navigation, event handlers, and error messages."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from roinspect.errors import UserError
from roinspect.studio.pages.elements import as_note, steps
from roinspect.studio.state.jobs import Kind, latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.recipes import title
from roinspect.studio.state.trained_models import model_path, names

LOADING = """() => {
  const main = document.querySelector('main');
  main.dataset.loading = Number(main.dataset.loading || 0) + 1;
  main.inert = true;
  return [new URLSearchParams(location.search).get('project') || ''];
}"""
"""The id of the page's folder: each tab has its own in its address. Until the page knows it, nothing can be
clicked, typed or dropped: what is done would go to no folder, or be overwritten."""
LOADED = """() => {
  const main = document.querySelector('main');
  main.dataset.loading -= 1;
  main.inert = main.dataset.loading > 0;
}"""

INTO_ADDRESS = """(id) => {
  const address = new URL(location);
  address.searchParams.set('project', id);
  if (id) history.replaceState(null, '', address);
}"""
CLOSE = """element.addEventListener('click', (event) => {
  const said = event.target.closest('.fault');
  if (said) said.hidden = true;
});"""
_LOG = logging.getLogger(__name__)


STEP_S = 0.05
"""Seconds between two answers of a generator; a longer step delays the next."""


@dataclass(slots=True, eq=False)
class _Running:
    """The generator that answers a tab's latest event.

    Attributes:
        answers: what it has yet to say.
    """

    answers: Iterator[Any] = field(default_factory=lambda: iter(()))


@dataclass(frozen=True, slots=True)
class Page:
    """The parts that all pages have.

    Attributes:
        blocks: the Gradio page.
        projects: the open folders.
        top: the navigation bar.
        project: hidden field with the id of the page's folder.
        fault: the place for error messages.
    """

    blocks: Any
    projects: Projects
    top: Any
    project: Any
    fault: Any

    def answer(
        self,
        event: Callable[..., Any],
        handler: Callable[..., Any],
        inputs: Any,
        outputs: Any,
        **settings: Any,
    ) -> Any:
        """Connect a handler to an event. An exception is shown as a message, and the outputs stay unchanged.

        Gradio's queue is not used: an event that is queued at the moment when the stream of the queue ends is
        never answered (Gradio 6.31). Outside the queue Gradio runs no generators, so a timer asks for their
        next answer, and it shows no error messages, so the page does.

        Args:
            event: of a component or a page, such as `button.click`.
            handler: a function, or a generator that reports progress. A new event ends a generator that is
                still running.
            inputs: components whose values are its arguments.
            outputs: the component or components that show its result.
            settings: more arguments for the event.

        Returns:
            The event, for `then`, which runs even if the handler raised; with a generator, after each answer
            but the first.
        """
        shown = outputs if isinstance(outputs, list) else [outputs]
        if event == self.blocks.load:
            # The hidden field is still empty.
            settings = {"js": LOADING} | settings
        usual: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        unchanged = tuple(gr.skip() for _ in shown)

        def whole(answer: Any) -> tuple[Any, ...]:
            return (*(answer if isinstance(outputs, list) else (answer,)), gr.skip())

        @wraps(handler)
        def once(*values: Any) -> Any:
            try:
                return whole(handler(*values))
            except Exception as error:
                return (*unchanged, fault(error))

        if not inspect.isgeneratorfunction(handler):
            answered = event(once, inputs, [*shown, self.fault], **usual | settings)
            if event == self.blocks.load and settings["js"]:
                answered.then(js=LOADED)
            return answered

        running, timer = gr.State(_Running()), gr.Timer(STEP_S, active=False)

        def begin(running: _Running, *values: Any) -> Any:
            running.answers = handler(*values)
            return step(running)

        def step(running: _Running) -> Any:
            answers = running.answers
            try:
                answer, goes_on = whole(next(answers)), True
            except StopIteration:
                answer, goes_on = (*unchanged, gr.skip()), False
            except Exception as error:
                answer, goes_on = (*unchanged, fault(error)), False
            if running.answers is not answers:
                # A new event came meanwhile, and its answer may be on the page already.
                return *unchanged, gr.skip(), gr.skip()
            return *answer, gr.Timer(active=goes_on)

        given = inputs if isinstance(inputs, list) else [one for one in (inputs,) if one is not None]
        event(begin, [running, *given], [*shown, self.fault, timer], **usual | settings)
        return timer.tick(step, running, [*shown, self.fault, timer], **usual)

    def find(self, id: str) -> Project | None:
        """The page's folder, if it is open."""
        with suppress(UserError):
            return self.projects.get(id)
        return None

    def opened(self, id: str) -> Project:
        """The page's folder.

        Raises:
            UserError: no folder is open.
        """
        return self.projects.get(id)

    def models(self, id: str) -> tuple[Any, str | None, str]:
        """The dropdown of trained models, the newest model, and a message if there is none."""
        project = self.find(id)
        listed = [(title(project, name), name) for name in names(project)] if project else []
        newest = listed[0][1] if listed else None
        missing = as_note(lambda: str(model_path(self.opened(id), newest)) and "")
        return (
            gr.Dropdown(listed, value=newest),
            newest,
            missing,
        )

    def stop(self, id: str, kind: Kind) -> None:
        """Stop the latest job of a kind, if it is running."""
        job = latest(self.opened(id), kind)
        if job is not None and job.state() == "running":
            job.stop()


def begin(blocks: Any, projects: Projects, path: str) -> Page:
    """The top of a page."""
    gr.components.Navbar(visible=False)
    top, project = html(steps(path)), gr.Textbox(visible=False)
    page = Page(blocks, projects, top, project, html(js_on_load=CLOSE, elem_id="fault"))

    def shown(id: str) -> tuple[str, str]:
        opened = page.find(id)
        return steps(path, opened), opened.id if opened else ""

    page.answer(blocks.load, shown, project, [top, project])
    return page


def html(value: str = "", **settings: Any) -> Any:
    """HTML without Gradio's styles."""
    return gr.HTML(value, apply_default_css=False, **settings)


def fault(error: Exception) -> str:
    """An error message that disappears after a while or on a click."""
    if isinstance(error, UserError):
        words = str(error)
    elif isinstance(error, OSError):
        words = f"the disk answers: {error.strerror or error}; free space, try again"
    else:
        _LOG.error("a page could not be answered", exc_info=error)
        words = f"{type(error).__name__}; reload the page, and look at what the studio's terminal says"
    # Otherwise a repeated message would not be shown again.
    nonce = time.monotonic_ns()
    return (
        f'<div role="alert"><button type="button" class="fault" data-nonce="{nonce}" title="Close">'
        f"<b>That did not work</b> {escape(words)}</button></div>"
    )


SELECT = """element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-key]');
  if (chosen) trigger('select', { key: chosen.dataset.key });
});"""
"""Lets a gr.HTML of cards report which one was clicked."""


def chosen_key(event: Any) -> str:
    """The key of the card that was clicked."""
    data = getattr(event, "_data", None)
    return str(data.get("key", "")) if isinstance(data, dict) else ""


def truth(question: str, split: str) -> tuple[Any, Any, Any]:
    """Fields for the true label of a part, the kind of defect, and the split."""
    with gr.Row():
        label = gr.Radio([("good", 0), ("defective", 1)], value=0, label=question)
        kind = gr.Textbox(label="Kind of defect", placeholder="scratch")
        uses = [("to train with", "train"), ("to test with", "test")]
        return label, kind, gr.Radio(uses, value=split, label="From now on")
