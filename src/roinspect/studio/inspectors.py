"""Models ready to inspect, loaded once; and the picture of what one finds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.images.overlay import overlay
from roinspect.images.pixels import resize_image
from roinspect.inspection.inspector import Inspector, Verdict

LEAST = 480
"""Pixels of the longer side of a picture of what was found."""


def inspector(model: Path) -> Inspector:
    """The model, as it lies on the disk now.

    Raises:
        UserError: as `Inspector.load`.
    """
    try:
        changed = (model / "bundle.json").stat().st_mtime_ns
    except OSError:
        raise UserError("there is no model", where=model.name, remedy="train one on page 3, Train") from None
    exports = tuple(sorted(path.parent.name for path in model.glob("*/export.json")))
    return _load(model, changed, exports)


@lru_cache(maxsize=2)
def _load(model: Path, changed: int, exports: tuple[str, ...]) -> Inspector:
    return Inspector.load(model)


def picture(verdict: Verdict, roi_mask: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The photograph with heat and outlines, as the report draws it: (H, W, 3), RGB."""
    assert verdict.image is not None and verdict.anomaly_map is not None
    return draw(verdict.image, verdict.anomaly_map, verdict.map_level, roi_mask)


def draw(
    image: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32],
    level: float | None,
    roi_mask: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Heat and outlines over a photograph, enlarged: (H, W, 3), RGB."""
    return overlay(_large(image), anomaly_map, roi_mask, level=level)


def _large(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photograph large enough for fine outlines."""
    factor = -(-LEAST // max(image.shape[:2]))
    return resize_image(image, (factor * image.shape[0], factor * image.shape[1]))
