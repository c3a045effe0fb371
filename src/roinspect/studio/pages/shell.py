"""Common to all pages: the steps at the top, notes, and errors as messages with a remedy."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from roinspect.errors import UserError
from roinspect.studio.pages.elements import as_note, steps
from roinspect.studio.state.jobs import Kind, latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.trained_models import model_path, names

CLOSE = """element.addEventListener('click', (event) => {
  const said = event.target.closest('.fault');
  if (said) said.hidden = true;
});"""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """A page under construction.

    Attributes:
        blocks: it stands in.
        projects: the folders that are open.
        top: the steps.
        project: hidden; the id of the folder that the page shows.
        fault: where it is said what did not work.
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
        """Let a handler answer an event of the page; what it raises is said, and nothing else changes.

        Only a handler that reports progress goes through Gradio's queue: an event that is queued in the very
        moment in which the queue's stream ends is never answered (Gradio 6.31). Outside of the queue Gradio
        shows no messages of its own, so the page has a place for them.

        Args:
            event: of a component or a page, as `button.click`.
            handler: a function, or a generator of steps.
            inputs: components whose values it is given.
            outputs: a component, or a list of them, for what it returns.
            settings: further ones of the event.

        Returns:
            The event, for what comes after it, whether the handler raised or not.
        """
        shown = outputs if isinstance(outputs, list) else [outputs]

        def whole(answer: Any) -> tuple[Any, ...]:
            return (*(answer if isinstance(outputs, list) else (answer,)), gr.skip())

        def failed(error: Exception) -> tuple[Any, ...]:
            return (*(gr.skip() for _ in shown), fault(error))

        @wraps(handler)
        def steps_of(*values: Any) -> Iterator[Any]:
            try:
                yield from map(whole, handler(*values))
            except Exception as error:
                yield failed(error)

        @wraps(handler)
        def once(*values: Any) -> Any:
            try:
                return whole(handler(*values))
            except Exception as error:
                return failed(error)

        is_slow = inspect.isgeneratorfunction(handler)
        usual = {"api_visibility": "private", "show_progress": "hidden", "queue": is_slow}
        return event(steps_of if is_slow else once, inputs, [*shown, self.fault], **usual | settings)

    def find(self, id: str) -> Project | None:
        """The folder that the page shows, if one is open."""
        return self.projects.get(id) if id else self.projects.current

    def opened(self, id: str) -> Project:
        """The folder that the page shows.

        Raises:
            UserError: none is open.
        """
        return self.projects.get(id) if id else self.projects.shown()

    def models(self, id: str) -> tuple[Any, str | None, str]:
        """The dropdown of trained models, the newest one, and what to say where there is none."""
        project = self.find(id)
        listed = names(project) if project else []
        newest = listed[0] if listed else None
        missing = as_note(lambda: str(model_path(self.projects.shown(), newest)) and "")
        return gr.Dropdown(listed, value=newest), newest, missing

    def stop(self, id: str, kind: Kind) -> None:
        """Ask the latest job of a kind to end, if it is running."""
        job = latest(self.opened(id), kind)
        if job is not None and job.state() == "running":
            job.stop()


def begin(blocks: Any, projects: Projects, path: str) -> Page:
    """The top of a page."""
    gr.components.Navbar(visible=False)
    top, project = html(steps(path, None)), gr.Textbox(visible=False)
    page = Page(blocks, projects, top, project, html(js_on_load=CLOSE, elem_id="fault"))

    def shown() -> tuple[str, str]:
        current = projects.current
        return steps(path, current.folder if current else None), current.id if current else ""

    page.answer(blocks.load, shown, None, [top, project])
    return page


def html(value: str = "", **settings: Any) -> Any:
    """HTML without Gradio's own look."""
    return gr.HTML(value, apply_default_css=False, **settings)


def fault(error: Exception) -> str:
    """What went wrong, as a message that goes away by itself or when it is pressed."""
    if isinstance(error, UserError):
        words = str(error)
    elif isinstance(error, OSError):
        words = f"the disk answers: {error.strerror or error}; free space, try again"
    else:
        _LOG.error("a page could not be answered", exc_info=error)
        words = f"{type(error).__name__}; reload the page, and look at what the studio's terminal says"
    # Else the same message, asked for twice, would not come up anew.
    nonce = time.monotonic_ns()
    return (
        f'<button type="button" class="fault" role="alert" data-nonce="{nonce}" title="Close">'
        f"<b>That did not work</b> {escape(words)}</button>"
    )


SELECT = """element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-key]');
  if (chosen) trigger('select', { key: chosen.dataset.key });
});"""
"""Makes a gr.HTML of cards tell which one was pressed."""


def chosen_key(event: Any) -> str:
    """The key in the event of a card that was pressed."""
    data = getattr(event, "_data", None)
    return str(data.get("key", "")) if isinstance(data, dict) else ""


def truth(question: str, split: str) -> tuple[Any, Any, Any]:
    """Fields for what a part really is: its label, the kind of defect, and the use of the photograph."""
    with gr.Row():
        label = gr.Radio([("good", 0), ("defective", 1)], value=0, label=question)
        kind = gr.Textbox(label="Kind of defect", placeholder="scratch")
        uses = [("to train with", "train"), ("to test with", "test")]
        return label, kind, gr.Radio(uses, value=split, label="From now on")
