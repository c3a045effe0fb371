"""Pieces of HTML in the studio's own look. What comes from people or files is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.studio.page_images import data_uri
from roinspect.studio.state.jobs import Job
from roinspect.studio.state.project import Project

STEPS = (
    ("1 Data", "/"),
    ("2 Region", "/region"),
    ("3 Train", "/train"),
    ("4 Judge", "/judge"),
    ("5 Run", "/run"),
)
PER_PAGE = 24
T = TypeVar("T")


def steps(path: str, folder: Path | None) -> str:
    """The steps as links, and the folder that is open."""
    links = "".join(
        f'<a href="{to}"{" aria-current=page" if to == path else ""}>{name}</a>' for name, to in STEPS
    )
    opened = f'<span class="folder">{escape(str(folder))}</span>' if folder else ""
    title = '<span class="title">roinspect studio</span>'
    return f'<nav class="steps" aria-label="Steps">{title}{links}{opened}</nav>'


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


def job_note(job: Job, running: str, done: str = "", *, link: tuple[str, str] | None = None) -> str:
    """How a job stands: these words while it runs and when it is done, else why it is not."""
    state = job.state()
    if state == "running":
        return note(f"{running}, {job.seconds():.0f} s so far. You may close this page.")
    if state == "failed":
        return note(job.fault(), "problem")
    if state == "done":
        return note(done, link=link) if done else ""
    return note("It did not come to an end. Ask again, and it starts over.", "warning")


def cards(items: Iterator[str], *, large: bool = False) -> str:
    """Pictures with words, side by side."""
    return f'<div class="cards{" large" if large else ""}">{"".join(items)}</div>'


def card(picture: str, name: str, verdict: str = "", *, key: str = "", css: str = "") -> str:
    """One picture with its name; with a key it is a button.

    Args:
        picture: its address.
        name: plain text.
        verdict: HTML below the name.
        key: given to the page's `select` event.
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
        f'<figure><img src="{data_uri(image, 640)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in pictures
    )
    return f'<div class="pictures">{shown}</div>'


def thumbnail_address(project: Project, key: str) -> str:
    """Where the small picture of a photograph is served."""
    return "/studio/thumbnail?" + urlencode({"project": project.id, "key": key})


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text, whose rows become blocks on a narrow screen; the first column is in bold."""
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
    """The items on a page, which page that is, and what it shows in words: "1 to 24 of 300"."""
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
    """Good, rejected, not inspectable or none, in words and colour, with the score and the reason."""
    css, word = _BADGES[verdict]
    number = "" if score is None else f" {score:.4g}"
    why = f' <span class="name">{escape(reason)}</span>' if reason else ""
    return f'<span class="verdict {css}">{word}</span>{number}{why}'


def counts(*boxes: tuple[int, str]) -> str:
    """Large figures, with plain text under each."""
    shown = "".join(f"<div><b>{count:,}</b>{escape(words)}</div>" for count, words in boxes)
    return f'<div class="tally" role="status">{shown}</div>'
