"""What all pages share: the steps on top, plain notes, and faults as messages that say what to do."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from roinspect.errors import UserError
from roinspect.studio.state.project import Project, Projects

STEPS = (
    ("1 Data", "/"),
    ("2 Region", "/region"),
    ("3 Train", "/train"),
    ("4 Judge", "/judge"),
    ("5 Run", "/run"),
)
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
        **given: Any,
    ) -> Any:
        """Let a handler answer an event of the page; what it raises is said, and nothing else changes.

        A handler answers in the request that asks. Only one that says how far it has come goes through
        Gradio's queue: an event of the queue that is sent in the very moment in which the queue's stream
        ends, as after the answer before, is never answered (Gradio 6.31). Outside of the queue Gradio shows
        no messages of its own, so the page has a place for them.

        Args:
            event: of a component or a page, as `button.click`.
            handler: a function, or a generator of steps.
            inputs: components whose values it is given.
            outputs: a component, or a list of them, for what it returns.
            given: further settings of the event.

        Returns:
            The event, for what comes after it, whether the handler raised or not.
        """
        shown = outputs if isinstance(outputs, list) else [outputs]

        def whole(told: Any) -> tuple[Any, ...]:
            return (*(told if isinstance(outputs, list) else (told,)), gr.skip())

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
        return event(steps_of if is_slow else once, inputs, [*shown, self.fault], **usual | given)


def begin(blocks: Any, projects: Projects, path: str) -> Page:
    """The top of a page."""
    gr.components.Navbar(visible=False)
    top = html(steps(path, None))
    project = gr.Textbox(visible=False)
    page = Page(blocks, projects, top, project, html(js_on_load=CLOSE, elem_id="fault"))

    def shown() -> tuple[str, str]:
        opened = projects.current
        return steps(path, opened.folder if opened else None), opened.id if opened else ""

    page.answer(blocks.load, shown, None, [top, project])
    return page


def html(value: str = "", **given: Any) -> Any:
    """HTML without Gradio's own look."""
    return gr.HTML(value, apply_default_css=False, **given)


def steps(path: str, folder: Path | None) -> str:
    """The steps as links, and the folder that is open."""
    links = "".join(
        f'<a href="{escape(to)}"{" aria-current=page" if to == path else ""}>{escape(name)}</a>'
        for name, to in STEPS
    )
    told = f'<span class="folder">{escape(str(folder))}</span>' if folder else ""
    title = '<span class="title">roinspect studio</span>'
    return f'<nav class="steps" aria-label="Steps">{title}{links}{told}</nav>'


def note(text: str, kind: str = "", *, link: tuple[str, str] | None = None) -> str:
    """A boxed sentence.

    Args:
        text: plain text.
        kind: "", "warning" or "problem".
        link: words and address of what to do next.
    """
    word = {"problem": "<b>Problem:</b> ", "warning": "<b>Note:</b> "}.get(kind, "")
    to = f' <a class="next" href="{escape(link[1])}">{escape(link[0])} ›</a>' if link else ""
    return f'<div class="note {kind}">{word}{escape(text)}{to}</div>'


def plain(*parts: str) -> str:
    """HTML in the studio's own look."""
    return f'<div class="plain">{"".join(parts)}</div>'


def as_note(work: Callable[[], str]) -> str:
    """What `work` returns, or the note that says why it could not."""
    try:
        return work()
    except UserError as error:
        link = ("Open a folder", "/") if "page 1" in error.remedy else None
        return plain(note(str(error), "problem", link=link))
    except OSError as error:
        return plain(note(f"the disk answers: {error.strerror or error}; try again", "problem"))


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


def cards(items: Iterator[str], *, large: bool = False) -> str:
    """Pictures with words, side by side."""
    return f'<div class="cards{" large" if large else ""}">{"".join(items)}</div>'


def card(
    picture: str, name: str, verdict: str = "", *, key: str = "", css: str = "", is_chosen: bool = False
) -> str:
    """One picture with its name; with a key it is a button.

    Args:
        picture: its address.
        name: plain text.
        verdict: HTML below the name.
        key: given to the page's `select` event.
        css: more classes.
        is_chosen: whether it is the one that is looked at.
    """
    image = f'<img src="{escape(picture)}" alt="" loading="lazy">'
    inside = f'{image}<span class="name">{escape(name)}</span>{verdict}'
    if not key:
        return f'<div class="card {css}">{inside}</div>'
    current = " aria-current=true" if is_chosen else ""
    return f'<button type="button" class="card {css}" data-key="{escape(key)}"{current}>{inside}</button>'


_BADGES = {
    "defective": ("bad", "✕ rejected"),
    "good": ("good", "✓ good"),
    "not inspectable": ("error", "! not inspectable"),
    None: ("error", "! no verdict"),
}


def verdict_badge(verdict: str | None) -> str:
    """Good, rejected, not inspectable or none, in words and colour."""
    css, word = _BADGES[verdict]
    return f'<span class="verdict {css}">{word}</span>'


SELECT = """element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-key]');
  if (chosen) trigger('select', { key: chosen.dataset.key });
});"""
"""Makes a gr.HTML of cards tell which one was pressed."""


def chosen_key(event: Any) -> str:
    """The key in the event of a card that was pressed."""
    data = getattr(event, "_data", None)
    return str(data.get("key", "")) if isinstance(data, dict) else ""


def opened(page: Page, id: str) -> Project:
    """The folder that a page shows.

    Raises:
        UserError: none is open.
    """
    return page.projects.get(id) if id else page.projects.shown()
