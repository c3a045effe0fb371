"""Page 1: open a folder and see what is in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from roinspect.data.check import Findings, check
from roinspect.data.records import FEW_GOOD
from roinspect.errors import UserError
from roinspect.studio.pages.elements import (
    as_note,
    cards,
    note,
    page_of,
    plain,
    steps,
    table,
    thumbnail_address,
)
from roinspect.studio.pages.shell import INTO_ADDRESS, SELECT, begin, chosen_key, html
from roinspect.studio.state.browsing import browse, make_folder
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.sorting import Place, proposed_test, set_test_aside, sort, take_in

AT_ONCE = 300
"""Up to this number of photographs are checked automatically; more would take too long."""

LABELS = [("good", "good"), ("defective", "defective")]
SPLITS = [("to train with", "train"), ("to test with", "test")]
CHOSEN = """(id, _, ...rest) => [id, JSON.stringify(
  [...document.querySelectorAll('#photographs input:checked')].map((box) => box.dataset.key)), ...rest]"""
"""Sends the keys of the photographs that are ticked along."""

TICKING = """let last = null;
element.addEventListener('click', (event) => {
  const boxes = [...element.querySelectorAll('input[data-key]')];
  if (event.target.closest('[data-all]')) {
    const every = boxes.every((box) => box.checked);
    for (const box of boxes) box.checked = !every;
  }
  const at = boxes.indexOf(event.target);
  if (at < 0) return;
  const from = event.shiftKey && last !== null ? Math.min(at, last) : at;
  for (const box of boxes.slice(from, event.shiftKey && last !== null ? Math.max(at, last) + 1 : at + 1))
    box.checked = event.target.checked;
  last = at;
});"""
"""Shift ticks all from the one ticked last."""

USES = {"train": "to train on", "val": "to set the threshold", "test": "to test with"}


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
            asked = plain(
                note("No folder is open yet. Type its path above, then press Open; or look for it.")
            )
            hidden = gr.Button(visible=False)
            # Keep the text that was typed.
            return (
                *(steps("/"), "", gr.skip(), _recent(names), asked),
                *(
                    gr.CheckboxGroup(visible=False),
                    hidden,
                    hidden,
                    "",
                    hidden,
                    0,
                    "",
                    gr.Column(visible=False),
                ),
            )
        loose = project.loose() if not (project.folder / "manifest.csv").exists() else []
        count = _count(project)
        return (
            steps("/", project),
            project.id,
            str(project.folder),
            _recent(names),
            _found(project, count, len(loose)),
            _good_folders(project) if count else gr.CheckboxGroup(visible=False),
            _test_button(project),
            gr.Button(visible=bool(loose) and not count),
            plain(note("Reading the photographs ...")) if 0 < count <= AT_ONCE else "",
            gr.Button(f"Check all {count:,} photographs", visible=count > AT_ONCE),
            0,
            _thumbnails(project, 0)[1],
            gr.Column(visible=True),
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

    def look_into(event: gr.EventData) -> tuple[str, str]:
        return _folders(projects, chosen_key(event))

    def begin_looking() -> tuple[str, str]:
        return _folders(projects, "")

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
                yield *unchanged, plain(note(f"{done:,} of {len(files):,} photographs ...")), gr.skip()
        words = [note(f"{count:,} photographs were added.")] if count else []
        words += [note(fault, "warning") for fault in faults[:8]]
        words += [note(f"{len(faults) - 8} more were not added", "warning")] if len(faults) > 8 else []
        with one_at_a_time:
            yield *show(id), plain(*words), None

    def turn(id: str, to: float) -> tuple[int, str]:
        return _thumbnails(page.opened(id), to)

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
        page.answer(
            dropped.upload,
            add_them,
            [page.project, dropped, new_label, new_kind, new_split],
            [*whole, said, dropped],
        ),
    )
    page.answer(blocks.load, begin_looking, None, [looked_at, folders], js=None)
    page.answer(folders.select, look_into, None, [looked_at, folders])
    for opened_now in opening:
        opened_now.then(None, page.project, None, js=INTO_ADDRESS)
        page.answer(opened_now.then, check_few, page.project, findings)
    page.answer(check_button.click, check_all, page.project, findings, show_progress="full")
    page.answer(back.click, lambda id, place: turn(id, place - 1), [page.project, at], [at, thumbs])
    page.answer(on.click, lambda id, place: turn(id, place + 1), [page.project, at], [at, thumbs])


def _recent(folders: list[str]) -> str:
    """Recently opened folders, as buttons."""
    head = '<span class="soft">Opened before:</span>'
    return plain(_buttons(((name, name) for name in folders), head)) if folders else ""


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
    """A page of the photographs, those that are not sorted yet first, to be ticked."""
    labels = {0: "good", 1: "defective", None: "not labelled"}
    records = project.records().values() if _count(project) else ()
    words = {record.key: f"{labels[record.label]}, {record.split}" for record in records}
    loose = [path.name for path in project.loose() if path.name not in words]
    keys = [*loose, *words]
    if not keys:
        return 0, ""
    at, shown, span = page_of(keys, place, "Photographs ")
    pictures = (_ticked_card(project, key, words.get(key, "not sorted yet")) for key in shown)
    every = '<p class="recent"><button type="button" data-all>Tick all of these</button></p>'
    return at, plain(f"<h3>{span}</h3>", every, cards(pictures))


def _ticked_card(project: Project, key: str, words: str) -> str:
    name, picture = escape(key), escape(thumbnail_address(project, key))
    return (
        f'<label class="card tick"><input type="checkbox" data-key="{name}">'
        f'<img src="{picture}" alt="" loading="lazy">'
        f'<span class="name">{name}</span><span class="soft">{words}</span></label>'
    )


def _found(project: Project, count: int, loose: int) -> str:
    """What the folder holds."""
    if not count and loose:
        return _loose_words(loose)
    is_there = project.folder.is_dir()
    if is_there and not any(path.name[0] != "." for path in project.folder.iterdir()):
        return plain(note("The folder is empty. Add photographs below."))
    return as_note(lambda: summary(project))


def _good_folders(project: Project) -> Any:
    """The folders or labels, those of good parts ticked."""
    records = project.records().values()
    names = sorted({record.category for record in records if record.category})
    chosen = sorted({record.category for record in records if record.label == 0 and record.category})
    return gr.CheckboxGroup(names, value=chosen, visible=len(names) > 1 or not chosen)


def _test_button(project: Project) -> Any:
    """The button that sets photographs aside for testing, and says how many."""
    picked = proposed_test(project)
    bad = sum(record.label == 1 for record in picked)
    words = f"Set {len(picked) - bad:,} good and {bad:,} defective photographs aside for testing"
    return gr.Button(words, visible=bool(picked))


def _folders(projects: Projects, text: str) -> tuple[str, str]:
    """A folder's path, and the folders in it as buttons."""
    seen = browse(projects, text)
    places = [place for place in projects.places if place != seen.path]
    links = [(seen.above, "↑ up")] if seen.above else []
    links += [(place, str(place)) for place in places if place != seen.above]
    links += [(folder, folder.name) for folder in seen.folders]
    head = f"<p><b>{escape(str(seen.path))}</b>: {seen.photographs:,} photographs directly in it</p>"
    return str(seen.path), plain(head, _buttons((str(path), name) for path, name in links))


def _buttons(links: Iterable[tuple[str, str]], head: str = "") -> str:
    """Buttons that report their key, with their names."""
    shown = "".join(
        f'<button type="button" data-key="{escape(key)}">{escape(name)}</button>' for key, name in links
    )
    return f'<div class="recent">{head}{shown}</div>'
