"""Results for the images in a camera's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np

from roinspect.errors import UserError
from roinspect.images.pixels import read_image
from roinspect.inspection.bundle import read_bundle
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
    if not rows:
        return plain(head, "<p>No photograph has arrived yet.</p>")
    address = escape("/studio/verdicts.csv?" + urlencode({"project": project_id}))
    save = f'<p><a href="{address}" download>Save all verdicts as a table (CSV)</a></p>'
    lines = f"<p class='soft'>The latest {LATEST}, newest first:</p>"
    shown = (
        card(_picture_of(result, model), row.photograph, caption(row))
        for result, row in zip(found[: -LATEST - 1 : -1], rows[: -LATEST - 1 : -1], strict=True)
    )
    figures = tally_of([result.get("verdict") for result in found])
    latest = light(rows[-1].verdict, rows[-1].photograph)
    # Rows of pictures that are not inspectable say nothing of drift.
    moved: list[str] = next((result.get("drift", []) for result in found[::-1] if "is_defect" in result), [])
    drift = "".join(note(f"Parts look otherwise than in training: {words}.", "warning") for words in moved)
    return plain(head, latest, drift, figures, trend(rows), save, lines, cards(shown, large=True))


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
