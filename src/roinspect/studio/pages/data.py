"""Page 1: open a folder and see what is in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from roinspect.errors import UserError
from roinspect.studio.pages.elements import as_note, note, plain, steps
from roinspect.studio.pages.photographs import (
    TICKING,
    aside_button,
    checked,
    content,
    count_of,
    folder_buttons,
    good_folders,
    in_words,
    recent_folders,
    thumbnails,
)
from roinspect.studio.pages.shell import INTO_ADDRESS, SELECT, begin, chosen_key, html
from roinspect.studio.state.browsing import make_folder
from roinspect.studio.state.project import Projects
from roinspect.studio.state.sorting import Place, set_test_aside, sort, take_in

AT_ONCE = 300
"""Up to this number of photographs are checked automatically; more would take too long."""

LABELS = [("good", "good"), ("defective", "defective")]
SPLITS = [("to train with", "train"), ("to test with", "test")]
CHOSEN = """(id, _, ...rest) => [id, JSON.stringify(
  [...document.querySelectorAll('#photographs input:checked')].map((box) => box.dataset.key)), ...rest]"""
"""Sends the keys of the photographs that are ticked along."""


def data_page(blocks: Any, projects: Projects) -> None:
    """Build the page."""
    page = begin(blocks, projects, "/")
    html(plain("<h2>Your photographs</h2><p>Choose the folder with the photographs of your parts.</p>"))
    with gr.Row(equal_height=True):
        path = gr.Textbox(label="Folder with photographs", scale=6, min_width=160, elem_id="folder")
        open_button = gr.Button("Open", variant="primary", scale=1, min_width=80)
    recent = html(js_on_load=SELECT, elem_id="recent")
    with gr.Accordion("Look for the folder, or make a new one", open=False):
        looked_at = gr.Textbox(visible=False)
        folders = html(js_on_load=SELECT, elem_id="folders")
        with gr.Row(equal_height=True):
            new_name = gr.Textbox(label="New folder in it", placeholder="screws", scale=6, min_width=160)
            make = gr.Button("Make and open", scale=1, min_width=80)
    found = html()
    good = gr.CheckboxGroup([], label="Which folders hold good parts?", visible=False, elem_id="good")
    aside = gr.Button(visible=False, elem_id="aside")
    adopt = gr.Button("They all show good parts: use them to train", visible=False)
    findings = html()
    check_button = gr.Button("Check every photograph", visible=False)
    at = gr.Number(0, visible=False)
    thumbs = html(js_on_load=TICKING, elem_id="photographs")
    with gr.Row():
        back = gr.Button("‹ Earlier photographs", size="sm")
        on = gr.Button("Further photographs ›", size="sm")
    with gr.Column(visible=False) as sorting:
        ticked = gr.Textbox(visible=False)
        with gr.Row(equal_height=True):
            label = gr.Radio(
                LABELS, value="good", label="The ticked photographs show parts that are", elem_id="sort-label"
            )
            kind = gr.Textbox(label="Kind of defect", placeholder="scratch", elem_id="sort-kind")
            split = gr.Radio(SPLITS, value="train", label="Use them")
        sort_button = gr.Button("Sort them", elem_id="sort")
        with gr.Accordion("Add photographs", open=False):
            choices = [*LABELS, ("not sorted yet", "")]
            with gr.Row(equal_height=True):
                new_label = gr.Radio(choices, value="", label="They show parts that are", elem_id="new-label")
                new_kind = gr.Textbox(label="Kind of defect", placeholder="scratch")
                new_split = gr.Radio(SPLITS, value="train", label="Use them")
            dropped = gr.File(label="Drop photographs here", file_count="multiple", elem_id="add")
    said = html(elem_id="sorted")
    whole = [page.top, page.project, path, recent, found, good, aside, adopt, findings, check_button]
    whole += [at, thumbs, sorting]

    # Otherwise a slow request could replace the view of a folder that was opened meanwhile.
    one_at_a_time = threading.Lock()

    def show(id: str) -> tuple[Any, ...]:
        project = page.find(id)
        names = [str(folder) for folder in projects.recent()]
        if project is None:
            asked = plain(note("No folder is open yet. Type its path and press Open, or look for it."))
            hidden, no_names = gr.Button(visible=False), gr.CheckboxGroup(visible=False)
            # Keep the text that was typed.
            return (
                *(steps("/"), "", gr.skip(), recent_folders(names), asked),
                *(no_names, hidden, hidden, "", hidden, 0, "", gr.Column(visible=False)),
            )
        loose = project.loose() if not (project.folder / "manifest.csv").exists() else []
        count = count_of(project)
        return (
            steps("/", project),
            project.id,
            str(project.folder),
            recent_folders(names),
            content(project, count, len(loose)),
            good_folders(project) if count else gr.CheckboxGroup(visible=False),
            aside_button(project),
            gr.Button(visible=bool(loose) and not count),
            plain(note("Reading the photographs ...")) if 0 < count <= AT_ONCE else "",
            gr.Button(f"Check all {count:,} photographs", visible=count > AT_ONCE),
            0,
            thumbnails(project, 0)[1],
            gr.Column(visible=True),
        )

    def check_few(id: str) -> str:
        project = page.find(id)
        if project is None or not 0 < count_of(project) <= AT_ONCE:
            return ""
        return as_note(lambda: in_words(checked(project)))

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
        yield in_words(checked(page.opened(id)))

    def look_into(event: gr.EventData) -> tuple[str, str]:
        return folder_buttons(projects, chosen_key(event))

    def begin_looking() -> tuple[str, str]:
        return folder_buttons(projects, "")

    def make_one(where: str, name: str) -> tuple[Any, ...]:
        return open_folder(str(make_folder(projects, where, name)))

    def name_good(id: str, names: list[str]) -> tuple[Any, ...]:
        with one_at_a_time:
            page.opened(id).use_good(names)
            return show(id)

    def put_aside(id: str) -> tuple[Any, ...]:
        with one_at_a_time:
            project = page.opened(id)
            count = set_test_aside(project)
            words = f"{count:,} photographs are set aside for testing"
            listed = (project.folder / "manifest.csv").exists()
            more = ": manifest.csv says so, and no file was moved." if listed else ", below test/."
            return *show(id), plain(note(words + more))

    def sort_them(id: str, keys: str, label: str, kind: str, split: str) -> tuple[Any, ...]:
        with one_at_a_time:
            chosen = [str(key) for key in json.loads(keys or "[]")]
            if not chosen:
                raise UserError("is ticked", where="no photograph", remedy="tick those that you want to sort")
            count = sort(page.opened(id), chosen, Place(int(label == "defective"), kind or "", split))
            return *show(id), plain(note(f"{count:,} photographs are sorted: {label}, to {split} with."))

    def add_them(id: str, paths: list[str] | None, label: str, kind: str, split: str) -> Iterator[Any]:
        files, project, faults, count = list(paths or ()), page.opened(id), list[str](), 0
        place = Place({"good": 0, "defective": 1}.get(label), kind or "", split)
        unchanged = [gr.skip() for _ in whole]
        for done, file in enumerate(files, 1):
            try:
                take_in(project, Path(file), place)
                count += 1
            except UserError as error:
                faults.append(f"{Path(file).name}: {error}")
            if done % 10 == 0:
                progress = plain(note(f"{done:,} of {len(files):,} photographs ..."))
                yield *unchanged, progress, gr.skip(), gr.skip()
        words = [note(f"{count:,} photographs were added.")] if count else []
        words += [note(fault, "warning") for fault in faults[:8]]
        words += [note(f"{len(faults) - 8} more were not added", "warning")] if len(faults) > 8 else []
        with one_at_a_time:
            shown = show(id)
        yield *shown, plain(*words), None, check_few(id)

    def turn(id: str, to: float) -> tuple[int, str]:
        return thumbnails(page.opened(id), to)

    opening = (
        page.answer(blocks.load, show_first, page.project, whole),
        *(page.answer(event, open_folder, path, whole) for event in (open_button.click, path.submit)),
        page.answer(recent.select, open_recent, None, whole),
        page.answer(adopt.click, adopt_loose, page.project, whole),
        page.answer(make.click, make_one, [looked_at, new_name], whole),
        page.answer(good.input, name_good, [page.project, good], whole),
        page.answer(aside.click, put_aside, page.project, [*whole, said]),
        page.answer(
            sort_button.click,
            sort_them,
            [page.project, ticked, label, kind, split],
            [*whole, said],
            js=CHOSEN,
        ),
    )
    page.answer(
        dropped.upload,
        add_them,
        [page.project, dropped, new_label, new_kind, new_split],
        [*whole, said, dropped, findings],
    )
    page.answer(blocks.load, begin_looking, None, [looked_at, folders], js=None)
    page.answer(folders.select, look_into, None, [looked_at, folders])
    for opened_now in opening:
        opened_now.then(None, page.project, None, js=INTO_ADDRESS)
        page.answer(opened_now.then, check_few, page.project, findings)
    page.answer(check_button.click, check_all, page.project, findings)
    page.answer(back.click, lambda id, place: turn(id, place - 1), [page.project, at], [at, thumbs])
    page.answer(on.click, lambda id, place: turn(id, place + 1), [page.project, at], [at, thumbs])
