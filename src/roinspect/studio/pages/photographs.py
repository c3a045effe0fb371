"""What page 1 shows of a folder: photographs, labels and the findings of the check; and other folders."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import gradio as gr

from roinspect.data.check import Findings, check
from roinspect.data.records import FEW_GOOD
from roinspect.errors import UserError
from roinspect.studio.pages.elements import as_note, cards, note, page_of, plain, table, thumbnail_address
from roinspect.studio.state.browsing import browse
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.sorting import proposed_test

USES = {"train": "to train on", "val": "to set the threshold", "test": "to test with"}
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


def recent_folders(folders: list[str]) -> str:
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


def checked(project: Project) -> Findings:
    """The findings of `roinspect check`, with the regions that are saved."""
    return check(project.with_roi(list(project.records().values())))


def count_of(project: Project) -> int:
    """The number of sorted photographs; 0 if the folder cannot be read."""
    try:
        return len(project.records())
    except UserError:
        return 0


def loose_words(count: int) -> str:
    """What to do with photographs directly in the folder."""
    words = (
        f"{count:,} photographs are directly in the folder. If all of them show good parts, press the button "
        "below: they are listed in a manifest.csv, and no file is moved. Otherwise tick and sort them "
        "below the photographs."
    )
    return plain(note(words))


def thumbnails(project: Project, place: float) -> tuple[int, str]:
    """A page of the photographs, those that are not sorted yet first, to be ticked."""
    labels = {0: "good", 1: "defective", None: "not labelled"}
    records = project.records().values() if count_of(project) else ()
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


def content(project: Project, count: int, loose: int) -> str:
    """What the folder holds."""
    if not count and loose:
        return loose_words(loose)
    is_there = project.folder.is_dir()
    if is_there and not any(path.name[0] != "." for path in project.folder.iterdir()):
        return plain(note("The folder is empty. Add photographs below."))
    return as_note(lambda: summary(project))


def good_folders(project: Project) -> Any:
    """The folders or labels, those of good parts ticked."""
    records = project.records().values()
    names = sorted({record.category for record in records if record.category})
    chosen = sorted({record.category for record in records if record.label == 0 and record.category})
    return gr.CheckboxGroup(names, value=chosen, visible=len(names) > 1 or not chosen)


def aside_button(project: Project) -> Any:
    """The button that sets photographs aside for testing, and says how many."""
    picked = proposed_test(project)
    bad = sum(record.label == 1 for record in picked)
    words = f"Set {len(picked) - bad:,} good and {bad:,} defective photographs aside for testing"
    return gr.Button(words, visible=bool(picked))


def folder_buttons(projects: Projects, text: str) -> tuple[str, str]:
    """A folder's path, and the folders in it as buttons."""
    seen = browse(projects, text)
    places = [place for place in projects.places if place != seen.path]
    links = [(seen.above, "↑ up")] if seen.above else []
    links += [(place, str(place)) for place in places if place != seen.above]
    links += [(folder, folder.name) for folder in seen.folders]
    head = f"<p><b>{escape(str(seen.path))}</b>: {seen.photographs:,} photographs directly in it</p>"
    if seen.unlisted:
        head += f"<p>{seen.unlisted:,} more folders are not listed: type the path of one of them.</p>"
    return str(seen.path), plain(head, _buttons((str(path), name) for path, name in links))


def _buttons(links: Iterable[tuple[str, str]], head: str = "") -> str:
    """Buttons that report their key, with their names."""
    shown = "".join(
        f'<button type="button" data-key="{escape(key)}">{escape(name)}</button>' for key, name in links
    )
    return f'<div class="recent">{head}{shown}</div>'
