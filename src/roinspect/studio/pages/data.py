"""Page 1: open a folder and see what is in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from roinspect.data.check import Findings, check
from roinspect.data.records import FEW_GOOD
from roinspect.errors import UserError
from roinspect.studio.pages.elements import (
    as_note,
    card,
    cards,
    note,
    page_of,
    plain,
    steps,
    table,
    thumbnail_address,
)
from roinspect.studio.pages.shell import INTO_ADDRESS, SELECT, begin, chosen_key, html
from roinspect.studio.state.project import Project, Projects

AT_ONCE = 300
"""Up to this number of photographs are checked automatically; more would take too long."""

USES = {"train": "to train on", "val": "to set the threshold", "test": "to test with"}


def data_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/")
    html(plain("<h2>Your photographs</h2><p>Type the path of a folder with photographs of your parts.</p>"))
    with gr.Row(equal_height=True):
        path = gr.Textbox(label="Folder with photographs", scale=6, min_width=160, elem_id="folder")
        open_button = gr.Button("Open", variant="primary", scale=1, min_width=80)
    recent = html(js_on_load=SELECT, elem_id="recent")
    found = html()
    adopt = gr.Button("They all show good parts: use them to train", visible=False)
    findings = html()
    check_button = gr.Button("Check every photograph", visible=False)
    at = gr.Number(0, visible=False)
    thumbs = html()
    with gr.Row():
        back = gr.Button("‹ Earlier photographs", size="sm")
        on = gr.Button("Further photographs ›", size="sm")
    whole = [page.top, page.project, path, recent, found, adopt, findings, check_button, at, thumbs]

    # Otherwise a slow request could replace the view of a folder that was opened meanwhile.
    one_at_a_time = threading.Lock()

    def show(id: str) -> tuple[Any, ...]:
        project = page.find(id)
        names = [str(folder) for folder in projects.recent()]
        if project is None:
            asked = plain(note("No folder is open yet. Type its path above, then press Open."))
            hidden = gr.Button(visible=False)
            # Keep the text that was typed.
            return steps("/"), "", gr.skip(), _recent(names), asked, hidden, "", hidden, 0, ""
        loose = project.loose() if not (project.folder / "manifest.csv").exists() else []
        count = _count(project)
        return (
            steps("/", project),
            project.id,
            str(project.folder),
            _recent(names),
            as_note(lambda: summary(project)) if count or not loose else _loose_words(len(loose)),
            gr.Button(visible=bool(loose) and not count),
            plain(note("Reading the photographs ...")) if 0 < count <= AT_ONCE else "",
            gr.Button(f"Check all {count:,} photographs", visible=count > AT_ONCE),
            0,
            _thumbnails(project, 0)[1] if count else "",
        )

    def check_few(id: str) -> str:
        project = page.find(id)
        if project is None or not 0 < _count(project) <= AT_ONCE:
            return ""
        return as_note(lambda: in_words(_check(project)))

    def show_first(id: str) -> tuple[Any, ...]:
        with one_at_a_time:
            return show(id)

    def open_folder(typed: str) -> tuple[Any, ...]:
        with one_at_a_time:
            return show(projects.open(typed).id)

    def open_recent(event: gr.EventData) -> tuple[Any, ...]:
        return open_folder(chosen_key(event))

    def adopt_loose(id: str) -> tuple[Any, ...]:
        with one_at_a_time:
            page.opened(id).adopt_loose()
            return show(id)

    def check_all(id: str) -> Iterator[str]:
        yield plain(note("Reading every photograph. You may go on with the next page."))
        yield in_words(_check(page.opened(id)))

    def turn(id: str, to: float) -> tuple[int, str]:
        return _thumbnails(page.opened(id), to)

    opening = (
        page.answer(blocks.load, show_first, page.project, whole),
        *(page.answer(event, open_folder, path, whole) for event in (open_button.click, path.submit)),
        page.answer(recent.select, open_recent, None, whole),
        page.answer(adopt.click, adopt_loose, page.project, whole),
    )
    for opened_now in opening:
        opened_now.then(None, page.project, None, js=INTO_ADDRESS)
        page.answer(opened_now.then, check_few, page.project, findings)
    page.answer(check_button.click, check_all, page.project, findings, show_progress="full")
    page.answer(back.click, lambda id, place: turn(id, place - 1), [page.project, at], [at, thumbs])
    page.answer(on.click, lambda id, place: turn(id, place + 1), [page.project, at], [at, thumbs])


def _recent(folders: list[str]) -> str:
    """Recently opened folders, as buttons."""
    names = map(escape, folders)
    buttons = "".join(f'<button type="button" data-key="{name}">{name}</button>' for name in names)
    head = '<span class="soft">Opened before:</span>'
    return plain(f'<div class="recent">{head}{buttons}</div>') if folders else ""


def summary(project: Project) -> str:
    """The number of photographs of each kind, and the next step."""
    rows = project.summary()
    kinds: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for split, category, label, count in rows:
        kinds.setdefault((split, label), []).append((category, count))
    lines = (
        (USES[split], label, f"{sum(count for _, count in folders):,}", _listed(folders))
        for (split, label), folders in kinds.items()
    )
    parts = [table(("used", "label", "photographs", "folders"), lines)]
    good = sum(count for split, _, label, count in rows if split == "train" and label == "good")
    if good < FEW_GOOD:
        words = f"There are {good} good photographs to train on. Twenty or more make a useful model."
        parts.append(note(words, "warning"))
    if not any(split == "test" for split, *_ in rows):
        words = (
            "There are no test photographs (test/good, test/scratch ...). Training works without them, but "
        )
        parts.append(note(f"{words}they are needed to measure how good the model is.", "warning"))
    parts.append(note("Next: mark the region to inspect.", link=("Draw the region", "/region")))
    return plain(*parts)


def _listed(folders: list[tuple[str, int]]) -> str:
    names = [f"{name} {count:,}" for name, count in folders]
    return ", ".join(names[:6]) + (f", {len(names) - 6} more" if len(names) > 6 else "")


def in_words(findings: Findings) -> str:
    """The findings of the check as text."""
    parts = [note(line, "problem") for line in findings.problems[:12]]
    parts += [note(line, "warning") for line in findings.warnings[:12]]
    if hidden := max(0, len(findings.problems) - 12) + max(0, len(findings.warnings) - 12):
        parts.append(note(f"{hidden} more"))
    sizes = sorted({size for row in findings.rows for size in row.sizes_hw})
    seen = ", ".join(f"{width} × {height}" for height, width in sizes[:4])
    seen += " ..." if len(sizes) > 4 else ""
    count = sum(row.images for row in findings.rows)
    verdict = "Nothing here would break training." if not findings.problems else "Fix these before training."
    parts.append(f"<p>{count:,} photographs were read; width × height: {seen or 'none'}. {verdict}</p>")
    return plain("<h3>Check</h3>", *parts)


def _check(project: Project) -> Findings:
    return check(project.with_roi(list(project.records().values())))


def _count(project: Project) -> int:
    try:
        return len(project.records())
    except UserError:
        return 0


def _loose_words(count: int) -> str:
    words = (
        f"{count:,} photographs are directly in the folder. If all of them show good parts, press the button "
        "below: they are listed in a manifest.csv, and no file is moved. Otherwise sort them into folders: "
        "good, scratch, ..."
    )
    return plain(note(words))


def _thumbnails(project: Project, place: float) -> tuple[int, str]:
    at, shown, span = page_of(list(project.records().values()), place, "Photographs ")
    pictures = (card(thumbnail_address(project, record.key), record.key) for record in shown)
    return at, plain(f"<h3>{span}</h3>", cards(pictures))
