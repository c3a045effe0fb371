"""Results as `watch` writes them, without a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VERSION, SCORES = "0123456789ab", "ba9876543210"


def row(part: str, score: float | None, threshold: float = 0.5, **more: Any) -> dict[str, Any]:
    """A row; without a score, one that could not be inspected."""
    head = {
        "image_path": part,
        "time": "2026-11-20T06:00:00.000+00:00",
        "model_version": VERSION,
        "scores_version": SCORES,
    }
    tail = {"bytes": 100, "mtime_ns": 1}
    if score is None:
        return {**head, "error": f"{part}: cut off", **tail, **more}
    verdict = "defective" if score >= threshold else "good"
    found = {"verdict": verdict, "pred_score": score, "is_defect": verdict == "defective"}
    return {**head, **found, "threshold": threshold, "regions": [], **tail, **more}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path
