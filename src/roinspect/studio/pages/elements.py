"""HTML elements of the studio. Text from users or files is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import TypeVar
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.studio.page_images import SHOWN, data_uri
from roinspect.studio.state.jobs import Job
from roinspect.studio.state.project import NotYetError, Project

STEPS = (
    ("1 Data", "/"),
    ("2 Region", "/region"),
    ("3 Train", "/train"),
    ("4 Judge", "/judge"),
    ("5 Run", "/run"),
)
PER_PAGE = 24
T = TypeVar("T")


def steps(path: str, project: Project | None = None) -> str:
    """The navigation bar, with the open folder."""
    links = "".join(
        f'<a href="{to}"{" aria-current=page" if to == path else ""}>{name}</a>' for name, to in STEPS
    )
    opened = f'<span class="folder">{escape(str(project.folder))}</span>' if project else ""
    title = '<h1 class="title">roinspect studio</h1>'
    return f'<nav class="steps" aria-label="Steps">{title}{links}{opened}</nav>'


def note(text: str, kind: str = "", *, link: tuple[str, str] | None = None) -> str:
    """A boxed sentence.

    Args:
        text: plain text.
        kind: "", "warning" or "problem".
        link: text and address of the next step.
    """
    word = {"problem": "<b>Problem:</b> ", "warning": "<b>Note:</b> "}.get(kind, "")
    to = f' <a class="next" href="{escape(link[1])}">{escape(link[0])} ›</a>' if link else ""
    return f'<div class="note {kind}">{word}{escape(text)}{to}</div>'


def plain(*parts: str) -> str:
    """HTML with the studio's styles."""
    return f'<div class="plain">{"".join(parts)}</div>'


def as_note(work: Callable[[], str]) -> str:
    """The result of `work`, or a note with the error."""
    try:
        return work()
    except NotYetError as error:
        to = next((step for step in STEPS if f"page {step[0][0]}," in error.remedy), None)
        remedy = f"{error.remedy[0].upper()}{error.remedy[1:]}."
        return plain(note(f"{error.what}. {remedy}", link=to))
    except UserError as error:
        return plain(note(str(error), "problem"))
    except OSError as error:
        return plain(note(f"the disk answers: {error.strerror or error}; try again", "problem"))


def job_note(job: Job, running: str, done: str = "", *, link: tuple[str, str] | None = None) -> str:
    """The state of a job: the given texts while it runs and when it is done, else the error."""
    state = job.state()
    if state == "running":
        return note(f"{running}, {job.seconds():.0f} s so far. You may close this page.")
    if state == "failed":
        return note(job.fault(), "problem")
    if state == "done":
        return note(done, link=link) if done else ""
    return note("It was interrupted. Start it again.", "warning")


def cards(items: Iterator[str], *, large: bool = False) -> str:
    """A grid of cards."""
    return f'<div class="cards{" large" if large else ""}">{"".join(items)}</div>'


def card(picture: str, name: str, verdict: str = "", *, key: str = "", css: str = "") -> str:
    """A picture with its name; a button if a key is given.

    Args:
        picture: address of the image.
        name: plain text.
        verdict: HTML below the name.
        key: passed to the page's `select` event.
        css: more classes.
    """
    image = f'<img src="{escape(picture)}" alt="" loading="lazy">'
    inside = f'{image}<span class="name">{escape(name)}</span>{verdict}'
    if not key:
        return f'<div class="card {css}">{inside}</div>'
    return f'<button type="button" class="card {css}" data-key="{escape(key)}">{inside}</button>'


def figures(*pictures: tuple[NDArray[np.uint8], str]) -> str:
    """Large pictures (H, W, 3), RGB, side by side, with captions in plain text."""
    shown = "".join(
        f'<figure><button type="button" class="enlarge" aria-label="Enlarge: {escape(caption)}">'
        f'<img src="{data_uri(image, SHOWN)}" alt=""></button>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in pictures
    )
    return f'<div class="pictures">{shown}</div>'


def thumbnail_address(project: Project, key: str) -> str:
    """The address of the thumbnail of a photograph."""
    return "/studio/thumbnail?" + urlencode({"project": project.id, "key": key})


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text, with the first column in bold; rows become blocks on narrow screens."""
    body = "".join(
        f"<tr><th>{escape(first)}</th>"
        + "".join(
            f'<td data-head="{head}">{escape(text)}</td>' for head, text in zip(heads[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in rows
    )
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f'<table class="figures stacked"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def page_of(items: Sequence[T], place: float, words: str = "") -> tuple[int, Sequence[T], str]:
    """The page's number, its items, and a caption such as "1 to 24 of 300"."""
    at = max(0, min(int(place), (len(items) - 1) // PER_PAGE))
    shown = items[PER_PAGE * at : PER_PAGE * (at + 1)]
    first = PER_PAGE * at + 1
    return at, shown, f"{words}{first:,} to {first + len(shown) - 1:,} of {len(items):,}"


_BADGES = {
    "defective": ("bad", "✕ rejected"),
    "good": ("good", "✓ good"),
    "not inspectable": ("error", "! not inspectable"),
    None: ("error", "! no verdict"),
}


def verdict_badge(verdict: str | None, reason: str | None = None, *, score: float | None = None) -> str:
    """The verdict in words and colour, with the score and the reason."""
    css, word = _BADGES[verdict]
    number = "" if score is None else f" {score:.4g}"
    why = f' <span class="name">{escape(reason)}</span>' if reason else ""
    return f'<span class="verdict {css}">{word}</span>{number}{why}'


def counts(*boxes: tuple[int, str]) -> str:
    """Large numbers, with plain text under each."""
    shown = "".join(f"<div><b>{count:,}</b>{escape(words)}</div>" for count, words in boxes)
    return f'<div class="tally" role="status">{shown}</div>'
