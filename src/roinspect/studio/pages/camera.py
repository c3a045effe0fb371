"""Results for the images in a camera's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import cv2
import numpy as np

from roinspect.errors import UserError
from roinspect.images.pixels import read_image
from roinspect.inspection.bundle import read_bundle
from roinspect.review.corrections import (
    Correction,
    add_corrections,
    correction,
    latest,
    read_corrections,
    store_of,
)
from roinspect.studio.page_images import UNREADABLE_URI, data_uri, draw
from roinspect.studio.pages.elements import card, cards, note, plain
from roinspect.studio.pages.verdicts import TREND, Row, caption, light, tally_of, trend
from roinspect.studio.state.jobs import Job

LATEST = 12


def camera(job: Job, project_id: str) -> str:
    """The results for the camera's photographs, latest first."""
    watched, model, results = _paths(job)
    head = {
        "running": note(f"Following {watched} with {job.subject}; you may close this page."),
        "failed": note(job.fault(), "problem"),
    }.get(job.state(), note("Not following any more."))
    found = list(_results(results))
    rows = [_row(result, job) for result in found[-TREND:]]
    said = latest(read_corrections(store_of(results)))
    if not rows:
        return plain(head, "<p>No photograph has arrived yet.</p>")
    address = escape("/studio/verdicts.csv?" + urlencode({"project": project_id}))
    save = f'<p><a href="{address}" download>Save all verdicts as a table (CSV)</a></p>'
    lines = (
        f"<p class='soft'>The latest {LATEST}, newest first; press one to say what the part really is:</p>"
    )
    newest = range(len(found) - 1, max(-1, len(found) - 1 - LATEST), -1)
    shown = (
        card(
            _picture_of(found[index], model),
            row.photograph,
            caption(row) + _says(said.get(_photograph(found[index]))),
            key=str(index),
        )
        for index, row in zip(newest, rows[: -LATEST - 1 : -1], strict=True)
    )
    figures = tally_of([result.get("verdict") for result in found])
    lamp = light(rows[-1].verdict, rows[-1].photograph)
    # Rows of pictures that are not inspectable say nothing of drift.
    moved: list[str] = next((result.get("drift", []) for result in found[::-1] if "is_defect" in result), [])
    drift = "".join(note(f"Parts look otherwise than in training: {words}.", "warning") for words in moved)
    return plain(head, lamp, drift, figures, trend(rows), save, lines, cards(shown, large=True))


class Looked(NamedTuple):
    """A verdict of the camera that was looked at.

    Attributes:
        words: HTML.
        was: what a person said before; None if nobody did.
    """

    words: str
    was: Correction | None


def look_at(job: Job, index: str) -> Looked:
    """One result of a followed folder, and what a person says of it.

    Args:
        job: that follows the folder.
        index: of the result, from 0.

    Raises:
        UserError: there is no such result.
    """
    model, results = _paths(job)[1:]
    result = _result(results, index)
    said = latest(read_corrections(store_of(results))).get(_photograph(result))
    row = _row(result, job)
    shown = card(_picture_of(result, model), row.photograph, caption(row) + _says(said))
    return Looked(plain(cards(iter([shown]), large=True)), said)


def say(job: Job, index: str, truth: str, by: str, kind: str = "") -> None:
    """Keep what a person says of a part that the camera photographed.

    Args:
        job: that follows the folder.
        index: of the result, from 0.
        truth: good, defective, or unknown to withdraw.
        by: who says so.
        kind: of defect.

    Raises:
        UserError: there is no such result, the kind is no name of a defect, or the file cannot be written.
    """
    results = _paths(job)[2]
    part, state = _photograph(_result(results, index))
    kind = kind.strip() if truth == "defective" else ""
    add_corrections(store_of(results), correction(part, truth, by, kind=kind, state=state))


def _result(results: Path, index: str) -> dict[str, Any]:
    for number, result in enumerate(_results(results)):
        if str(number) == index:
            return result
    raise UserError("is not here any more", where="the photograph", remedy="reload the page")


def _photograph(result: Mapping[str, Any]) -> tuple[str, tuple[int, int] | None]:
    """As `Row.photograph`."""
    size, changed = result.get("bytes"), result.get("mtime_ns")
    state = (size, changed) if isinstance(size, int) and isinstance(changed, int) else None
    return str(result.get("image_path", "")), state


def _says(said: Correction | None) -> str:
    return "" if said is None else f" <b>{escape(said.by)} says: {escape(said.kind or said.truth)}</b>"


def camera_verdicts(job: Job) -> list[Row]:
    """All rows of a followed folder, oldest first."""
    return [_row(result, job) for result in _results(_paths(job)[2])]


def _paths(job: Job) -> tuple[Path, Path, Path]:
    """The followed folder, the model and the results."""
    words = job.commands[0]
    return Path(words[2]), Path(words[1]), Path(words[words.index("--out") + 1])


def _results(file: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of the results."""
    try:
        with file.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.endswith("\n"))
    except OSError:
        return


def _row(result: dict[str, Any], job: Job) -> Row:
    folder, path = _paths(job)[0], Path(str(result.get("image_path", "")))
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    error = result.get("error")
    return Row(
        float(result.get("mtime_ns") or 0) / 1e9,
        name,
        None if error else result["verdict"],
        float("nan") if error else float(result["pred_score"]),
        float("nan") if error else float(result["threshold"]),
        job.subject,
        str(error or result.get("reason") or ""),
    )


def _picture_of(result: dict[str, Any], model: Path) -> str:
    if "error" in result:
        return UNREADABLE_URI
    path, factor = str(result.get("image_path", "")), float(result.get("map_factor", 0))
    return _picture(path, result.get("mtime_ns"), str(result.get("map")), factor, model)


@lru_cache(maxsize=4 * LATEST)
def _picture(path: str, changed: object, map_path: str, factor: float, model: Path) -> str:
    """The photograph with its heat, if both files still exist."""
    try:
        bundle = read_bundle(model)
        image = read_image(path, bundle.bits)
        grey = cv2.imread(map_path, cv2.IMREAD_UNCHANGED)
        if grey is None:
            return data_uri(image, 420)
        heat = grey.astype(np.float32) * factor
        level = bundle.map_level(float(heat.max()), heat)
        return data_uri(draw(image, heat, level), 420)
    except UserError:
        return UNREADABLE_URI
