"""What became of one image as a row of plain values: one form for command line, batches and server."""

from __future__ import annotations

from typing import Any

from roinspect.inspector import Verdict


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as values for JSON.

    Returns:
        `image_path`, `verdict`, `pred_score`, `is_defect` (null where the verdict is "not inspectable"),
        `threshold`, `regions` as `Region.to_dict`, and `reason` where the picture shows something else than
        good parts did; for an image that cannot be read `image_path` and `error`, one line.
    """
    if verdict.error is not None:
        return {"image_path": verdict.image_path, "error": verdict.error}
    reason = {} if verdict.reason is None else {"reason": verdict.reason}
    return {
        "image_path": verdict.image_path,
        "verdict": verdict.verdict,
        "pred_score": verdict.pred_score,
        "is_defect": verdict.is_defect,
        "threshold": verdict.threshold,
        "regions": [region.to_dict() for region in verdict.regions],
        **reason,
    }
