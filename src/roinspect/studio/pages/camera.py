"""Results for the images in a camera's folder."""

from __future__ import annotations

import json
from collections import deque
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from roinspect.errors import UserError
from roinspect.images.pixels import read_image
from roinspect.inspection.bundle import read_bundle
from roinspect.studio.page_images import UNREADABLE_URI, data_uri, draw
from roinspect.studio.pages.elements import card, cards, counts, note, plain, verdict_badge
from roinspect.studio.state.jobs import Job

LATEST = 12


def camera(job: Job) -> str:
    """The results for the camera's photographs, latest first."""
    state = job.state()
    results = Path(job.commands[0][job.commands[0].index("--out") + 1])
    model = Path(job.commands[0][2])
    rows = deque[dict[str, Any]](maxlen=LATEST)
    count = rejected = unseen = 0
    try:
        with results.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    rows.append(json.loads(line))
                    count += 1
                    rejected += rows[-1].get("verdict") == "defective"
                    unseen += rows[-1].get("verdict") == "not inspectable"
    except OSError:
        pass
    head = {
        "running": note(f"Following {job.commands[0][1]} with {job.subject}; you may close this page."),
        "failed": note(job.fault(), "problem"),
    }.get(state, note("Not following any more."))
    figures = counts((count, "inspected"), (rejected, "rejected"), (unseen, "not inspectable"))
    where = escape(str(results))
    lines = f"<p class='soft'>The latest {LATEST}, newest first; all of them are lines of {where}.</p>"
    folder = Path(job.commands[0][1])
    shown = cards((_row(row, model, folder) for row in reversed(rows)), large=True)
    return plain(head, figures, lines, shown)


def _row(row: dict[str, Any], model: Path, folder: Path) -> str:
    path = str(row.get("image_path", ""))
    name = Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else Path(path).name
    if "error" in row:
        return card(UNREADABLE_URI, name, verdict_badge(None, row["error"]))
    words = verdict_badge(row["verdict"], row.get("reason", ""), score=row["pred_score"])
    picture = _picture(path, row.get("mtime_ns"), str(row.get("map")), float(row.get("map_factor", 0)), model)
    return card(picture, name, words)


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
