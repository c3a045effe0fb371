"""What became of one image as a row of plain values: one form for command line, batches and server."""

from __future__ import annotations

from typing import Any

from roinspect.inspector import Verdict


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as values for JSON.

    Returns:
        `image_path`, `pred_score`, `is_defect`, `threshold` and `regions` as `Region.to_dict`; for an image
        that cannot be inspected `image_path` and `error`, one line.
    """
    if verdict.error is not None:
        return {"image_path": verdict.image_path, "error": verdict.error}
    return {
        "image_path": verdict.image_path,
        "pred_score": verdict.pred_score,
        "is_defect": verdict.is_defect,
        "threshold": verdict.threshold,
        "regions": [region.to_dict() for region in verdict.regions],
    }
